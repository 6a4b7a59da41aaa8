// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

contract SubmitTest is BaseTest {
    bytes32 internal constant DIGEST = keccak256("update");

    function setUp() public {
        start(4);
    }

    function send(uint256 i, uint32 round, bytes32 digest, uint32 weight, int64 metric, uint8 flags) private {
        vm.prank(account(i));
        swarm.submitUpdate(round, digest, weight, metric, flags);
    }

    function testRecords(uint32 weight, bytes32 digest) public {
        weight = uint32(bound(weight, 1, MAX_WEIGHT));
        vm.assume(digest != 0);
        bytes32 seed = swarm.state().seed;
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Updated(1, account(2), 2, digest, weight, -5, 0);
        send(2, 1, digest, weight, -5, 0);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.count, 1);
        vm.assertEq(v.submitted, 4);
        vm.assertEq(v.inputs, keccak256(abi.encode(seed, memberWord(2), digest, uint256(weight))));
        ISwarm.MemberView memory m = v.members[2];
        vm.assertEq(m.digest, digest);
        vm.assertEq(m.weight, weight);
        vm.assertEq(m.lastRound, 1);
        vm.assertEq(v.sealAt, 0);
        vm.assertEq(v.reports, 0);
    }

    function testInputsDependOnTheOrder() public {
        submit(0);
        submit(1);
        bytes32 one = swarm.state().inputs;
        bytes32 two = swarm.state().seed;
        two = keccak256(abi.encode(two, memberWord(0), digestOf(1, 0), uint256(100)));
        two = keccak256(abi.encode(two, memberWord(1), digestOf(1, 1), uint256(101)));
        vm.assertEq(one, two);
    }

    function testReport() public {
        send(0, 1, DIGEST, 3, 1_000_000, 4 | 2);
        send(1, 1, DIGEST, 2, -2_000_000, 4 | 1);
        send(2, 1, DIGEST, 1, 7, 4);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.reports, 3);
        vm.assertEq(v.improved, 1);
        vm.assertEq(v.reached, 1);
        vm.assertEq(int256(v.metricSum), -999_993);
        vm.assertEq(v.metricWeight, 6);
        vm.assertEq(v.reported, 7);
    }

    function testRefusals() public {
        refuses(ISwarm.WrongRound.selector, 1);
        send(0, 2, DIGEST, 1, 0, 0);
        refuses(ISwarm.NotAMember.selector, account(9));
        send(9, 1, DIGEST, 1, 0, 0);
        refuses(ISwarm.NoDigest.selector);
        send(0, 1, 0, 1, 0, 0);
        refuses(ISwarm.BadWeight.selector, 0, MAX_WEIGHT);
        send(0, 1, DIGEST, 0, 0, 0);
        refuses(ISwarm.BadWeight.selector, MAX_WEIGHT + 1, MAX_WEIGHT);
        send(0, 1, DIGEST, MAX_WEIGHT + 1, 0, 0);
        for (uint8 flags = 1; flags < 4; ++flags) {
            refuses(ISwarm.BadFlags.selector, flags);
            send(0, 1, DIGEST, 1, 0, flags);
        }
        refuses(ISwarm.BadFlags.selector, 12);
        send(0, 1, DIGEST, 1, 0, 12);
        send(0, 1, DIGEST, MAX_WEIGHT, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(ISwarm.AlreadySubmitted.selector, account(0), 1));
        send(0, 1, DIGEST, 1, 0, 0);
    }

    function testOnlyMembersOfNow() public {
        leave(2);
        expel(3, list(0, 1));
        refuses(ISwarm.NotAMember.selector, account(2));
        send(2, 1, DIGEST, 1, 0, 0);
        refuses(ISwarm.NotAMember.selector, account(3));
        send(3, 1, DIGEST, 1, 0, 0);
    }

    function testExpiryIsInclusive() public {
        enrol(4, uint40(START + 10));
        vm.warp(START + 11);
        vm.expectRevert(abi.encodeWithSelector(ISwarm.MemberExpired.selector, account(4), START + 10));
        send(4, 1, DIGEST, 1, 0, 0);
        vm.warp(START + 10);
        send(4, 1, DIGEST, 1, 0, 0);
    }

    function testWhileMerging() public {
        submitAll(4, 0);
        refuses(ISwarm.WrongPhase.selector, uint256(ISwarm.Phase.MERGING));
        send(0, 1, DIGEST, 1, 0, 0);
    }

    function testIdleBecomesActive() public {
        submitAll(4, 0);
        merge(8);
        statusIs(3, ISwarm.Status.IDLE);
        vm.assertEq(swarm.state().waitFor, 7);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Activated(account(3), 2);
        submit(3);
        statusIs(3, ISwarm.Status.ACTIVE);
        vm.assertEq(swarm.state().waitFor, 7);
        vm.assertEq(swarm.state().submitted, 8);
    }

    function testReady() public {
        refuses(ISwarm.AlreadyActive.selector, account(3));
        vm.prank(account(3));
        swarm.ready();
        submitAll(4, 0);
        merge(8);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Activated(account(3), 2);
        vm.prank(account(3));
        swarm.ready();
        statusIs(3, ISwarm.Status.ACTIVE);
        // Waited for from the next round on, and with all its rounds to miss.
        vm.assertEq(swarm.state().waitFor, 7);
        playRound(3, 0);
        vm.assertEq(swarm.state().waitFor, 15);
        vm.assertEq(swarm.state().sealedRounds, swarm.memberOf(account(3)).seq);
    }

    function testReadyRefusals() public {
        refuses(ISwarm.NotAMember.selector, account(9));
        vm.prank(account(9));
        swarm.ready();
        enrol(4, uint40(START + 10));
        passes(11);
        vm.expectRevert(abi.encodeWithSelector(ISwarm.MemberExpired.selector, account(4), START + 10));
        vm.prank(account(4));
        swarm.ready();
    }
}
