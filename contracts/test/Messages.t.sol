// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {TypedLib} from "../src/libraries/TypedLib.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev Signatures that must not count, of every message that the contract reads: forged, replayed, malleable, reordered,
/// duplicated, of the wrong signer. Two signatures are needed here of each; the one of account 0 is always good.
contract MessagesTest is BaseTest {
    enum Type {
        INVITE,
        VOTE,
        ATTESTATION
    }

    ISwarm.Invite private invite;
    ISwarm.Vote private vote;
    bytes32[] private slices;
    bytes32 private domain;

    /// @dev Three members, merging. An invitation needs two founders or members, a vote two members, a merge two as well.
    function setUp() public {
        start(3);
        submitAll(3, 0);
        invite = inviteFor(account(5));
        vote = voteOn(ISwarm.VoteKind.STOP, address(0), 0);
        slices = slicesOf(1, swarm.state().k);
        domain = swarm.domainSeparator();
    }

    /* THE THREE TYPES ALIKE */

    function body(Type t) private view returns (bytes32) {
        if (t == Type.INVITE) return TypedLib.invite(invite);
        if (t == Type.VOTE) return TypedLib.vote(vote);
        bytes32 packed = keccak256(abi.encodePacked(slices));
        return TypedLib.attestation(1, swarm.state().inputs, 0, mergedOf(1), packed, 7);
    }

    function sign(uint256 who, bytes32 under, bytes32 structHash) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key(who), MessageHashUtils.toTypedDataHash(under, structHash));
        return abi.encodePacked(r, s, v);
    }

    function good(Type t, uint256 who) private view returns (bytes memory) {
        return sign(who, domain, body(t));
    }

    function send(Type t, bytes[] memory s) private {
        if (t == Type.INVITE) {
            vm.prank(account(5));
            swarm.enrol(invite, s, "");
        } else if (t == Type.VOTE) {
            direct().execute(vote, s);
        } else {
            ISwarm.Signed[] memory a = new ISwarm.Signed[](s.length);
            for (uint256 i; i < s.length; ++i) {
                a[i] = ISwarm.Signed(7, s[i]);
            }
            direct().finalize(1, 0, mergedOf(1), slices, a);
        }
    }

    function pair(bytes memory a, bytes memory b) private pure returns (bytes[] memory s) {
        s = new bytes[](2);
        (s[0], s[1]) = (a, b);
    }

    /// @dev Refused, and refused for the signatures.
    function refused(Type t, bytes[] memory s) private {
        bytes4 expected = t == Type.INVITE
            ? ISwarm.TooFewInviters.selector
            : t == Type.VOTE ? ISwarm.TooFewVotes.selector : ISwarm.NotAuthorised.selector;
        try this.sendFor(t, s) {
            vm.assertTrue(false, "accepted");
        } catch (bytes memory reason) {
            vm.assertEq(bytes32(bytes4(reason)), bytes32(expected), "refused for something else");
        }
    }

    function sendFor(Type t, bytes[] calldata s) external {
        send(t, s);
    }

    function secondIsRefused(Type t, bytes memory second) private {
        refused(t, pair(good(t, 0), second));
    }

    function testGoodOnesCount() public {
        send(Type.INVITE, pair(good(Type.INVITE, 0), good(Type.INVITE, 1)));
        statusIs(5, ISwarm.Status.ACTIVE);
        setUp();
        send(Type.ATTESTATION, pair(good(Type.ATTESTATION, 0), good(Type.ATTESTATION, 1)));
        vm.assertEq(swarm.state().headRound, 1);
        setUp();
        send(Type.VOTE, pair(good(Type.VOTE, 0), good(Type.VOTE, 1)));
        phaseIs(ISwarm.Phase.STOPPED);
    }

    function testOrderDoesNotMatter() public {
        send(Type.INVITE, pair(good(Type.INVITE, 1), good(Type.INVITE, 0)));
        setUp();
        send(Type.ATTESTATION, pair(good(Type.ATTESTATION, 1), good(Type.ATTESTATION, 0)));
        setUp();
        send(Type.VOTE, pair(good(Type.VOTE, 1), good(Type.VOTE, 0)));
    }

    function testOfAStranger() public {
        for (uint8 t; t < 3; ++t) {
            secondIsRefused(Type(t), good(Type(t), 9));
        }
    }

    function testForged(bytes32 r, bytes32 s, bool v) public {
        for (uint8 t; t < 3; ++t) {
            secondIsRefused(Type(t), abi.encodePacked(r, s, v ? uint8(27) : uint8(28)));
        }
    }

    /// @dev One byte of a good one is another.
    function testChanged(uint8 at, uint8 by) public {
        vm.assume(by != 0);
        for (uint8 t; t < 3; ++t) {
            bytes memory s = good(Type(t), 1);
            s[at % 65] = bytes1(uint8(s[at % 65]) ^ by);
            secondIsRefused(Type(t), s);
        }
    }

    function testMalleable() public {
        for (uint8 t; t < 3; ++t) {
            bytes memory s = good(Type(t), 1);
            malleate(s);
            secondIsRefused(Type(t), s);
            // Nor does a signature and its other form make two signers.
            bytes memory again = good(Type(t), 0);
            malleate(again);
            secondIsRefused(Type(t), again);
        }
    }

    function testOfAnotherLength() public {
        for (uint8 t; t < 3; ++t) {
            bytes memory s = good(Type(t), 1);
            secondIsRefused(Type(t), abi.encodePacked(s, uint8(0)));
            secondIsRefused(Type(t), "");
            // The compact form of EIP-2098 would be a second form of the same signature.
            (uint8 v, bytes32 r, bytes32 sOf) = parts(s);
            secondIsRefused(Type(t), abi.encodePacked(r, bytes32(uint256(sOf) | (uint256(v - 27) << 255))));
        }
    }

    function parts(bytes memory signature) private pure returns (uint8 v, bytes32 r, bytes32 s) {
        assembly ("memory-safe") {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
            v := byte(0, mload(add(signature, 96)))
        }
    }

    function testV0And1AreNotTaken() public {
        for (uint8 t; t < 3; ++t) {
            bytes memory s = good(Type(t), 1);
            s[64] = bytes1(uint8(s[64]) - 27);
            secondIsRefused(Type(t), s);
        }
    }

    function testDuplicated() public {
        for (uint8 t; t < 2; ++t) {
            secondIsRefused(Type(t), good(Type(t), 0));
        }
        bytes[] memory s = pair(good(Type.ATTESTATION, 0), good(Type.ATTESTATION, 0));
        refuses(ISwarm.DuplicateSigner.selector, account(0));
        send(Type.ATTESTATION, s);
    }

    function underAnotherDomain(bytes32 other) private {
        vm.assertTrue(other != domain);
        for (uint8 t; t < 3; ++t) {
            secondIsRefused(Type(t), sign(1, other, body(Type(t))));
        }
    }

    function testOfAnotherChain() public {
        underAnotherDomain(TypedLib.domain(block.chainid + 1, address(swarm), swarm.salt()));
    }

    function testOfAnotherContract() public {
        underAnotherDomain(TypedLib.domain(block.chainid, address(0xbeef), swarm.salt()));
    }

    /// @dev A chain that was started anew has the same contract at the same address.
    function testOfAnotherDeployment() public {
        underAnotherDomain(TypedLib.domain(block.chainid, address(swarm), keccak256("another salt")));
    }

    /// @dev After a fork of the chain both sides have the contract, but only one has the id that was signed for.
    function testAfterAForkOfTheChain() public {
        bytes[][3] memory all;
        for (uint8 t; t < 3; ++t) {
            all[t] = pair(good(Type(t), 0), good(Type(t), 1));
        }
        vm.chainId(block.chainid + 1);
        for (uint8 t; t < 3; ++t) {
            refused(Type(t), all[t]);
        }
    }

    /// @dev The hash alone, without the prefix of EIP-712, is somebody else's message.
    function testWithoutADomain() public {
        for (uint8 t; t < 3; ++t) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(key(1), body(Type(t)));
            secondIsRefused(Type(t), abi.encodePacked(r, s, v));
        }
    }

    function testOfAnotherType() public {
        for (uint8 t; t < 3; ++t) {
            secondIsRefused(Type(t), good(Type((t + 1) % 3), 1));
            secondIsRefused(Type(t), good(Type((t + 2) % 3), 1));
        }
    }

    /* EACH FIELD IS SIGNED */

    function testEveryFieldOfAnInvitation() public {
        bytes[] memory s = pair(good(Type.INVITE, 0), good(Type.INVITE, 1));
        // Invitee, term and purpose have errors of their own that come first.
        invite.maxWeight += 1;
        refused(Type.INVITE, s);
        invite.maxWeight -= 1;
        invite.expires -= 1;
        refused(Type.INVITE, s);
        invite.expires += 1;
        invite.stake = 1;
        refused(Type.INVITE, s);
        invite.stake = 0;
        invite.deadline -= 1;
        refused(Type.INVITE, s);
        invite.deadline += 1;
        invite.invitee = account(6);
        vm.prank(account(6));
        refuses(ISwarm.TooFewInviters.selector, 0, 0);
        swarm.enrol(invite, s, "");
        invite.invitee = account(5);
        send(Type.INVITE, s);
        // Signed for term 0, which is used.
        invite.term = 1;
        refused(Type.INVITE, s);
    }

    function testEveryFieldOfAVote() public {
        bytes[] memory s = pair(good(Type.VOTE, 0), good(Type.VOTE, 1));
        vote.kind = uint8(ISwarm.VoteKind.EXPEL);
        refused(Type.VOTE, s);
        vote.kind = uint8(ISwarm.VoteKind.STOP);
        vote.target = account(2);
        refused(Type.VOTE, s);
        vote.target = address(0);
        vote.arg = 1;
        refused(Type.VOTE, s);
        vote.arg = 0;
        vote.deadline -= 1;
        refused(Type.VOTE, s);
        vote.deadline += 1;
        // Signed for ballot 0, which is used by another vote.
        expel(2, list(0, 1));
        vote.ballot = 1;
        refused(Type.VOTE, s);
    }

    function testEveryFieldOfAnAttestation() public {
        bytes32 inputs = swarm.state().inputs;
        bytes32 packed = keccak256(abi.encodePacked(slices));
        bytes32 m = mergedOf(1);
        bytes32 other = keccak256("other");
        secondIsRefused(Type.ATTESTATION, sign(1, domain, TypedLib.attestation(2, inputs, 0, m, packed, 7)));
        secondIsRefused(Type.ATTESTATION, sign(1, domain, TypedLib.attestation(1, other, 0, m, packed, 7)));
        secondIsRefused(Type.ATTESTATION, sign(1, domain, TypedLib.attestation(1, inputs, 1, m, packed, 7)));
        secondIsRefused(Type.ATTESTATION, sign(1, domain, TypedLib.attestation(1, inputs, 0, other, packed, 7)));
        secondIsRefused(Type.ATTESTATION, sign(1, domain, TypedLib.attestation(1, inputs, 0, m, other, 7)));
        secondIsRefused(Type.ATTESTATION, sign(1, domain, TypedLib.attestation(1, inputs, 0, m, packed, 3)));
    }

    /// @dev Each mask belongs to one signature.
    function testAttestationsWithExchangedMasks() public {
        bytes32 inputs = swarm.state().inputs;
        bytes32 packed = keccak256(abi.encodePacked(slices));
        ISwarm.Signed[] memory a = new ISwarm.Signed[](3);
        uint256[3] memory masks = [uint256(3), 6, 5];
        for (uint256 i; i < 3; ++i) {
            bytes32 hash = TypedLib.attestation(1, inputs, 0, mergedOf(1), packed, masks[i]);
            a[i] = ISwarm.Signed(masks[i], sign(i, domain, hash));
        }
        (a[0].mask, a[1].mask) = (a[1].mask, a[0].mask);
        try direct().finalize(1, 0, mergedOf(1), slices, a) {
            vm.assertTrue(false, "accepted");
        } catch (bytes memory reason) {
            vm.assertEq(bytes32(bytes4(reason)), bytes32(ISwarm.NotAuthorised.selector));
        }
        (a[0].mask, a[1].mask) = (a[1].mask, a[0].mask);
        direct().finalize(1, 0, mergedOf(1), slices, a);
    }

    function testSlicesInAnotherOrder() public {
        bytes[] memory s = pair(good(Type.ATTESTATION, 0), good(Type.ATTESTATION, 1));
        (slices[0], slices[1]) = (slices[1], slices[0]);
        refused(Type.ATTESTATION, s);
    }

    /* ONCE */

    function testReplayed() public {
        bytes[] memory s = pair(good(Type.INVITE, 0), good(Type.INVITE, 1));
        send(Type.INVITE, s);
        refuses(ISwarm.WrongTerm.selector, 1);
        send(Type.INVITE, s);
        s = pair(good(Type.ATTESTATION, 0), good(Type.ATTESTATION, 1));
        send(Type.ATTESTATION, s);
        refuses(ISwarm.WrongPhase.selector, uint256(ISwarm.Phase.COLLECTING));
        send(Type.ATTESTATION, s);
        // Four are ACTIVE with the one that was invited.
        s = new bytes[](3);
        for (uint256 i; i < 3; ++i) {
            s[i] = good(Type.VOTE, i);
        }
        send(Type.VOTE, s);
        refuses(ISwarm.WrongBallot.selector, 1);
        send(Type.VOTE, s);
    }

    /// @dev An aborted round's attestations are for its inputs; the next round has others, even of the same updates.
    function testAttestationsOfAnAbortedRound() public {
        bytes[] memory s = pair(good(Type.ATTESTATION, 0), good(Type.ATTESTATION, 1));
        passes(300);
        advance();
        for (uint256 i; i < 3; ++i) {
            vm.prank(account(i));
            swarm.submitUpdate(2, digestOf(1, i), uint32(100 + i), 0, 0);
        }
        ISwarm.Signed[] memory a = new ISwarm.Signed[](2);
        (a[0], a[1]) = (ISwarm.Signed(7, s[0]), ISwarm.Signed(7, s[1]));
        try direct().finalize(2, 0, mergedOf(1), slices, a) {
            vm.assertTrue(false, "accepted");
        } catch (bytes memory reason) {
            vm.assertEq(bytes32(bytes4(reason)), bytes32(ISwarm.NotAuthorised.selector));
        }
    }
}
