// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev The stop rule at the seal, and reports after the end.
contract StopTest is BaseTest {
    uint8 internal constant NO_REPORT = 0;
    uint8 internal constant WORSE = 4;
    uint8 internal constant REACHED = 4 | 1;
    uint8 internal constant IMPROVED = 4 | 2;

    function submitFlags(uint8 a, uint8 b, uint8 c, uint8 d) private {
        submit(0, a);
        submit(1, b);
        submit(2, c);
        submit(3, d);
    }

    function begin(uint32 maxRounds, uint32 patience) private {
        ISwarm.Config memory c = baseConfig(4);
        c.patience = patience;
        c.maxRounds = maxRounds;
        start(c);
    }

    function stoppedBy(ISwarm.StopReason reason) private view {
        phaseIs(ISwarm.Phase.STOPPED);
        vm.assertEq(uint256(swarm.state().stopReason), uint256(reason));
    }

    function sendReport(uint256 i, uint8 flags) private {
        vm.prank(account(i));
        swarm.report(1, flags);
    }

    /* AT THE SEAL */

    function testTheGenesisIsNotJudged() public {
        begin(100, 1);
        submitFlags(REACHED, REACHED, REACHED, REACHED);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().stale, 0);
    }

    function testTargetByStrictMajority() public {
        begin(100, 0);
        playRound(4, NO_REPORT);
        submitFlags(REACHED, REACHED, WORSE, WORSE);
        phaseIs(ISwarm.Phase.MERGING);
        merge(0);
        submitFlags(REACHED, REACHED, REACHED, WORSE);
        stoppedBy(ISwarm.StopReason.TARGET);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.best, mergedOf(2));
        vm.assertEq(v.bestRound, 2);
        vm.assertEq(v.head, mergedOf(2));
        vm.assertEq(v.mergedRounds, 2);
        vm.assertEq(v.sealedRounds, 2, "the updates are discarded");
        vm.assertEq(v.sealedAt | v.roster | v.k, 0);
        vm.assertEq(v.count, 4);
    }

    function testStopEmits() public {
        begin(100, 0);
        playRound(4, NO_REPORT);
        submit(0, REACHED);
        submit(1, REACHED);
        submit(2, REACHED);
        uint32 round = 2;
        vm.prank(account(3));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Stopped(2, ISwarm.StopReason.TARGET, mergedOf(1), mergedOf(1));
        swarm.submitUpdate(round, bytes32(uint256(1)), 1, 0, 0);
    }

    function testMajorityIsOfTheReportsNotOfTheMembers() public {
        begin(100, 0);
        playRound(4, NO_REPORT);
        submitFlags(REACHED, REACHED, NO_REPORT, NO_REPORT);
        stoppedBy(ISwarm.StopReason.TARGET);
    }

    function testTooFewReportsChangeNothing() public {
        begin(100, 1);
        playRound(4, NO_REPORT);
        submitFlags(REACHED, NO_REPORT, NO_REPORT, NO_REPORT);
        phaseIs(ISwarm.Phase.MERGING);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.stale, 0);
        vm.assertEq(v.judgedRound, 0);
    }

    function testImprovedSetsBest() public {
        begin(100, 2);
        playRound(4, NO_REPORT);
        playRound(4, WORSE);
        vm.assertEq(swarm.state().stale, 1);
        vm.assertEq(swarm.state().best, swarm.config().genesis);
        submitFlags(IMPROVED, IMPROVED, IMPROVED, WORSE);
        vm.assertEq(swarm.state().stale, 0);
        vm.assertEq(swarm.state().best, mergedOf(2));
        vm.assertEq(swarm.state().bestRound, 2);
        vm.assertEq(swarm.state().judgedRound, 2);
        merge(0);
        submitFlags(IMPROVED, IMPROVED, WORSE, WORSE);
        vm.assertEq(swarm.state().stale, 1, "half is no majority");
        vm.assertEq(swarm.state().best, mergedOf(2));
    }

    function testPatience() public {
        begin(100, 2);
        playRound(4, NO_REPORT);
        playRound(4, IMPROVED);
        playRound(4, WORSE);
        submitFlags(WORSE, WORSE, WORSE, WORSE);
        stoppedBy(ISwarm.StopReason.PATIENCE);
        vm.assertEq(swarm.state().best, mergedOf(1));
        vm.assertEq(swarm.state().head, mergedOf(3));
        vm.assertEq(swarm.state().stale, 2);
    }

    function testPatienceOff() public {
        begin(100, 0);
        playRound(4, NO_REPORT);
        for (uint256 i; i < 5; ++i) {
            playRound(4, WORSE);
        }
        vm.assertEq(swarm.state().stale, 5);
        phaseIs(ISwarm.Phase.COLLECTING);
    }

    function testOnceAHead() public {
        begin(100, 2);
        playRound(4, NO_REPORT);
        submitFlags(WORSE, WORSE, WORSE, WORSE);
        passes(300);
        swarm.advance(new uint8[](0));
        // Aborted: the same head is reported on again, and not judged again.
        vm.assertEq(swarm.state().reports, 0);
        submitFlags(WORSE, WORSE, WORSE, WORSE);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().stale, 1);
        vm.assertEq(swarm.state().reports, 4);
    }

    function testReportsAreOfOneRound() public {
        begin(100, 2);
        playRound(4, NO_REPORT);
        submitFlags(WORSE, NO_REPORT, NO_REPORT, NO_REPORT);
        passes(300);
        swarm.advance(new uint8[](0));
        submitFlags(NO_REPORT, WORSE, NO_REPORT, NO_REPORT);
        vm.assertEq(swarm.state().stale, 0, "one report in each round is not two");
    }

    function testStopByAdvance() public {
        begin(100, 0);
        playRound(4, NO_REPORT);
        submit(0, REACHED);
        submit(1, REACHED);
        passes(60);
        swarm.advance(new uint8[](0));
        stoppedBy(ISwarm.StopReason.TARGET);
    }

    /* AFTER THE END */

    function testReportDecidesBest() public {
        begin(1, 0);
        playRound(4, NO_REPORT);
        // T of the last round, 4: the fourth report decides.
        sendReport(0, IMPROVED);
        sendReport(1, IMPROVED);
        sendReport(2, IMPROVED);
        vm.assertEq(swarm.state().best, swarm.config().genesis);
        vm.assertEq(swarm.state().reported, 7);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Reported(mergedOf(1), account(3), 1, WORSE);
        sendReport(3, WORSE);
        vm.assertEq(swarm.state().best, mergedOf(1));
        vm.assertEq(swarm.state().bestRound, 1);
        stoppedBy(ISwarm.StopReason.MAX_ROUNDS);
        vm.assertEq(swarm.state().reported, 15);
        vm.assertEq(int256(swarm.state().metricSum), 406);
    }

    function testLastVoteIsOnce() public {
        begin(2, 0);
        playRound(4, NO_REPORT);
        playRound(4, NO_REPORT);
        sendReport(0, WORSE);
        sendReport(1, WORSE);
        sendReport(2, IMPROVED);
        sendReport(3, IMPROVED);
        enrolledElsewhere();
        vm.assertEq(swarm.state().best, swarm.config().genesis);
        vm.assertEq(swarm.state().judgedRound, 2);
        stoppedBy(ISwarm.StopReason.MAX_ROUNDS);
    }

    function enrolledElsewhere() private {
        refuses(ISwarm.NotAMember.selector, account(9));
        sendReport(9, IMPROVED);
    }

    function testReportAfterStopAtTheSeal() public {
        begin(100, 0);
        playRound(4, NO_REPORT);
        submitFlags(REACHED, REACHED, REACHED, NO_REPORT);
        stoppedBy(ISwarm.StopReason.TARGET);
        // The three reported on this head with their updates.
        refuses(ISwarm.AlreadyReported.selector, account(0));
        sendReport(0, REACHED);
        sendReport(3, WORSE);
        vm.assertEq(swarm.state().reports, 4);
        vm.assertEq(swarm.state().reported, 15);
        vm.assertEq(swarm.state().best, mergedOf(1));
    }

    function testReportRefusals() public {
        begin(1, 0);
        refuses(ISwarm.WrongPhase.selector, uint256(ISwarm.Phase.COLLECTING));
        sendReport(0, IMPROVED);
        enrol(4, uint40(START + 10));
        submitAll(5, IMPROVED);
        merge(0);
        refuses(ISwarm.BadFlags.selector, 0);
        sendReport(0, NO_REPORT);
        refuses(ISwarm.BadFlags.selector, 2);
        sendReport(0, 2);
        sendReport(0, IMPROVED);
        refuses(ISwarm.AlreadyReported.selector, account(0));
        sendReport(0, WORSE);
        passes(11);
        vm.expectRevert(abi.encodeWithSelector(ISwarm.MemberExpired.selector, account(4), START + 10));
        sendReport(4, IMPROVED);
    }

    /* VIEWS OF THE END */

    function testLeadersOnlyWhileMerging() public {
        begin(1, 0);
        refuses(ISwarm.WrongPhase.selector, uint256(ISwarm.Phase.COLLECTING));
        swarm.leaders(1);
        submitAll(4, 0);
        refuses(ISwarm.WrongRound.selector, 1);
        swarm.leaders(2);
        address[] memory l = swarm.leaders(1);
        vm.assertEq(l.length, 4);
        // As many leaders as members: each leads one slice.
        uint256 seen;
        for (uint256 j; j < 4; ++j) {
            seen |= 1 << swarm.memberOf(l[j]).index;
        }
        vm.assertEq(seen, 15);
        merge(0);
        refuses(ISwarm.WrongPhase.selector, uint256(ISwarm.Phase.STOPPED));
        swarm.leaders(1);
    }

    function testMemberOfStranger() public {
        begin(1, 0);
        ISwarm.MemberView memory m = swarm.memberOf(account(9));
        vm.assertEq(uint256(m.status), uint256(ISwarm.Status.NONE));
        vm.assertEq(m.term, 0);
        vm.assertEq(m.account, account(9));
    }
}
