// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev Seal, extension, abort, and who becomes IDLE.
contract AdvanceTest is BaseTest {
    function setUp() public {
        start(4);
    }

    function notDue() private {
        refuses(ISwarm.NothingDue.selector);
        advance();
    }

    /* SEAL */

    function testSealsWhenAllAreIn() public {
        submitAll(3, 0);
        bytes32 inputs = swarm.state().inputs;
        inputs = keccak256(abi.encode(inputs, memberWord(3), digestOf(1, 3), uint256(103)));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Sealed(1, inputs, 15, 4);
        submit(3);
        ISwarm.View memory v = swarm.state();
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(v.roster, 15);
        vm.assertEq(v.k, 4);
        vm.assertEq(v.sealedAt, START);
        vm.assertEq(v.sealedRounds, 1);
    }

    function testFirstRoundDoesNotSealBeforeInitialMembersEnrolled() public {
        swarm = deploy(baseConfig(6));
        for (uint256 i; i < 5; ++i) {
            enrol(i);
        }
        submitAll(5, 0);
        phaseIs(ISwarm.Phase.COLLECTING);
        notDue();
        enrol(5);
        submit(5);
        phaseIs(ISwarm.Phase.MERGING);
    }

    function testThresholdStartsTheGrace() public {
        playRound(4, 0);
        submit(0);
        vm.assertEq(swarm.state().sealAt, 0);
        passes(7);
        submit(1);
        vm.assertEq(swarm.state().threshold, 2);
        vm.assertEq(swarm.state().sealAt, START + 67);
        vm.assertEq(swarm.state().extendAt, 0);
        passes(59);
        notDue();
        passes(1);
        advance();
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 3);
    }

    function testUpdateAfterSealTimeIsIn() public {
        playRound(4, 0);
        submitAll(2, 0);
        passes(1000);
        submit(3);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 11);
    }

    function testCompleteNeedsTheWaitingSetNotHeads() public {
        playRound(4, 0);
        enrol(4);
        submit(4);
        submitAll(3, 0);
        // Four updates, but the fourth waited for is not in.
        phaseIs(ISwarm.Phase.COLLECTING);
        submit(3);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 31);
    }

    function testCompleteBelowTheThreshold() public {
        ISwarm.Config memory c = baseConfig(4);
        c.minUpdates = 2;
        c.fracBps = 10_000;
        start(c);
        submitAll(4, 0);
        merge(8 | 4);
        // Two are waited for, so T = 2; a third that comes is welcome, not needed.
        vm.assertEq(swarm.state().threshold, 2);
        submitAll(2, 0);
        phaseIs(ISwarm.Phase.MERGING);
    }

    function testGraceZero() public {
        ISwarm.Config memory c = baseConfig(4);
        c.grace = 0;
        start(c);
        playRound(4, 0);
        submitAll(2, 0);
        phaseIs(ISwarm.Phase.MERGING);
    }

    function testLeadersInForce() public {
        ISwarm.Config memory c = baseConfig(4);
        c.kMax = 3;
        start(c);
        submitAll(4, 0);
        vm.assertEq(swarm.state().k, 3, "kMax");
        c = baseConfig(4);
        c.size = 262_144;
        start(c);
        submitAll(4, 0);
        vm.assertEq(swarm.state().k, 1, "one chunk");
        c.size = 262_145;
        start(c);
        submitAll(4, 0);
        vm.assertEq(swarm.state().k, 2, "two chunks");
    }

    /* EXTENSION */

    function testExtensionLowersTheThreshold() public {
        submitAll(3, 0);
        vm.assertEq(swarm.state().extendAt, START + 600);
        passes(599);
        notDue();
        passes(1);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Extended(1, 3);
        advance();
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.threshold, 3);
        vm.assertEq(v.sealAt, START + 660);
        vm.assertEq(v.extendAt, 0);
        vm.assertEq(v.waitFor, 15, "waitFor stays");
        vm.assertEq(v.count, 3, "updates stay");
        passes(59);
        notDue();
        passes(1);
        advance();
        phaseIs(ISwarm.Phase.MERGING);
    }

    function testStragglerAfterAnExtension() public {
        submitAll(3, 0);
        passes(600);
        advance();
        submit(3);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().count, 4);
    }

    function testThresholdReachedNeedsNoExtension() public {
        enrol(4);
        submitAll(3, 0);
        vm.assertEq(swarm.state().extendAt, START + 600);
        submit(3);
        // T, four, is reached; the fifth is waited for during the grace.
        vm.assertEq(swarm.state().extendAt, 0);
        vm.assertEq(swarm.state().sealAt, START + 60);
        phaseIs(ISwarm.Phase.COLLECTING);
    }

    function testWaitsVisiblyBelowMinUpdates() public {
        submit(0);
        vm.assertEq(swarm.state().extendAt, 0);
        passes(10_000);
        notDue();
        // The second update comes in the 17th interval: its end is the time.
        submit(1);
        vm.assertEq(swarm.state().extendAt, START + 17 * 600);
        notDue();
        passes(17 * 600 - 10_000);
        advance();
        vm.assertEq(swarm.state().threshold, 2);
    }

    function testExtendAtIsAMultipleInTheFuture(uint32 wait) public {
        passes(wait);
        submitAll(2, 0);
        uint256 at = swarm.state().extendAt;
        vm.assertTrue(at > START + wait && at <= START + wait + 600);
        vm.assertEq((at - START) % 600, 0);
    }

    function testWaitsThenGoesOnByItself() public {
        submit(0);
        passes(10_000);
        submit(1);
        submit(2);
        submit(3);
        phaseIs(ISwarm.Phase.MERGING);
    }

    /* ABORT */

    function testMergeTimeoutAborts() public {
        submitAll(4, 4);
        passes(299);
        notDue();
        passes(1);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Aborted(1);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Opened(2, swarm.config().genesis, 15, 2);
        advance();
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.round, 2);
        phaseIs(ISwarm.Phase.COLLECTING);
        vm.assertEq(v.head, swarm.config().genesis);
        vm.assertEq(v.headRound, 0);
        vm.assertEq(v.mergedRounds, 0);
        vm.assertEq(v.submitted | v.roster | v.count | v.k | v.sealedAt | v.sealAt | v.reports | v.reported, 0);
        vm.assertEq(v.inputs, keccak256(abi.encode(v.salt, uint32(2), v.head)));
        vm.assertEq(swarm.result(1).merged, 0);
        // The same digest may come again.
        vm.prank(account(0));
        swarm.submitUpdate(2, digestOf(1, 0), 5, 0, 0);
    }

    /* IDLE */

    function testMissedRoundsMakeIdle() public {
        playRound(4, 0);
        for (uint256 i; i < 3; ++i) {
            vm.assertEq(swarm.state().sealedRounds - swarm.memberOf(account(3)).seq, i, "missed");
            refuses(ISwarm.NothingDue.selector);
            swarm.advance(indexes(3));
            submitAll(3, 0);
            passes(60);
            advance();
            merge(0);
        }
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Idled(account(3), 5);
        swarm.advance(indexes(3, 200));
        statusIs(3, ISwarm.Status.IDLE);
        vm.assertEq(swarm.state().active, 7);
        vm.assertEq(swarm.state().waitFor, 15, "waitFor stays within the round");
        // Idle members' signatures count, as long as they are authorised.
        submitAll(3, 0);
        passes(60);
        advance();
        ISwarm.View memory v = swarm.state();
        bytes32[] memory slices = slicesOf(v.round, v.k);
        ISwarm.Signed[] memory s = attestations(list(3, 0), 0, mergedOf(v.round), slices);
        direct().finalize(v.round, 0, mergedOf(v.round), slices, s);
        vm.assertEq(swarm.state().waitFor, 7);
    }

    function testSubmittersHaveMissedNothing() public {
        playRound(4, 0);
        submitAll(3, 0);
        vm.assertEq(swarm.state().sealedRounds, swarm.memberOf(account(0)).seq);
        vm.assertEq(swarm.state().sealedRounds, swarm.memberOf(account(3)).seq);
        passes(60);
        advance();
        vm.assertEq(swarm.state().sealedRounds, swarm.memberOf(account(0)).seq);
        vm.assertEq(swarm.state().sealedRounds, swarm.memberOf(account(3)).seq + 1);
    }

    function testExpiredMakeIdle() public {
        enrol(4, uint40(START + 10));
        passes(10);
        refuses(ISwarm.NothingDue.selector);
        swarm.advance(indexes(4));
        passes(1);
        swarm.advance(indexes(4, 4));
        statusIs(4, ISwarm.Status.IDLE);
        refuses(ISwarm.NothingDue.selector);
        swarm.advance(indexes(4));
    }

    function testIdleAndTransitionInOneCall() public {
        enrol(4, uint40(START + 10));
        submitAll(4, 0);
        passes(60);
        swarm.advance(indexes(4));
        phaseIs(ISwarm.Phase.MERGING);
        statusIs(4, ISwarm.Status.IDLE);
    }

    function testGoesOnWithNobodyActive() public {
        ISwarm.Config memory c = baseConfig(4);
        swarm = deploy(c);
        for (uint256 i; i < 4; ++i) {
            enrol(i, uint40(START + 10));
        }
        submitAll(4, 0);
        passes(300);
        uint8[] memory all = new uint8[](4);
        for (uint8 i; i < 4; ++i) {
            all[i] = i;
        }
        swarm.advance(all);
        vm.assertEq(swarm.state().active, 0);
        vm.assertEq(swarm.state().waitFor, 0);
        vm.assertEq(swarm.state().threshold, 2, "minUpdates");
        // Nobody is waited for, so those who come back make up the round.
        enrol(1);
        enrol(2);
        submit(1);
        submit(2);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 6);
    }

    function testNothingDueWhenStopped() public {
        ISwarm.Config memory c = baseConfig(4);
        c.maxRounds = 1;
        start(c);
        playRound(4, 0);
        passes(100_000);
        notDue();
    }
}
