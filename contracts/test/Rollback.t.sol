// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

contract RollbackTest is BaseTest {
    uint8 internal constant IMPROVED = 4 | 2;
    uint8 internal constant WORSE = 4;

    function setUp() public {
        start(4);
    }

    function rollBack(uint32 round) private {
        decide(voteOn(ISwarm.VoteKind.ROLLBACK, address(0), round), list(0, 1, 2));
    }

    function refusesRollback(uint32 round, bytes memory reason) private {
        refuses(voteOn(ISwarm.VoteKind.ROLLBACK, address(0), round), list(0, 1, 2), reason);
    }

    function notAnAncestor(uint32 round) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ISwarm.NotAnAncestor.selector, round);
    }

    function testTheHeadIsAnOlderOneAgain() public {
        playRound(4, 0);
        playRound(4, 0);
        playRound(4, 0);
        passes(100);
        ISwarm.Vote memory vote = voteOn(ISwarm.VoteKind.ROLLBACK, address(0), 1);
        bytes[] memory s = votedBy(vote, list(0, 1, 3));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.RolledBack(4, 1, mergedOf(1));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Opened(5, mergedOf(1), 15, 2);
        direct().execute(vote, s);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.round, 5);
        vm.assertEq(v.head, mergedOf(1));
        vm.assertEq(v.headRound, 1);
        vm.assertEq(v.mergedRounds, 3, "they count for maxRounds all the same");
        vm.assertEq(v.quietSince, START + 100);
        vm.assertEq(v.included, 15);
        vm.assertEq(v.inputs, v.seed);
        // What was merged stays on record, and what comes now descends from round 1.
        vm.assertEq(swarm.result(3).merged, mergedOf(3));
        playRound(4, 0);
        vm.assertEq(swarm.result(5).parentRound, 1);
        vm.assertEq(swarm.result(4).merged, 0);
    }

    function testToTheGenesis() public {
        playRound(4, 0);
        playRound(4, IMPROVED);
        vm.assertEq(swarm.state().bestRound, 1);
        rollBack(0);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.head, swarm.config().genesis);
        vm.assertEq(v.headRound | v.bestRound | v.judgedRound, 0);
        vm.assertEq(v.best, swarm.config().genesis);
        vm.assertEq(v.included, 0);
        playRound(4, 0);
        vm.assertEq(swarm.result(4).parentRound, 0);
    }

    function testWhileMergingTheUpdatesAreLost() public {
        playRound(4, 0);
        submitAll(4, 0);
        bytes32[] memory slices = slicesOf(2, swarm.state().k);
        ISwarm.Signed[] memory s = attestations(list(0, 1), 0, mergedOf(2), slices);
        rollBack(0);
        ISwarm.View memory v = swarm.state();
        phaseIs(ISwarm.Phase.COLLECTING);
        vm.assertEq(v.submitted | v.count | v.roster | v.k | v.sealedAt, 0);
        refuses(ISwarm.WrongPhase.selector, uint256(ISwarm.Phase.COLLECTING));
        direct().finalize(2, 0, mergedOf(2), slices, s);
        submitAll(4, 0);
        refuses(ISwarm.WrongRound.selector, 3);
        direct().finalize(2, 0, mergedOf(2), slices, s);
    }

    /// @dev Not an aborted round, not one to come, not one beside the lineage, not the head itself.
    function testOnlyToAncestors() public {
        playRound(4, 0);
        submitAll(4, 0);
        passes(300);
        advance();
        playRound(4, 0);
        refusesRollback(2, notAnAncestor(2));
        refusesRollback(3, notAnAncestor(3));
        refusesRollback(4, notAnAncestor(4));
        refusesRollback(type(uint32).max, notAnAncestor(type(uint32).max));
        rollBack(1);
        playRound(4, 0);
        // Round 3 was taken back.
        vm.assertEq(swarm.state().headRound, 5);
        refusesRollback(3, notAnAncestor(3));
        rollBack(1);
        refusesRollback(1, notAnAncestor(1));
    }

    function testFromTheGenesisThereIsNoWayBack() public {
        refusesRollback(0, notAnAncestor(0));
    }

    function testNotWhenStopped() public {
        ISwarm.Config memory c = baseConfig(4);
        c.maxRounds = 2;
        start(c);
        playRound(4, 0);
        playRound(4, 0);
        refusesRollback(1, wrongPhase(ISwarm.Phase.STOPPED));
    }

    function testABestOneThatIsTakenBackIsNoBestOne() public {
        playRound(4, 0);
        playRound(4, IMPROVED);
        playRound(4, IMPROVED);
        vm.assertEq(swarm.state().bestRound, 2);
        rollBack(1);
        vm.assertEq(swarm.state().bestRound, 1);
        vm.assertEq(swarm.state().best, mergedOf(1));
        vm.assertEq(swarm.state().judgedRound, 1);
    }

    function testAnEarlierBestOneStays() public {
        playRound(4, 0);
        playRound(4, IMPROVED);
        playRound(4, WORSE);
        playRound(4, WORSE);
        vm.assertEq(swarm.state().stale, 2);
        rollBack(2);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.bestRound, 1);
        vm.assertEq(v.judgedRound, 2);
        vm.assertEq(v.stale, 0);
        // The model of round 2 was judged once: reports on it decide nothing now.
        playRound(4, IMPROVED);
        vm.assertEq(swarm.state().bestRound, 1);
        vm.assertEq(swarm.state().stale, 0);
    }

    function testIndexesOfLeaversAreFree() public {
        playRound(4, 0);
        leave(3);
        rollBack(0);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.members.length, 3);
        vm.assertEq(v.waitFor, 7);
    }

    function testReportsAndForcedOutUpdatesAreOff() public {
        enrol(4);
        playRound(5, 0);
        submitAll(2, IMPROVED);
        submit(4);
        expel(4, list(0, 1, 2));
        vm.assertEq(swarm.state().banned, 16);
        rollBack(0);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.banned | v.reports | v.reported | v.improved, 0);
    }
}
