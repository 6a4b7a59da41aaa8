// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev Ends that members or time decide, and what comes after them.
contract StopReopenTest is BaseTest {
    uint8 internal constant IMPROVED = 4 | 2;
    uint8 internal constant WORSE = 4;

    function setUp() public {
        start(4);
    }

    function stop() private {
        decide(voteOn(ISwarm.VoteKind.STOP, address(0), 0), list(0, 1, 2));
    }

    function reopen(uint32 maxRounds) private {
        decide(voteOn(ISwarm.VoteKind.REOPEN, address(0), maxRounds), list(0, 1, 2));
    }

    function stoppedBy(ISwarm.StopReason reason) private view {
        phaseIs(ISwarm.Phase.STOPPED);
        vm.assertEq(uint256(swarm.state().stopReason), uint256(reason));
    }

    function stopAbandoned() private {
        vm.prank(address(0xbeef));
        swarm.stopAbandoned();
    }

    /* STOP */

    function testStopWhileCollecting() public {
        playRound(4, 0);
        submit(0);
        ISwarm.Vote memory vote = voteOn(ISwarm.VoteKind.STOP, address(0), 0);
        bytes[] memory s = votedBy(vote, list(1, 2, 3));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Stopped(2, ISwarm.StopReason.VOTE, mergedOf(1), swarm.config().genesis);
        direct().execute(vote, s);
        stoppedBy(ISwarm.StopReason.VOTE);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.round, 2);
        vm.assertEq(v.head, mergedOf(1));
        vm.assertEq(v.submitted, 1, "what came in stays to be seen");
        vm.assertEq(v.roster, 0);
    }

    function testStopWhileMerging() public {
        submitAll(4, 0);
        bytes32[] memory slices = slicesOf(1, swarm.state().k);
        ISwarm.Signed[] memory s = attestations(list(0, 1), 0, mergedOf(1), slices);
        stop();
        stoppedBy(ISwarm.StopReason.VOTE);
        vm.assertEq(swarm.state().roster | swarm.state().k, 0);
        refuses(ISwarm.WrongPhase.selector, uint256(ISwarm.Phase.STOPPED));
        direct().finalize(1, 0, mergedOf(1), slices, s);
    }

    function testStopOnce() public {
        stop();
        refuses(voteOn(ISwarm.VoteKind.STOP, address(0), 0), list(0, 1, 2), wrongPhase(ISwarm.Phase.STOPPED));
        passes(31 days);
        vm.expectRevert(wrongPhase(ISwarm.Phase.STOPPED));
        stopAbandoned();
        vm.expectRevert(wrongPhase(ISwarm.Phase.STOPPED));
        vm.prank(account(0));
        swarm.submitUpdate(1, keccak256("late"), 1, 0, 0);
    }

    function testStopTakesNoArgument() public {
        bytes memory reason = abi.encodeWithSelector(ISwarm.BadVote.selector, ISwarm.VoteKind.STOP, 1);
        refuses(voteOn(ISwarm.VoteKind.STOP, address(0), 1), list(0, 1, 2), reason);
    }

    function testReportsAfterAStopByVote() public {
        playRound(4, 0);
        submit(0, IMPROVED);
        stop();
        refuses(ISwarm.AlreadyReported.selector, account(0));
        vm.prank(account(0));
        swarm.report(1, IMPROVED);
        // T of the round that was on, two: the second report decides.
        vm.prank(account(1));
        swarm.report(1, IMPROVED);
        vm.assertEq(swarm.state().best, mergedOf(1));
    }

    /* REOPEN */

    function testReopensOnTheBestModel() public {
        playRound(4, 0);
        playRound(4, IMPROVED);
        playRound(4, WORSE);
        stop();
        vm.assertEq(swarm.state().headRound, 3);
        vm.assertEq(swarm.state().bestRound, 1);
        passes(1 days);
        ISwarm.Vote memory vote = voteOn(ISwarm.VoteKind.REOPEN, address(0), 50);
        bytes[] memory s = votedBy(vote, list(1, 2, 3));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Reopened(4, mergedOf(1), 50);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Opened(5, mergedOf(1), 15, 2);
        direct().execute(vote, s);
        ISwarm.View memory v = swarm.state();
        phaseIs(ISwarm.Phase.COLLECTING);
        vm.assertEq(uint256(v.stopReason), uint256(ISwarm.StopReason.NONE));
        vm.assertEq(v.head, mergedOf(1));
        vm.assertEq(v.headRound, 1);
        vm.assertEq(v.judgedRound, 1);
        vm.assertEq(v.stale, 0);
        vm.assertEq(v.maxRounds, 50);
        vm.assertEq(v.mergedRounds, 3);
        vm.assertEq(v.quietSince, START + 1 days);
        playRound(4, 0);
        vm.assertEq(swarm.result(5).parentRound, 1);
    }

    function testReopenRunsToItsOwnMaxRounds() public {
        ISwarm.Config memory c = baseConfig(4);
        c.maxRounds = 1;
        start(c);
        playRound(4, 0);
        stoppedBy(ISwarm.StopReason.MAX_ROUNDS);
        reopen(2);
        phaseIs(ISwarm.Phase.COLLECTING);
        playRound(4, 0);
        stoppedBy(ISwarm.StopReason.MAX_ROUNDS);
        vm.assertEq(swarm.state().maxRounds, 2);
        // What was deployed does not change.
        vm.assertEq(swarm.config().maxRounds, 1);
    }

    function testReopenNeedsMoreRounds() public {
        playRound(4, 0);
        playRound(4, 0);
        stop();
        ISwarm.VoteKind kind = ISwarm.VoteKind.REOPEN;
        bytes memory reason = abi.encodeWithSelector(ISwarm.BadVote.selector, kind, 2);
        refuses(voteOn(kind, address(0), 2), list(0, 1, 2), reason);
        reason = abi.encodeWithSelector(ISwarm.BadVote.selector, kind, 0);
        refuses(voteOn(kind, address(0), 0), list(0, 1, 2), reason);
        reopen(3);
        playRound(4, 0);
        stoppedBy(ISwarm.StopReason.MAX_ROUNDS);
    }

    function testOnlyAStoppedSwarmReopens() public {
        refuses(voteOn(ISwarm.VoteKind.REOPEN, address(0), 500), list(0, 1, 2), wrongPhase(ISwarm.Phase.COLLECTING));
        submitAll(4, 0);
        refuses(voteOn(ISwarm.VoteKind.REOPEN, address(0), 500), list(0, 1, 2), wrongPhase(ISwarm.Phase.MERGING));
    }

    function testReopenFreesTheIndexesOfLeavers() public {
        playRound(4, 0);
        stop();
        leave(3);
        enrol(4);
        vm.assertEq(swarm.memberOf(account(4)).index, 4);
        decide(voteOn(ISwarm.VoteKind.REOPEN, address(0), 9), list(0, 1, 4));
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.waitFor, 23);
        vm.assertEq(v.members.length, 4);
    }

    /// @dev Memberships have all expired; a founders' invitation for each, and the swarm trains on.
    function testReopenAfterAllMembershipsExpired() public {
        for (uint256 i; i < 4; ++i) {
            enrol(i, uint40(START + 1 days));
        }
        playRound(4, 0);
        stop();
        passes(365 days);
        refuses(voteOn(ISwarm.VoteKind.REOPEN, address(0), 9), list(0, 1, 2), tooFewVotes(0, 4));
        for (uint256 i; i < 3; ++i) {
            enrol(i);
        }
        reopen(9);
        phaseIs(ISwarm.Phase.COLLECTING);
    }

    function testReopenedSwarmJudgesNewHeads() public {
        ISwarm.Config memory c = baseConfig(4);
        c.maxRounds = 2;
        c.patience = 2;
        start(c);
        playRound(4, 0);
        playRound(4, WORSE);
        vm.assertEq(swarm.state().stale, 1);
        reopen(20);
        vm.assertEq(swarm.state().head, c.genesis);
        playRound(4, IMPROVED);
        vm.assertEq(swarm.state().bestRound, 0, "the genesis is not judged");
        playRound(4, IMPROVED);
        vm.assertEq(swarm.state().bestRound, 3);
    }

    /* ABANDONED */

    function testAbandoned() public {
        passes(30 days - 1);
        vm.expectRevert(abi.encodeWithSelector(ISwarm.NotAbandoned.selector, START + 30 days));
        stopAbandoned();
        passes(1);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Stopped(1, ISwarm.StopReason.ABANDONED, swarm.config().genesis, swarm.config().genesis);
        stopAbandoned();
        stoppedBy(ISwarm.StopReason.ABANDONED);
    }

    function testAbandonedWhileMerging() public {
        playRound(4, 0);
        submitAll(4, 0);
        passes(30 days);
        stopAbandoned();
        stoppedBy(ISwarm.StopReason.ABANDONED);
        vm.assertEq(swarm.state().k | swarm.state().roster, 0);
        vm.assertEq(swarm.state().head, mergedOf(1));
    }

    function testAMergeStartsTheTimeAnew() public {
        passes(29 days);
        playRound(4, 0);
        vm.assertEq(swarm.state().quietSince, START + 29 days);
        passes(29 days);
        vm.expectRevert(abi.encodeWithSelector(ISwarm.NotAbandoned.selector, START + 59 days));
        stopAbandoned();
    }

    function testUpdatesAndAbortsDoNot() public {
        passes(20 days);
        submitAll(4, 0);
        passes(5 days);
        advance();
        vm.assertEq(swarm.state().round, 2);
        submit(0);
        passes(5 days);
        stopAbandoned();
        stoppedBy(ISwarm.StopReason.ABANDONED);
    }

    function testRollbackAndReopenDo() public {
        playRound(4, 0);
        passes(29 days);
        decide(voteOn(ISwarm.VoteKind.ROLLBACK, address(0), 0), list(0, 1, 2));
        passes(29 days);
        vm.expectRevert(abi.encodeWithSelector(ISwarm.NotAbandoned.selector, START + 59 days));
        stopAbandoned();
        passes(1 days);
        stopAbandoned();
        passes(100 days);
        reopen(50);
        passes(29 days);
        vm.expectRevert(abi.encodeWithSelector(ISwarm.NotAbandoned.selector, START + 189 days));
        stopAbandoned();
    }

    function testAbandonedSwarmReopens() public {
        passes(30 days);
        stopAbandoned();
        reopen(1);
        playRound(4, 0);
        stoppedBy(ISwarm.StopReason.MAX_ROUNDS);
    }
}
