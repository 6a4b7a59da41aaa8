// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

contract FinalizeTest is BaseTest {
    bytes32 internal constant MERGED = keccak256("merged");

    function setUp() public {
        start(4);
        submitAll(4, 0);
    }

    function slices() private view returns (bytes32[] memory) {
        return slicesOf(1, swarm.state().k);
    }

    function send(uint256 excluded, bytes32[] memory s, ISwarm.Signed[] memory signatures) private {
        direct().finalize(1, excluded, MERGED, s, signatures);
    }

    /// @dev Signatures that only another contract's call shows could not be audited.
    function testNotThroughAContract() public {
        ISwarm.Signed[] memory s = attestations(list(2, 3), 0, MERGED, slices());
        bytes32[] memory parts = slices();
        refuses(ISwarm.NotDirect.selector, address(this));
        swarm.finalize(1, 0, MERGED, parts, s);
    }

    function testOpensTheNextRound() public {
        ISwarm.Signed[] memory s = attestations(list(2, 3), 0, MERGED, slices());
        bytes32[] memory parts = slices();
        passes(10);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Merged(1, MERGED, 15, 0, 0);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Opened(2, MERGED, 15, 2);
        // Anyone may send it.
        sentBy(address(0xbeef)).finalize(1, 0, MERGED, parts, s);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.round, 2);
        phaseIs(ISwarm.Phase.COLLECTING);
        vm.assertEq(v.head, MERGED);
        vm.assertEq(v.headRound, 1);
        vm.assertEq(v.mergedRounds, 1);
        vm.assertEq(v.best, swarm.config().genesis, "best only by vote");
        vm.assertEq(v.openedAt, START + 10);
        vm.assertEq(v.included, 15);
        vm.assertEq(v.submitted | v.roster | v.count | v.k, 0);
        vm.assertEq(v.inputs, keccak256(abi.encode(v.salt, uint32(2), MERGED)));
        ISwarm.Result memory r = swarm.result(1);
        vm.assertEq(r.merged, MERGED);
        vm.assertEq(r.included, 15);
        vm.assertEq(r.parentRound, 0);
        vm.assertEq(r.blockNumber, v.blockNumber);
        playRound(4, 0);
        vm.assertEq(swarm.result(2).parentRound, 1);
    }

    function testSlicesBySeveralMembers() public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = new ISwarm.Signed[](4);
        s[0] = attestation(0, 0, MERGED, parts, 3);
        s[1] = attestation(1, 0, MERGED, parts, 6);
        s[2] = attestation(2, 0, MERGED, parts, 12);
        s[3] = attestation(3, 0, MERGED, parts, 9);
        send(0, parts, s);
        vm.assertEq(swarm.state().head, MERGED);
    }

    function testNamesWhatIsNotCovered() public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = new ISwarm.Signed[](3);
        s[0] = attestation(0, 0, MERGED, parts, 3);
        s[1] = attestation(1, 0, MERGED, parts, 6);
        // Bits beyond k count for nothing.
        s[2] = attestation(2, 0, MERGED, parts, 4 | 0xf0);
        refuses(ISwarm.NotCovered.selector, 9);
        send(0, parts, s);
    }

    function testNeedsAllSignersDistinct() public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = new ISwarm.Signed[](2);
        s[0] = attestation(0, 0, MERGED, parts, 15);
        s[1] = attestation(0, 0, MERGED, parts, 7);
        refuses(ISwarm.DuplicateSigner.selector, account(0));
        send(0, parts, s);
    }

    function testFewerThanQ() public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = attestations(list(0), 0, MERGED, parts);
        refuses(ISwarm.NotCovered.selector, 15);
        send(0, parts, s);
        s = new ISwarm.Signed[](0);
        refuses(ISwarm.NotCovered.selector, 15);
        send(0, parts, s);
    }

    function testStrangersDoNotSign() public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = attestations(list(0, 9), 0, MERGED, parts);
        refuses(ISwarm.NotAuthorised.selector, account(9));
        send(0, parts, s);
        s[1].signature = "garbage";
        refuses(ISwarm.NotAuthorised.selector, address(0));
        send(0, parts, s);
    }

    function testExpiredDoNotSign() public {
        enrol(4, uint40(START + 10));
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = attestations(list(0, 4), 0, MERGED, parts);
        passes(11);
        refuses(ISwarm.NotAuthorised.selector, account(4));
        send(0, parts, s);
        passes(0);
        vm.warp(START + 10);
        send(0, parts, s);
    }

    /// @dev A signature over one thing does not count for another.
    function testSignaturesBindTheirContent(uint8 what) public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = attestations(list(0, 1), 0, MERGED, parts);
        what = uint8(bound(what, 0, 3));
        uint256 excluded;
        bytes32 merged = MERGED;
        if (what == 0) excluded = 8;
        else if (what == 1) merged = keccak256("another");
        else if (what == 2) parts[1] = keccak256("another");
        else s[0].mask = 3;
        vm.expectRevert();
        direct().finalize(1, excluded, merged, parts, s);
    }

    function testSignaturesBindTheRound() public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = attestations(list(0, 1), 0, MERGED, parts);
        passes(300);
        swarm.advance(new uint8[](0));
        submitAll(4, 0);
        vm.expectRevert();
        direct().finalize(2, 0, MERGED, parts, s);
        refuses(ISwarm.WrongRound.selector, 2);
        direct().finalize(1, 0, MERGED, parts, s);
    }

    function testOneResultARound() public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = attestations(list(0, 1), 0, MERGED, parts);
        send(0, parts, s);
        refuses(ISwarm.WrongPhase.selector, uint256(ISwarm.Phase.COLLECTING));
        send(0, parts, s);
    }

    function testAcceptedAfterMergeTimeout() public {
        passes(100_000);
        merge(0);
        vm.assertEq(swarm.state().headRound, 1);
    }

    function testSliceCount() public {
        bytes32[] memory parts = slicesOf(1, 3);
        ISwarm.Signed[] memory s = attestations(list(0, 1), 0, MERGED, parts);
        refuses(ISwarm.WrongSliceCount.selector, 3, 4);
        send(0, parts, s);
    }

    function testExcludedBecomeIdle() public {
        merge(12);
        statusIs(2, ISwarm.Status.IDLE);
        statusIs(3, ISwarm.Status.IDLE);
        vm.assertEq(swarm.state().waitFor, 3);
        vm.assertEq(swarm.result(1).included, 3);
        vm.assertEq(swarm.state().included, 3);
    }

    /// @dev What a treasury pays by: the updates by their hash, and who signed, which is not who is included.
    function testKeptForATreasury() public {
        ISwarm.Config memory c = baseConfig(4);
        c.treasury = address(0x7ea5);
        start(c);
        submitAll(4, 0);
        bytes32 inputs = swarm.state().inputs;
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = attestations(list(3, 1), 8, MERGED, parts);
        send(8, parts, s);
        ISwarm.Result memory r = swarm.result(1);
        vm.assertEq(r.inputs, inputs);
        vm.assertEq(r.included, 7);
        vm.assertEq(r.attesters, 2 | 8, "also one whose own update is left out");
    }

    function testNothingKeptWithoutATreasury() public {
        merge(0);
        vm.assertEq(swarm.result(1).inputs, 0);
        vm.assertEq(swarm.result(1).attesters, 0);
    }

    function testHalfMustBeIncluded() public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = attestations(list(0, 1), 7, MERGED, parts);
        refuses(ISwarm.TooFewIncluded.selector, 1, 2);
        send(7, parts, s);
    }

    function testExcludedAreOnTheRoster() public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = attestations(list(0, 1), 1 | (1 << 200), MERGED, parts);
        refuses(ISwarm.NotOnRoster.selector, 1 << 200);
        send(1 | (1 << 200), parts, s);
    }

    function testAbort() public {
        bytes32[] memory none = new bytes32[](0);
        ISwarm.Signed[] memory s = attestations(list(1, 2), 14, 0, none);
        ISwarm.Signed[] memory one = attestations(list(1), 14, 0, none);
        refuses(ISwarm.TooFewSigners.selector, 1, 2);
        direct().finalize(1, 14, 0, none, one);
        bytes32[] memory parts = slices();
        refuses(ISwarm.WrongSliceCount.selector, 4, 4);
        direct().finalize(1, 14, 0, parts, s);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Aborted(1);
        direct().finalize(1, 14, 0, none, s);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.round, 2);
        vm.assertEq(v.headRound, 0);
        vm.assertEq(v.waitFor, 15, "an abort makes nobody idle");
        vm.assertEq(v.sealedRounds, 1, "it was sealed");
    }

    function testAbortNeedsDistinctMembers() public {
        bytes32[] memory none = new bytes32[](0);
        ISwarm.Signed[] memory s = attestations(list(1, 1), 0, 0, none);
        refuses(ISwarm.DuplicateSigner.selector, account(1));
        direct().finalize(1, 0, 0, none, s);
    }

    function testOneMemberAlone() public {
        start(1);
        submit(0);
        phaseIs(ISwarm.Phase.MERGING);
        vm.assertEq(swarm.state().k, 1);
        merge(0);
        submit(0);
        merge(0);
        vm.assertEq(swarm.state().mergedRounds, 2);
    }

    function testMaxRoundsStops() public {
        ISwarm.Config memory c = baseConfig(4);
        c.maxRounds = 2;
        start(c);
        playRound(4, 0);
        submitAll(4, 4);
        ISwarm.View memory v = swarm.state();
        bytes32[] memory parts = slicesOf(2, v.k);
        ISwarm.Signed[] memory s = attestations(list(0, 1), 0, mergedOf(2), parts);
        vm.expectEmit(true, true, true, true);
        emit ISwarm.Stopped(2, ISwarm.StopReason.MAX_ROUNDS, mergedOf(2), c.genesis);
        direct().finalize(2, 0, mergedOf(2), parts, s);
        v = swarm.state();
        phaseIs(ISwarm.Phase.STOPPED);
        vm.assertEq(uint256(v.stopReason), uint256(ISwarm.StopReason.MAX_ROUNDS));
        vm.assertEq(v.round, 2);
        vm.assertEq(v.head, mergedOf(2));
        vm.assertEq(v.reports | v.reported | v.metricWeight, 0, "reports were on the old head");
        vm.assertEq(v.submitted, 15);
        vm.assertEq(v.roster, 15);
        vm.assertEq(v.included, 15);
    }

    /* WHAT A ROUND IS PAID BY */

    function testWithoutATreasuryNothingMoreIsKept() public {
        merge(0);
        vm.assertEq(swarm.result(1).inputs, 0);
        vm.assertEq(swarm.result(1).attesters, 0);
        vm.assertEq(swarm.result(1).timestamp, START);
    }

    function testForATreasuryInputsAndAttestersAreKept() public {
        ISwarm.Config memory c = baseConfig(4);
        c.treasury = address(0xbeef);
        start(c);
        submitAll(4, 0);
        bytes32 inputs = swarm.state().inputs;
        bytes32[] memory parts = slices();
        // Everybody whose signature was sent, needed or not; an excluded one too.
        ISwarm.Signed[] memory s = attestations(list(3, 0, 1), 8, MERGED, parts);
        send(8, parts, s);
        ISwarm.Result memory r = swarm.result(1);
        vm.assertEq(r.inputs, inputs);
        vm.assertEq(r.attesters, 11);
        vm.assertEq(r.included, 7);
        // An aborted round is not paid.
        submitAll(3, 0);
        passes(300);
        advance();
        vm.assertEq(swarm.result(2).inputs, 0);
        vm.assertEq(swarm.result(2).attesters, 0);
    }

    /* COVERAGE */

    /// @dev Any set of masks: accepted exactly if every slice is in f + 1 of them.
    function testCoverage(uint256[4] memory masks) public {
        bytes32[] memory parts = slices();
        ISwarm.Signed[] memory s = new ISwarm.Signed[](4);
        uint256 uncovered;
        for (uint256 j; j < 4; ++j) {
            uint256 n;
            for (uint256 i; i < 4; ++i) {
                n += (masks[i] >> j) & 1;
            }
            if (n < 2) uncovered |= 1 << j;
        }
        for (uint256 i; i < 4; ++i) {
            s[i] = attestation(i, 0, MERGED, parts, masks[i]);
        }
        if (uncovered != 0) refuses(ISwarm.NotCovered.selector, uncovered);
        send(0, parts, s);
    }
}
