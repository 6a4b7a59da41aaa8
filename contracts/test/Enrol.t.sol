// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Swarm} from "../src/Swarm.sol";
import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

contract EnrolTest is BaseTest {
    function setUp() public {
        start(4);
    }

    function enrolWith(uint256 i, ISwarm.Invite memory invite, bytes[] memory signatures) private {
        vm.prank(account(i));
        swarm.enrol(invite, signatures, ADDRESSES);
    }

    function testFirstRoundWaitsAtOnce() public {
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.active, 15);
        vm.assertEq(v.waitFor, 15);
        enrol(4);
        v = swarm.state();
        vm.assertEq(v.waitFor, 31);
        vm.assertEq(v.threshold, 4);
        vm.assertEq(v.members.length, 5);
        ISwarm.MemberView memory m = v.members[4];
        vm.assertEq(m.index, 4);
        vm.assertEq(m.account, account(4));
        vm.assertEq(uint256(m.status), uint256(ISwarm.Status.ACTIVE));
        vm.assertEq(m.maxWeight, MAX_WEIGHT);
        vm.assertEq(m.expires, FOREVER);
        vm.assertEq(m.term, 1);
        vm.assertEq(swarm.addressesOf(account(4)), ADDRESSES);
    }

    function testLaterRoundsWaitFromTheNext() public {
        playRound(4, 0);
        enrol(4);
        vm.assertEq(swarm.state().active, 31);
        vm.assertEq(swarm.state().waitFor, 15);
        submitAll(4, 0);
        enrol(5);
        merge(0);
        vm.assertEq(swarm.state().waitFor, 63);
        // Neither missed a round that it could be in.
        vm.assertEq(swarm.state().sealedRounds, swarm.memberOf(account(5)).seq);
        vm.assertEq(swarm.state().sealedRounds, swarm.memberOf(account(4)).seq);
    }

    function testEmits() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory signatures = invitedBy(invite, list(0, 1));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Enrolled(account(4), 4, 0, MAX_WEIGHT, FOREVER);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Addressed(account(4), ADDRESSES);
        enrolWith(4, invite, signatures);
    }

    function testByMajorityOfMembers() public {
        enrol(4);
        ISwarm.Invite memory invite = inviteFor(account(5));
        // One founder is not enough, and 1, 3 are two of five.
        bytes[] memory two = invitedBy(invite, list(1, 3));
        refuses(ISwarm.TooFewInviters.selector, 1, 2);
        enrolWith(5, invite, two);
        enrolWith(5, invite, invitedBy(invite, list(1, 3, 4)));
        statusIs(5, ISwarm.Status.ACTIVE);
    }

    function testCountsASignerOnce() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 0, 0));
        refuses(ISwarm.TooFewInviters.selector, 1, 1);
        enrolWith(4, invite, s);
    }

    function testIgnoresStrangersAndGarbage() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 9, 1));
        s[1] = "garbage";
        enrolWith(4, invite, s);
        invite = inviteFor(account(5));
        s = invitedBy(invite, list(9, 10, 11));
        refuses(ISwarm.TooFewInviters.selector, 0, 0);
        enrolWith(5, invite, s);
    }

    function testExpiredMembersDoNotInvite() public {
        enrol(3, uint40(START + 10));
        ISwarm.Invite memory invite = inviteFor(account(4));
        // Accounts 1, 2, 3 would be three of four; only two founders' signatures count beside, so take one founder.
        bytes[] memory s = invitedBy(invite, list(1, 3, 3));
        passes(11);
        refuses(ISwarm.TooFewInviters.selector, 1, 1);
        enrolWith(4, invite, s);
    }

    function testIdleMembersDoNotInvite() public {
        enrol(4);
        submitAll(5, 0);
        merge(1 << 4);
        statusIs(4, ISwarm.Status.IDLE);
        ISwarm.Invite memory invite = inviteFor(account(5));
        // 1 and 3 are half of the four ACTIVE ones.
        bytes[] memory s = invitedBy(invite, list(1, 3, 4));
        refuses(ISwarm.TooFewInviters.selector, 1, 2);
        enrolWith(5, invite, s);
    }

    function testSignatureIsForThisInvitation() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        invite.maxWeight += 1;
        refuses(ISwarm.TooFewInviters.selector, 0, 0);
        enrolWith(4, invite, s);
    }

    function testSignatureIsForThisDeployment() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        swarm = new Swarm(baseConfig(4));
        refuses(ISwarm.TooFewInviters.selector, 0, 0);
        enrolWith(4, invite, s);
    }

    function testRefusesHighS() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        bytes memory high = s[1];
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        assembly {
            let at := add(high, 64)
            mstore(at, sub(order, mload(at)))
        }
        high[64] = high[64] == bytes1(uint8(27)) ? bytes1(uint8(28)) : bytes1(uint8(27));
        refuses(ISwarm.TooFewInviters.selector, 1, 1);
        enrolWith(4, invite, s);
    }

    function testOnlyTheInvitee() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        refuses(ISwarm.NotInvitee.selector, account(4));
        enrolWith(5, invite, s);
    }

    function testOnceOnly() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        enrolWith(4, invite, s);
        refuses(ISwarm.WrongTerm.selector, 1);
        enrolWith(4, invite, s);
    }

    function testRenewal() public {
        enrol(4, uint40(START + 10));
        passes(11);
        vm.prank(account(4));
        vm.expectRevert(abi.encodeWithSelector(ISwarm.MemberExpired.selector, account(4), START + 10));
        swarm.submitUpdate(1, bytes32(uint256(1)), 1, 0, 0);
        enrol(4);
        submit(4);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.members.length, 5);
        vm.assertEq(v.members[4].term, 2);
        vm.assertEq(v.submitted, 16);
    }

    function testDeadlineAndExpiry() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        invite.deadline = uint40(START + 5);
        bytes[] memory s = invitedBy(invite, list(0, 1));
        passes(6);
        refuses(ISwarm.InvitationExpired.selector, START + 5);
        enrolWith(4, invite, s);
        vm.warp(START + 5);
        enrolWith(4, invite, s);
        invite = inviteFor(account(5));
        invite.expires = uint40(START + 4);
        s = invitedBy(invite, list(0, 1));
        refuses(ISwarm.InvitationExpired.selector, START + 4);
        enrolWith(5, invite, s);
    }

    function testTerms() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        invite.purpose = keccak256("another");
        vm.expectRevert(abi.encodeWithSelector(ISwarm.WrongPurpose.selector, invite.purpose));
        enrolWith(4, invite, s);
        invite = inviteFor(account(4));
        invite.stake = 1;
        bytes[] memory staked = invitedBy(invite, list(0, 1));
        refuses(ISwarm.StakeNotAccepted.selector, 1);
        enrolWith(4, invite, staked);
        invite = inviteFor(account(4));
        invite.maxWeight = 0;
        refuses(ISwarm.BadWeight.selector, 0, 0);
        enrolWith(4, invite, s);
        invite = inviteFor(account(4));
        invite.term = 3;
        refuses(ISwarm.WrongTerm.selector, 0);
        enrolWith(4, invite, s);
    }

    /// @dev So that the members can reopen a swarm whose memberships have all expired meanwhile.
    function testAlsoWhenStopped() public {
        ISwarm.Config memory c = baseConfig(4);
        c.maxRounds = 1;
        start(c);
        playRound(4, 0);
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        enrolWith(4, invite, s);
        statusIs(4, ISwarm.Status.ACTIVE);
        phaseIs(ISwarm.Phase.STOPPED);
    }

    function testSwarmFull() public {
        for (uint256 i = 4; i < 256; ++i) {
            enrol(i);
        }
        vm.assertEq(swarm.state().active, type(uint256).max);
        ISwarm.Invite memory invite = inviteFor(account(256));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        refuses(ISwarm.SwarmFull.selector);
        enrolWith(256, invite, s);
        // All indexes are good for updates too.
        submit(255);
        submit(0);
        vm.assertEq(swarm.state().submitted, (1 << 255) | 1);
    }

    function testSetAddresses() public {
        vm.prank(account(0));
        swarm.setAddresses("");
        vm.assertEq(swarm.addressesOf(account(0)), "");
        bytes memory longest = new bytes(256);
        vm.prank(account(0));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Addressed(account(0), longest);
        swarm.setAddresses(longest);
        vm.assertEq(swarm.addressesOf(account(0)), longest);
        refuses(ISwarm.AddressesTooLong.selector, 257);
        vm.prank(account(0));
        swarm.setAddresses(new bytes(257));
        refuses(ISwarm.NotAMember.selector, account(9));
        vm.prank(account(9));
        swarm.setAddresses("");
    }
}
