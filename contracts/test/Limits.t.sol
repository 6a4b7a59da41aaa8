// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BitmapLib} from "../src/libraries/BitmapLib.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev The largest numbers, and clocks that jump or stand still.
contract LimitsTest is BaseTest {
    uint32 internal constant HEAVY = type(uint32).max;

    function enrolHeavy(uint256 i) private {
        ISwarm.Invite memory invite = inviteFor(account(i));
        invite.maxWeight = HEAVY;
        bytes[] memory s = invitedBy(invite, list(0, 1));
        vm.prank(account(i));
        swarm.enrol(invite, s, "");
    }

    /// @dev 256 members report the same metric with the largest weight.
    function reported(int64 metric) private returns (ISwarm.View memory) {
        swarm = deploy(baseConfig(256));
        for (uint256 i; i < 256; ++i) {
            enrolHeavy(i);
        }
        for (uint256 i; i < 256; ++i) {
            vm.prank(account(i));
            swarm.submitUpdate(1, bytes32(i + 1), HEAVY, metric, 7);
        }
        return swarm.state();
    }

    function testLargestSums() public {
        ISwarm.View memory v = reported(type(int64).max);
        vm.assertEq(v.metricWeight, 256 * uint256(HEAVY));
        vm.assertEq(int256(v.metricSum), int256(type(int64).max) * 256 * int256(uint256(HEAVY)));
        vm.assertEq(v.count, 256);
        vm.assertEq(v.reports, 256);
        vm.assertEq(v.reached, 256);
        vm.assertEq(v.improved, 256);
        vm.assertEq(v.roster, type(uint256).max);
        vm.assertEq(v.k, 5);
        merge(0);
        vm.assertEq(swarm.result(1).included, type(uint256).max);
    }

    function testSmallestSums() public {
        ISwarm.View memory v = reported(type(int64).min);
        vm.assertEq(int256(v.metricSum), int256(type(int64).min) * 256 * int256(uint256(HEAVY)));
        phaseIs(ISwarm.Phase.MERGING);
    }

    function testExcludingAllThatMayBe() public {
        reported(0);
        uint256 half = type(uint128).max;
        merge(half << 128);
        vm.assertEq(swarm.state().waitFor, half);
        vm.assertEq(swarm.state().threshold, 64);
    }

    /* CLOCKS */

    /// @dev Blocks that come with the same time: nothing needs it to move while all members work.
    function testAllInOneSecond() public {
        start(4);
        for (uint32 round = 1; round <= 5; ++round) {
            submitAll(4, 0);
            vm.roll(swarm.state().blockNumber + 50);
            merge(0);
        }
        vm.assertEq(swarm.state().mergedRounds, 5);
        vm.assertEq(swarm.state().blockTimestamp, START);
    }

    /// @dev With a member missing it does; as long as it stands still, nothing is due however many blocks come.
    function testStandsStillWithOneMissing() public {
        start(4);
        playRound(4, 0);
        submitAll(2, 0);
        for (uint256 i; i < 20; ++i) {
            vm.roll(swarm.state().blockNumber + 1);
            refuses(ISwarm.NothingDue.selector);
            advance();
        }
        passes(60);
        advance();
        phaseIs(ISwarm.Phase.MERGING);
    }

    function testAYearPassesWhileCollecting() public {
        start(4);
        playRound(4, 0);
        submit(0);
        passes(365 days);
        refuses(ISwarm.NothingDue.selector);
        advance();
        submit(1);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.sealAt, START + 365 days + 60);
        passes(365 days);
        advance();
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 3);
    }

    /// @dev A year is many collecting times: the threshold still falls once, to what is there.
    function testAYearPassesBeforeAnExtension() public {
        start(4);
        submitAll(3, 0);
        passes(365 days);
        advance();
        vm.assertEq(swarm.state().threshold, 3);
        vm.assertEq(swarm.state().sealAt, START + 365 days + 60);
        refuses(ISwarm.NothingDue.selector);
        advance();
    }

    function testAYearPassesWhileMerging() public {
        start(4);
        submitAll(4, 0);
        passes(365 days);
        // Whichever comes first counts: a merge that is late by a year, or the abort.
        merge(0);
        submitAll(4, 0);
        passes(365 days);
        advance();
        vm.assertEq(swarm.state().round, 3);
        vm.assertEq(swarm.state().headRound, 1);
        playRound(4, 0);
    }

    /// @dev The last second that 40 bits can hold is 36,812 years away; until then no sum of times overflows.
    function testTheEndOfTime() public {
        vm.warp(type(uint40).max - 31 days);
        start(4);
        submitAll(4, 0);
        passes(300);
        advance();
        submitAll(2, 0);
        passes(60);
        advance();
        merge(0);
        passes(30 days);
        swarm.stopAbandoned();
    }

    /* MEMBERS THAT DO NOT COME */

    /// @dev It enrolled, and never starts: the first round waits for it to the extension, three more for the grace.
    function testAMemberThatNeverStarts() public {
        start(4);
        submitAll(3, 0);
        passes(600);
        advance();
        passes(60);
        advance();
        merge(0);
        for (uint256 round = 2; round <= 4; ++round) {
            submitAll(3, 0);
            phaseIs(ISwarm.Phase.COLLECTING);
            passes(60);
            advance();
            merge(0);
        }
        swarm.advance(indexes(3));
        statusIs(3, ISwarm.Status.IDLE);
        // It is waited for once more, since it was when the round opened.
        submitAll(3, 0);
        passes(60);
        advance();
        merge(0);
        submitAll(3, 0);
        phaseIs(ISwarm.Phase.MERGING);
    }

    function testAllButOneNeverStart() public {
        start(4);
        submit(0);
        passes(10_000);
        refuses(ISwarm.NothingDue.selector);
        advance();
        // The founders can bring in others, and anyone ends it after a time.
        enrol(4);
        submit(4);
        passes(10_000);
        advance();
        passes(60);
        advance();
        phaseIs(ISwarm.Phase.MERGING);
    }

    /// @dev Joins late or comes back, and is slower than all others: included within two rounds, as long as its update comes
    /// within the grace after the threshold is reached.
    function testSlowMembersAreIncludedWithinTwoRounds(uint8 how, uint256 wait, bool afterTheRest) public {
        start(5);
        wait = bound(wait, 0, 59);
        how = uint8(bound(how, 0, 3));
        uint256 slow = 4;
        submitAll(5, 0);
        if (how == 0) {
            // Left out by the last merge, and sends its next update when it is ready.
            merge(16);
        } else if (how == 1) {
            merge(16);
            vm.prank(account(slow));
            swarm.ready();
        } else {
            merge(0);
            if (how == 2) slow = 5;
            else leave(4);
            enrol(slow);
        }
        uint32 began = swarm.state().round;
        for (uint256 n; n < 2; ++n) {
            uint256 others = afterTheRest ? 4 : 3;
            submitAll(others, 0);
            if (swarm.state().phase == ISwarm.Phase.COLLECTING) {
                passes(wait);
                submit(slow);
                if (swarm.state().phase == ISwarm.Phase.COLLECTING) {
                    passes(60);
                    advance();
                }
            } else if (how == 0) {
                // It was not ready in time, and says so.
                vm.prank(account(slow));
                swarm.ready();
            }
            merge(0);
            if (BitmapLib.has(swarm.result(began + uint32(n)).included, swarm.memberOf(account(slow)).index)) return;
        }
        vm.assertTrue(false, "left out twice");
    }
}
