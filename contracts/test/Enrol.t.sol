// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev The part of a treasury that enrolling asks.
contract StakesOnly {
    mapping(address account => uint256 stake) public stakeOf;

    function set(address account, uint256 stake) external {
        stakeOf[account] = stake;
    }
}

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
        enrol(4, uint40(START + 10));
        passes(11);
        swarm.advance(indexes(4));
        statusIs(4, ISwarm.Status.IDLE);
        ISwarm.Invite memory invite = inviteFor(account(5));
        // 1 and 3 are half of the four ACTIVE ones.
        bytes[] memory s = invitedBy(invite, list(1, 3, 4));
        refuses(ISwarm.TooFewInviters.selector, 1, 2);
        enrolWith(5, invite, s);
    }

    /// @dev A merge needs no reason for whom it leaves out, so it must not decide who decides.
    function testExcludedMembersInvite() public {
        submitAll(4, 0);
        merge(8);
        statusIs(3, ISwarm.Status.IDLE);
        ISwarm.Invite memory invite = inviteFor(account(5));
        bytes[] memory s = invitedBy(invite, list(1, 3));
        refuses(ISwarm.TooFewInviters.selector, 1, 2);
        enrolWith(5, invite, s);
        enrolWith(5, invite, invitedBy(invite, list(1, 2, 3)));
    }

    function testAnExpelledFounderDoesNotInvite() public {
        ISwarm.Vote memory vote = voteOn(ISwarm.VoteKind.EXPEL, account(0), 0);
        bytes[] memory votes = votedBy(vote, list(1, 2, 3));
        direct().execute(vote, votes);
        ISwarm.Invite memory invite = inviteFor(account(5));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        refuses(ISwarm.TooFewInviters.selector, 1, 1);
        enrolWith(5, invite, s);
        enrolWith(5, invite, invitedBy(invite, list(1, 2)));
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
        swarm = deploy(baseConfig(4));
        refuses(ISwarm.TooFewInviters.selector, 0, 0);
        enrolWith(4, invite, s);
    }

    function testRefusesHighS() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        malleate(s[1]);
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

    /* COMING BACK */

    function testBackInTheSameRoundKeepsTheIndex() public {
        submit(1);
        leave(1);
        enrol(1);
        ISwarm.MemberView memory m = swarm.memberOf(account(1));
        vm.assertEq(m.index, 1);
        vm.assertEq(m.term, 2);
        statusIs(1, ISwarm.Status.ACTIVE);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.members.length, 4);
        vm.assertEq(v.submitted, 2, "its update is still in");
        vm.assertEq(v.waitFor, 15);
        // One update a member and round, also for one that left in between.
        vm.expectRevert(abi.encodeWithSelector(ISwarm.AlreadySubmitted.selector, account(1), 1));
        vm.prank(account(1));
        swarm.submitUpdate(1, keccak256("second"), 1, 0, 0);
        submit(0);
        submit(2);
        submit(3);
        merge(0);
        // The index was not freed after all.
        enrol(4);
        vm.assertEq(swarm.memberOf(account(4)).index, 4);
    }

    function testBackInALaterRoundGetsAFreeIndex() public {
        leave(3);
        enrol(4);
        vm.assertEq(swarm.memberOf(account(4)).index, 4, "not the one that is freed later");
        submitAll(3, 0);
        submit(4);
        merge(0);
        enrol(5);
        vm.assertEq(swarm.memberOf(account(5)).index, 3, "somebody else's from now on");
        enrol(3);
        vm.assertEq(swarm.memberOf(account(3)).index, 5);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.members.length, 6);
        vm.assertEq(v.active, 63);
        vm.assertEq(v.members[3].account, account(5));
        vm.assertEq(v.members[5].account, account(3));
        submit(3);
        vm.assertEq(swarm.state().submitted, 32);
        submit(5);
        vm.assertEq(swarm.state().submitted, 40);
    }

    /// @dev Its old index was another's meanwhile, and is freed again: that one's to come back to.
    function testBackAfterTheIndexIsFreedAgainByAnother() public {
        leave(3);
        sealThree();
        merge(0);
        enrol(4);
        vm.assertEq(swarm.memberOf(account(4)).index, 3);
        leave(4);
        enrol(3);
        vm.assertEq(swarm.memberOf(account(3)).index, 4);
        vm.assertEq(swarm.state().active, 16 | 7);
    }

    function sealThree() private {
        submitAll(3, 0);
        passes(600);
        advance();
        passes(60);
        advance();
    }

    function testAnIndexIsFreedOnce() public {
        leave(3);
        sealThree();
        merge(0);
        enrol(4);
        vm.assertEq(swarm.memberOf(account(4)).index, 3);
        submitAll(3, 0);
        merge(0);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.round, 3);
        vm.assertEq(v.members.length, 4, "its successor keeps it");
        enrol(5);
        vm.assertEq(swarm.memberOf(account(5)).index, 4);
    }

    function testAnOldInvitationDoesNotBringALeaverBack() public {
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        enrolWith(4, invite, s);
        leave(4);
        refuses(ISwarm.WrongTerm.selector, 1);
        enrolWith(4, invite, s);
    }

    function testBarredForGood() public {
        ISwarm.Invite memory invite = inviteFor(account(3));
        bytes[] memory s = invitedBy(invite, list(0, 1, 2));
        expel(3, list(0, 1, 2));
        refuses(ISwarm.MemberBarred.selector, account(3));
        enrolWith(3, invite, s);
        sealThree();
        merge(0);
        refuses(ISwarm.MemberBarred.selector, account(3));
        enrolWith(3, invite, s);
        // Nor one that had left before it was expelled.
        leave(2);
        expel(2, list(0, 1));
        invite = inviteFor(account(2));
        s = invitedBy(invite, list(0, 1));
        refuses(ISwarm.MemberBarred.selector, account(2));
        enrolWith(2, invite, s);
    }

    function testFullAgainOnlyFromTheNextRound() public {
        for (uint256 i = 4; i < 256; ++i) {
            enrol(i);
        }
        leave(200);
        ISwarm.Invite memory invite = inviteFor(account(256));
        bytes[] memory s = invitedBy(invite, list(0, 1));
        refuses(ISwarm.SwarmFull.selector);
        enrolWith(256, invite, s);
        // Its own index is still there for the one that left.
        enrol(200);
        vm.assertEq(swarm.memberOf(account(200)).index, 200);
        leave(77);
        submitAll(4, 0);
        passes(60);
        advance();
        merge(0);
        enrol(256);
        vm.assertEq(swarm.memberOf(account(256)).index, 77);
    }

    /* WHO INVITES */

    /// @dev Two of three founders invite; with one key left, the members still can.
    function testFoundersKeysLost() public {
        submitAll(4, 0);
        merge(0);
        leave(0);
        leave(1);
        enrolledBy(4, list(2, 3));
        vm.assertEq(swarm.state().active, 16 | 8 | 4);
        ISwarm.Invite memory invite = inviteFor(account(5));
        bytes[] memory s = invitedBy(invite, list(4));
        refuses(ISwarm.TooFewInviters.selector, 0, 1);
        enrolWith(5, invite, s);
        enrolledBy(5, list(3, 4));
        statusIs(5, ISwarm.Status.ACTIVE);
    }

    function enrolledBy(uint256 i, uint256[] memory who) private {
        ISwarm.Invite memory invite = inviteFor(account(i));
        enrolWith(i, invite, invitedBy(invite, who));
    }

    function testOfTwoMembersOneIsNoMajority() public {
        leave(0);
        leave(1);
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(3));
        refuses(ISwarm.TooFewInviters.selector, 0, 1);
        enrolWith(4, invite, s);
    }

    function testTheLastMemberInvitesAlone() public {
        leave(0);
        leave(1);
        leave(2);
        enrolledBy(4, list(3));
        statusIs(4, ISwarm.Status.ACTIVE);
    }

    function testWithoutMembersOnlyFoundersInvite() public {
        for (uint256 i; i < 4; ++i) {
            leave(i);
        }
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory none = new bytes[](0);
        refuses(ISwarm.TooFewInviters.selector, 0, 0);
        enrolWith(4, invite, none);
        // Founders that left, or never enrolled, still found.
        enrol(4);
        statusIs(4, ISwarm.Status.ACTIVE);
    }

    /* STAKES */

    function testStake() public {
        StakesOnly stakes = new StakesOnly();
        ISwarm.Config memory c = baseConfig(4);
        c.treasury = address(stakes);
        start(c);
        ISwarm.Invite memory invite = inviteFor(account(4));
        invite.stake = 1000;
        bytes[] memory s = invitedBy(invite, list(0, 1));
        stakes.set(account(4), 999);
        stakes.set(account(0), 5000);
        refuses(ISwarm.StakeMissing.selector, 999, 1000);
        enrolWith(4, invite, s);
        stakes.set(account(4), 1000);
        enrolWith(4, invite, s);
        statusIs(4, ISwarm.Status.ACTIVE);
        // An invitation that asks for none needs none.
        enrol(5);
        statusIs(5, ISwarm.Status.ACTIVE);
    }

    function testStakeBeyondAnyAmount() public {
        StakesOnly stakes = new StakesOnly();
        ISwarm.Config memory c = baseConfig(4);
        c.treasury = address(stakes);
        start(c);
        ISwarm.Invite memory invite = inviteFor(account(4));
        invite.stake = type(uint128).max;
        bytes[] memory s = invitedBy(invite, list(0, 1));
        stakes.set(account(4), type(uint256).max);
        enrolWith(4, invite, s);
        statusIs(4, ISwarm.Status.ACTIVE);
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
