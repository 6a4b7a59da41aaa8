// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

contract ExpelTest is BaseTest {
    ISwarm.VoteKind internal constant EXPEL = ISwarm.VoteKind.EXPEL;
    ISwarm.VoteKind internal constant SLASH = ISwarm.VoteKind.EXPEL_AND_SLASH;

    function setUp() public {
        start(5);
    }

    function expulsionIs(uint256 i, uint32 round, bool slash) private view {
        (uint32 found, bool slashed) = swarm.expulsionOf(account(i));
        vm.assertEq(found, round);
        vm.assertTrue(slashed == slash, "slash");
    }

    function barred(uint256 i) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ISwarm.MemberBarred.selector, account(i));
    }

    /* WHAT IT DOES */

    function testBars() public {
        ISwarm.Vote memory vote = voteOn(EXPEL, account(4), 0);
        bytes[] memory s = votedBy(vote, list(0, 1, 2));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Expelled(account(4), 1, false, false);
        // Anyone may send it.
        sentBy(address(0xbeef)).execute(vote, s);
        statusIs(4, ISwarm.Status.BARRED);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.active, 15);
        vm.assertEq(v.waitFor, 15);
        vm.assertEq(v.ballot, 1);
        vm.assertEq(v.members.length, 5, "the index is held until the next round");
        expulsionIs(4, 1, false);
        expulsionIs(3, 0, false);
    }

    function testIsNoMemberAnyMore() public {
        expel(4, list(0, 1, 2));
        refuses(ISwarm.NotAMember.selector, account(4));
        vm.prank(account(4));
        swarm.submitUpdate(1, keccak256("late"), 1, 0, 0);
        refuses(ISwarm.NotAMember.selector, account(4));
        vm.prank(account(4));
        swarm.ready();
        refuses(ISwarm.NotAMember.selector, account(4));
        vm.prank(account(4));
        swarm.setAddresses("");
        refuses(ISwarm.NotAMember.selector, account(4));
        leave(4);
        refuses(voteOn(EXPEL, account(3), 0), list(0, 1, 4), tooFewVotes(2, 4));
        submitAll(4, 0);
        passes(600);
        advance();
        passes(60);
        advance();
        bytes32[] memory slices = slicesOf(1, swarm.state().k);
        ISwarm.Signed[] memory s = attestations(list(0, 4), 0, mergedOf(1), slices);
        refuses(ISwarm.NotAuthorised.selector, account(4));
        direct().finalize(1, 0, mergedOf(1), slices, s);
    }

    function testBeforeTheSealTheUpdateIsForcedOut() public {
        submit(4);
        ISwarm.Vote memory vote = voteOn(EXPEL, account(4), 0);
        bytes[] memory s = votedBy(vote, list(0, 1, 2));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Expelled(account(4), 1, false, true);
        direct().execute(vote, s);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.banned, 16);
        vm.assertEq(v.submitted, 16, "inputs keep it");
        vm.assertEq(v.count, 1);
        enrol(5);
        submitAll(4, 0);
        submit(5);
        phaseIs(ISwarm.Phase.MERGING);
        v = swarm.state();
        vm.assertEq(v.roster, 47);
        vm.assertEq(v.k, 5);
        vm.assertEq(v.count, 6);
        bytes32[] memory slices = slicesOf(1, v.k);
        ISwarm.Signed[] memory all = attestations(list(0, 1), 0, mergedOf(1), slices);
        refuses(ISwarm.BannedIncluded.selector, 16);
        direct().finalize(1, 0, mergedOf(1), slices, all);
        for (uint256 j; j < 5; ++j) {
            vm.assertTrue(swarm.leaders(1)[j] != account(4), "leads");
        }
        merge(16);
        vm.assertEq(swarm.result(1).included, 47);
        v = swarm.state();
        vm.assertEq(v.banned, 0);
        vm.assertEq(v.waitFor, 47);
        statusIs(4, ISwarm.Status.BARRED);
    }

    function testAfterTheSealTheUpdateStays() public {
        submitAll(5, 0);
        ISwarm.Vote memory vote = voteOn(EXPEL, account(4), 0);
        bytes[] memory s = votedBy(vote, list(0, 1, 2));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Expelled(account(4), 1, false, false);
        direct().execute(vote, s);
        vm.assertEq(swarm.state().roster, 31);
        vm.assertEq(swarm.state().banned, 0);
        merge(0);
        vm.assertEq(swarm.result(1).included, 31);
        vm.assertEq(swarm.state().waitFor, 15);
    }

    function testAbortNeedsTheForcedOutExcludedToo() public {
        submitAll(4, 0);
        expel(3, list(0, 1, 2));
        enrol(5);
        submit(4);
        submit(5);
        phaseIs(ISwarm.Phase.MERGING);
        bytes32[] memory none = new bytes32[](0);
        ISwarm.Signed[] memory s = attestations(list(0, 1), 0, 0, none);
        refuses(ISwarm.BannedIncluded.selector, 8);
        direct().finalize(1, 0, 0, none, s);
        s = attestations(list(0, 1), 8, 0, none);
        direct().finalize(1, 8, 0, none, s);
        vm.assertEq(swarm.state().round, 2);
    }

    /// @dev In a swarm whose members are colluders for the most part, those that expel them go on at once.
    function testMostUpdatesForcedOutStillMerge() public {
        enrol(5);
        submitAll(5, 0);
        expel(4, list(0, 1, 2, 5));
        expel(3, list(0, 1, 2));
        expel(2, list(0, 1, 5));
        vm.assertEq(swarm.state().banned, 28);
        passes(10_000);
        advance();
        passes(60);
        advance();
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 3);
        // Half of what was not forced out has to be included, not half of all.
        merge(28);
        vm.assertEq(swarm.result(1).included, 3);
    }

    function testRosterOfTheLastRoundStaysWithoutTheForcedOut() public {
        ISwarm.Config memory c = baseConfig(5);
        c.maxRounds = 1;
        start(c);
        submit(4);
        expel(4, list(0, 1, 2));
        enrol(5);
        submitAll(4, 0);
        submit(5);
        vm.assertEq(swarm.state().roster, 47);
        merge(16);
        phaseIs(ISwarm.Phase.STOPPED);
        vm.assertEq(swarm.state().submitted, 63);
        vm.assertEq(swarm.state().banned, 16);
        vm.assertEq(swarm.state().roster, 47);
    }

    function testForcedOutUpdatesAreOfOneRound() public {
        submit(4);
        expel(4, list(0, 1, 2));
        submitAll(4, 0);
        passes(600);
        advance();
        passes(60);
        advance();
        merge(16);
        // Index 4 belongs to another member by now.
        enrol(5);
        vm.assertEq(swarm.memberOf(account(5)).index, 4);
        submit(5);
        submitAll(4, 0);
        vm.assertEq(swarm.state().banned, 0);
        vm.assertEq(swarm.state().roster, 31);
        merge(0);
        vm.assertEq(swarm.result(2).included, 31);
    }

    /* WHAT FOLLOWS FOR THE ROUND */

    function testSealsWhenTheRestIsIn() public {
        playRound(5, 0);
        submitAll(4, 0);
        expel(4, list(0, 1, 2));
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 15);
    }

    function testSealOfWhatRemains() public {
        playRound(5, 0);
        submitAll(3, 0);
        expel(2, list(0, 1, 3));
        expel(3, list(0, 1, 4));
        // T was 3, and two remain of the updates: they are all that is waited for once the fifth is gone.
        phaseIs(ISwarm.Phase.COLLECTING);
        leave(4);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 3);
    }

    function testBelowTheThresholdTheGraceIsOff() public {
        playRound(5, 0);
        vm.assertEq(swarm.state().threshold, 3);
        submitAll(3, 0);
        vm.assertEq(swarm.state().sealAt, START + 60);
        expel(0, list(1, 2, 3));
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.sealAt, 0);
        vm.assertEq(v.extendAt, START + 600, "two are in, so it can be extended");
        passes(60);
        refuses(ISwarm.NothingDue.selector);
        advance();
        // It takes one more for T.
        submit(3);
        vm.assertEq(swarm.state().sealAt, START + 120);
        vm.assertEq(swarm.state().extendAt, 0);
    }

    function testBelowMinUpdatesTheExtensionIsOff() public {
        playRound(5, 0);
        submitAll(2, 0);
        vm.assertEq(swarm.state().extendAt, START + 600);
        expel(0, list(1, 2, 3));
        vm.assertEq(swarm.state().extendAt, 0);
        passes(601);
        refuses(ISwarm.NothingDue.selector);
        advance();
        submit(2);
        vm.assertEq(swarm.state().extendAt, START + 1200);
        passes(599);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Extended(2, 2);
        advance();
        vm.assertEq(swarm.state().threshold, 2);
    }

    function testAfterAnExtensionToo() public {
        playRound(5, 0);
        ISwarm.Config memory c = baseConfig(5);
        c.fracBps = 10_000;
        start(c);
        playRound(5, 0);
        submitAll(4, 0);
        passes(600);
        advance();
        vm.assertEq(swarm.state().threshold, 4);
        expel(0, list(1, 2, 3));
        vm.assertEq(swarm.state().sealAt, 0);
        vm.assertEq(swarm.state().extendAt, START + 1200);
        passes(600);
        advance();
        vm.assertEq(swarm.state().threshold, 3);
        passes(60);
        advance();
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 14);
    }

    function testAboveTheThresholdTheGraceRunsOn() public {
        playRound(5, 0);
        submitAll(4, 0);
        expel(0, list(1, 2, 3));
        vm.assertEq(swarm.state().sealAt, START + 60);
        passes(60);
        advance();
        vm.assertEq(swarm.state().roster, 14);
    }

    function testStopRuleAtTheSeal() public {
        playRound(5, 0);
        submitAll(4, 4 | 1);
        expel(4, list(0, 1, 2));
        phaseIs(ISwarm.Phase.STOPPED);
        vm.assertEq(uint256(swarm.state().stopReason), uint256(ISwarm.StopReason.TARGET));
    }

    function testWhenStopped() public {
        ISwarm.Config memory c = baseConfig(5);
        c.maxRounds = 1;
        start(c);
        playRound(5, 0);
        expel(4, list(0, 1, 2));
        statusIs(4, ISwarm.Status.BARRED);
        phaseIs(ISwarm.Phase.STOPPED);
        vm.assertEq(swarm.state().banned, 0);
        refuses(ISwarm.NotAMember.selector, account(4));
        vm.prank(account(4));
        swarm.report(1, 4);
    }

    /* SLASHING */

    function testSlashMayFollow() public {
        expel(4, list(0, 1, 2));
        submitAll(4, 0);
        passes(600);
        advance();
        passes(60);
        advance();
        merge(0);
        ISwarm.Vote memory vote = voteOn(SLASH, account(4), 0);
        bytes[] memory s = votedBy(vote, list(0, 1, 2));
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Expelled(account(4), 1, true, false);
        direct().execute(vote, s);
        // The round is that of the expulsion: what it earned before stays its own.
        expulsionIs(4, 1, true);
        refuses(voteOn(SLASH, account(4), 0), list(0, 1, 2), barred(4));
        refuses(voteOn(EXPEL, account(4), 0), list(0, 1, 2), barred(4));
        expulsionIs(4, 1, true);
        vm.assertEq(swarm.state().ballot, 2, "a refused vote uses up no ballot");
    }

    function testSlashAtOnce() public {
        submit(4);
        decide(voteOn(SLASH, account(4), 0), list(0, 1, 2));
        expulsionIs(4, 1, true);
        statusIs(4, ISwarm.Status.BARRED);
        vm.assertEq(swarm.state().banned, 16);
    }

    function testExpelledOnce() public {
        expel(4, list(0, 1, 2));
        refuses(voteOn(EXPEL, account(4), 0), list(0, 1, 2), barred(4));
        vm.assertEq(swarm.state().ballot, 1);
    }

    /// @dev Leaving in time does not save a stake, nor the update of this round.
    function testWhoeverLeftCanBeExpelled() public {
        submit(4);
        leave(4);
        decide(voteOn(SLASH, account(4), 0), list(0, 1, 2));
        expulsionIs(4, 1, true);
        statusIs(4, ISwarm.Status.BARRED);
        vm.assertEq(swarm.state().banned, 16);
        vm.assertEq(swarm.state().active, 15);
    }

    function testSuccessorAtTheIndexIsLeftAlone() public {
        leave(4);
        submitAll(4, 0);
        passes(600);
        advance();
        passes(60);
        advance();
        merge(0);
        enrol(5);
        vm.assertEq(swarm.memberOf(account(5)).index, 4);
        submit(5);
        // Its signature counts, and its update stays: the target has no index of its own any more.
        decide(voteOn(SLASH, account(4), 0), list(0, 1, 5));
        statusIs(5, ISwarm.Status.ACTIVE);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.banned, 0);
        vm.assertEq(v.active, 31);
        vm.assertEq(v.submitted, 16);
        expulsionIs(4, 2, true);
    }

    function testNobodyThatNeverEnrolled() public {
        bytes memory reason = abi.encodeWithSelector(ISwarm.NotAMember.selector, account(9));
        refuses(voteOn(EXPEL, account(9), 0), list(0, 1, 2), reason);
        refuses(
            voteOn(SLASH, address(0), 0), list(0, 1, 2), abi.encodeWithSelector(ISwarm.NotAMember.selector, address(0))
        );
        vm.assertEq(swarm.state().ballot, 0);
    }

    function testTakesNoArgument() public {
        bytes memory reason = abi.encodeWithSelector(ISwarm.BadVote.selector, EXPEL, 1);
        refuses(voteOn(EXPEL, account(4), 1), list(0, 1, 2), reason);
        reason = abi.encodeWithSelector(ISwarm.BadVote.selector, SLASH, 7);
        refuses(voteOn(SLASH, account(4), 7), list(0, 1, 2), reason);
    }

    /* WHO DECIDES */

    function testTargetsOwnSignatureDoesNotCount() public {
        refuses(voteOn(EXPEL, account(4), 0), list(0, 1, 4), tooFewVotes(2, 5));
        // It is one of those that more than half is of, all the same.
        refuses(voteOn(EXPEL, account(4), 0), list(0, 1), tooFewVotes(2, 5));
        expel(4, list(0, 1, 2));
    }

    function testHalfIsNoMajority() public {
        leave(4);
        refuses(voteOn(EXPEL, account(3), 0), list(0, 1), tooFewVotes(2, 4));
        expel(3, list(0, 1, 2));
    }

    function testTwoMembersCannotExpelEachOther() public {
        leave(4);
        leave(3);
        leave(2);
        refuses(voteOn(EXPEL, account(1), 0), list(0), tooFewVotes(1, 2));
        refuses(voteOn(EXPEL, account(1), 0), list(0, 1), tooFewVotes(1, 2));
        refuses(voteOn(EXPEL, account(0), 0), list(1, 0), tooFewVotes(1, 2));
        refuses(voteOn(SLASH, account(0), 0), list(1), tooFewVotes(1, 2));
    }

    function testTheLastMemberDoesNotExpelItself() public {
        for (uint256 i = 1; i < 5; ++i) {
            leave(i);
        }
        refuses(voteOn(EXPEL, account(0), 0), list(0), tooFewVotes(0, 1));
        // Whoever left before can still be kept from its stake.
        decide(voteOn(SLASH, account(1), 0), list(0));
        expulsionIs(1, 1, true);
    }

    function testWithoutActiveMembersNobodyDecides() public {
        for (uint256 i; i < 5; ++i) {
            leave(i);
        }
        bytes[] memory none = new bytes[](0);
        ISwarm.Vote memory vote = voteOn(EXPEL, account(1), 0);
        vm.expectRevert(tooFewVotes(0, 0));
        direct().execute(vote, none);
        refuses(vote, list(0, 1, 2, 3), tooFewVotes(0, 0));
    }

    function testAnIdleTargetIsNotAmongThoseThatMoreThanHalfIsOf() public {
        enrol(5, uint40(START + 10));
        passes(11);
        refuses(voteOn(EXPEL, account(5), 0), list(0, 1, 2), tooFewVotes(3, 6));
        swarm.advance(indexes(5));
        statusIs(5, ISwarm.Status.IDLE);
        refuses(voteOn(EXPEL, account(5), 0), list(0, 1), tooFewVotes(2, 5));
        expel(5, list(0, 1, 2));
        statusIs(5, ISwarm.Status.BARRED);
    }
}
