// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {TypedLib} from "../src/libraries/TypedLib.sol";
import {BaseTest} from "./BaseTest.sol";

contract LeaveTest is BaseTest {
    function setUp() public {
        start(4);
    }

    function testIsNotWaitedForAnyMore() public {
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Left(account(3), 1);
        leave(3);
        statusIs(3, ISwarm.Status.NONE);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.active, 7);
        vm.assertEq(v.waitFor, 7);
        vm.assertEq(v.threshold, 4, "T stays within the round");
        vm.assertEq(v.members.length, 4, "the index is held until the next round");
        vm.assertEq(v.members[3].account, account(3));
        vm.assertEq(uint256(v.members[3].status), uint256(ISwarm.Status.NONE));
    }

    function testUpdateStays() public {
        playRound(4, 0);
        submit(3);
        leave(3);
        submitAll(3, 0);
        ISwarm.View memory v = swarm.state();
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(v.roster, 15);
        vm.assertEq(v.banned, 0);
        merge(0);
        vm.assertEq(swarm.result(2).included, 15);
        v = swarm.state();
        vm.assertEq(v.waitFor, 7);
        vm.assertEq(v.members.length, 3);
    }

    function testSealsWhenItWasTheLastMissing() public {
        playRound(4, 0);
        submitAll(3, 0);
        phaseIs(ISwarm.Phase.COLLECTING);
        bytes32 inputs = swarm.state().inputs;
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Left(account(3), 2);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Sealed(2, inputs, 7, 3);
        leave(3);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().sealedAt, START);
    }

    function testDoesNotSealWithTooFew() public {
        playRound(4, 0);
        submit(0);
        leave(1);
        leave(2);
        leave(3);
        phaseIs(ISwarm.Phase.COLLECTING);
        vm.assertEq(swarm.state().waitFor, 1);
        // The next one to come makes two.
        enrol(4);
        submit(4);
        phaseIs(ISwarm.Phase.MERGING);
    }

    function testFirstRoundStillNeedsItsMembers() public {
        submitAll(3, 0);
        leave(3);
        phaseIs(ISwarm.Phase.COLLECTING);
        enrol(4);
        submit(4);
        phaseIs(ISwarm.Phase.MERGING);
    }

    function testStopRuleAtTheSealThatALeaverCauses() public {
        playRound(4, 0);
        submitAll(3, 4 | 1);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Stopped(2, ISwarm.StopReason.TARGET, mergedOf(1), mergedOf(1));
        leave(3);
        phaseIs(ISwarm.Phase.STOPPED);
        vm.assertEq(swarm.state().bestRound, 1);
    }

    function testWhileMerging() public {
        submitAll(4, 0);
        leave(3);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 15);
        // Its update can be left out like any other; whoever left does not come back as IDLE by that.
        merge(8);
        statusIs(3, ISwarm.Status.NONE);
        vm.assertEq(swarm.result(1).included, 7);
        vm.assertEq(swarm.state().active, 7);
    }

    function testOnlyMembersLeave() public {
        refuses(ISwarm.NotAMember.selector, account(9));
        leave(9);
        leave(3);
        refuses(ISwarm.NotAMember.selector, account(3));
        leave(3);
        expel(2, list(0, 1));
        refuses(ISwarm.NotAMember.selector, account(2));
        leave(2);
    }

    function testIdleAndExpiredMembersLeaveToo() public {
        enrol(4, uint40(START + 10));
        submitAll(5, 0);
        merge(8);
        statusIs(3, ISwarm.Status.IDLE);
        passes(11);
        leave(3);
        leave(4);
        statusIs(3, ISwarm.Status.NONE);
        statusIs(4, ISwarm.Status.NONE);
        vm.assertEq(swarm.state().active, 7);
        submitAll(3, 0);
        phaseIs(ISwarm.Phase.MERGING);
    }

    /// @dev What a member may do ends at once, whatever phase the round is in.
    function testIsNoMemberAnyMore() public {
        leave(3);
        refuses(ISwarm.NotAMember.selector, account(3));
        vm.prank(account(3));
        swarm.submitUpdate(1, keccak256("late"), 1, 0, 0);
        refuses(ISwarm.NotAMember.selector, account(3));
        vm.prank(account(3));
        swarm.ready();
        refuses(ISwarm.NotAMember.selector, account(3));
        vm.prank(account(3));
        swarm.setAddresses("");
        refuses(voteOn(ISwarm.VoteKind.STOP, address(0), 0), list(0, 3), tooFewVotes(1, 3));
        ISwarm.Invite memory invite = inviteFor(account(4));
        bytes[] memory s = invitedBy(invite, list(2, 3));
        refuses(ISwarm.TooFewInviters.selector, 1, 1);
        vm.prank(account(4));
        swarm.enrol(invite, s, "");
    }

    function testDoesNotAttestAnyMore() public {
        submitAll(4, 0);
        ISwarm.View memory v = swarm.state();
        bytes32[] memory slices = slicesOf(1, v.k);
        ISwarm.Signed[] memory s = attestations(list(0, 3), 0, mergedOf(1), slices);
        leave(3);
        refuses(ISwarm.NotAuthorised.selector, account(3));
        direct().finalize(1, 0, mergedOf(1), slices, s);
    }

    /// @dev Whoever takes over an index does not sign for the one before.
    function testSuccessorAtTheIndexIsAnother() public {
        leave(3);
        submitAll(3, 0);
        passes(600);
        advance();
        passes(60);
        advance();
        merge(0);
        enrol(4);
        vm.assertEq(swarm.memberOf(account(4)).index, 3);
        vm.assertEq(swarm.memberOf(account(4)).digest, 0);
        vm.assertEq(swarm.memberOf(account(3)).digest, 0);
        submit(4);
        refuses(ISwarm.NotAMember.selector, account(3));
        vm.prank(account(3));
        swarm.submitUpdate(2, keccak256("mine"), 1, 0, 0);
        submitAll(3, 0);
        vm.assertEq(swarm.state().roster, 15);
    }

    function testAllLeaveAndOthersGoOn() public {
        playRound(4, 0);
        for (uint256 i; i < 4; ++i) {
            leave(i);
        }
        vm.assertEq(swarm.state().active | swarm.state().waitFor, 0);
        enrol(4);
        enrol(5);
        submit(4);
        phaseIs(ISwarm.Phase.COLLECTING);
        // Nobody is waited for, so the second update completes the round.
        submit(5);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().roster, 48);
    }

    function testWhenStopped() public {
        ISwarm.Config memory c = baseConfig(4);
        c.maxRounds = 1;
        start(c);
        playRound(4, 0);
        leave(3);
        statusIs(3, ISwarm.Status.NONE);
        refuses(ISwarm.NotAMember.selector, account(3));
        vm.prank(account(3));
        swarm.report(1, 4);
        phaseIs(ISwarm.Phase.STOPPED);
        vm.assertEq(swarm.state().included, 15);
        enrol(3);
        vm.assertEq(swarm.memberOf(account(3)).index, 3);
        vm.prank(account(3));
        swarm.report(1, 4);
    }

    /// @dev Leaving and coming back is no second report on one head.
    function testComingBackIsNoSecondReport() public {
        ISwarm.Config memory c = baseConfig(4);
        c.maxRounds = 1;
        start(c);
        playRound(4, 0);
        vm.prank(account(3));
        swarm.report(1, 4 | 2);
        leave(3);
        enrol(3);
        refuses(ISwarm.AlreadyReported.selector, account(3));
        vm.prank(account(3));
        swarm.report(1, 4 | 2);
    }

    function testInputsNameTheAccount() public {
        ISwarm.View memory v = swarm.state();
        vm.prank(account(2));
        swarm.submitUpdate(1, keccak256("u"), 7, 0, 0);
        leave(2);
        vm.assertEq(swarm.state().inputs, TypedLib.nextInputs(v.inputs, account(2), 2, keccak256("u"), 7));
    }
}
