// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Swarm} from "../src/Swarm.sol";
import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BitmapLib} from "../src/libraries/BitmapLib.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev Moves of members, of time and of anyone, in any order. A move that the contract refuses changes nothing.
contract Handler is BaseTest {
    /// @dev Colluders that sign anything: f of them, and never a wrong model on chain.
    uint256 public constant COLLUDERS = 1;
    uint256 public constant ACCOUNTS = 9;

    /// @dev By round: what the honest recompute. Rounds that ended without a merge have none.
    mapping(uint32 round => bytes32 head) public headOf;
    uint32[] public merged;
    uint32 public aborted;
    bool public wrong;

    constructor() {
        ISwarm.Config memory c = baseConfig(5);
        c.maxRounds = 12;
        c.patience = 4;
        start(c);
    }

    function theSwarm() external view returns (Swarm) {
        return swarm;
    }

    function doSubmit(uint256 who, uint8 flags) external {
        uint256 i = bound(who, 0, ACCOUNTS - 1);
        flags = flags & 1 == 0 ? 4 | (flags & 2) : 0;
        uint32 round = swarm.state().round;
        vm.prank(account(i));
        try swarm.submitUpdate(round, digestOf(round, i), uint32(1 + i), 1, flags) {} catch {}
    }

    function doSubmitAll(uint8 flags) external {
        for (uint256 i; i < ACCOUNTS; ++i) {
            this.doSubmit(i, flags);
        }
    }

    function doEnrol(uint256 who, bool short) external {
        uint256 i = bound(who, 0, ACCOUNTS - 1);
        ISwarm.Invite memory invite = inviteFor(account(i));
        invite.expires = short ? uint40(swarm.state().blockTimestamp + 1000) : FOREVER;
        bytes[] memory s = invitedBy(invite, list(0, 1));
        vm.prank(account(i));
        try swarm.enrol(invite, s, "") {} catch {}
    }

    function doReady(uint256 who) external {
        vm.prank(account(bound(who, 0, ACCOUNTS - 1)));
        try swarm.ready() {} catch {}
    }

    function doReport(uint256 who, uint8 flags) external {
        vm.prank(account(bound(who, 0, ACCOUNTS - 1)));
        try swarm.report(1, 4 | (flags & 3)) {} catch {}
    }

    function doAdvance(uint8 idle, uint256 wait) external {
        passes(bound(wait, 0, 700));
        try swarm.advance(indexes(idle % 10)) {} catch {}
    }

    function doFinalize(uint256 excluded, uint256 a, uint256 b, uint256 maskA, uint256 maskB) external {
        ISwarm.View memory v = swarm.state();
        excluded &= v.roster;
        bytes32[] memory parts = slicesOf(v.round, v.k);
        bytes32 model = mergedOf(v.round);
        ISwarm.Signed[] memory s = new ISwarm.Signed[](3);
        // Often whole masks, so that many get through.
        s[0] = attestation(bound(a, 0, ACCOUNTS), excluded, model, parts, maskA & 1 == 0 ? 255 : maskA);
        s[1] = attestation(bound(b, 0, ACCOUNTS), excluded, model, parts, maskB & 1 == 0 ? 255 : maskB);
        s[2] = attestation(bound(a ^ b, 0, ACCOUNTS), excluded, model, parts, maskA & maskB);
        try swarm.finalize(v.round, excluded, model, parts, s) {
            headOf[v.round] = model;
            merged.push(v.round);
        } catch {}
    }

    function doAbort(uint256 a, uint256 b) external {
        uint32 round = swarm.state().round;
        bytes32[] memory none = new bytes32[](0);
        ISwarm.Signed[] memory s = attestations(list(bound(a, 0, ACCOUNTS), bound(b, 0, ACCOUNTS)), 0, 0, none);
        try swarm.finalize(round, 0, 0, none, s) {} catch {}
    }

    /// @dev f colluders sign a wrong model as often as they like, and repeat an honest member's signature over the right one.
    function doCheat(bool replay, uint256 honest) external {
        ISwarm.View memory v = swarm.state();
        bytes32 model = keccak256("wrong");
        bytes32[] memory parts = slicesOf(v.round, v.k);
        ISwarm.Signed[] memory s = new ISwarm.Signed[](2);
        s[0] = attestation(ACCOUNTS - 1, 0, model, parts, 255);
        s[1] = replay
            ? attestation(ACCOUNTS - 1, 0, model, parts, 127)
            : attestation(bound(honest, 0, ACCOUNTS - 2), 0, mergedOf(v.round), parts, 255);
        try swarm.finalize(v.round, 0, model, parts, s) {
            wrong = true;
        } catch {}
    }

    function mergedCount() external view returns (uint256) {
        return merged.length;
    }
}

contract InvariantTest is BaseTest {
    Handler private handler;

    function setUp() public {
        handler = new Handler();
        swarm = handler.theSwarm();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_countIsOfSubmitted() public view {
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.count, BitmapLib.count(v.submitted));
        vm.assertTrue(v.roster == 0 || v.roster == v.submitted);
    }

    /// @dev Each result's parent is an earlier result or the genesis, and the head is the last one: lineage.
    function invariant_lineage() public view {
        ISwarm.View memory v = swarm.state();
        uint256 n = handler.mergedCount();
        vm.assertEq(v.mergedRounds, n);
        uint32 parent;
        for (uint256 i; i < n; ++i) {
            uint32 round = handler.merged(i);
            ISwarm.Result memory r = swarm.result(round);
            vm.assertEq(r.merged, handler.headOf(round));
            vm.assertEq(r.parentRound, parent);
            vm.assertTrue(r.included != 0, "included nobody");
            parent = round;
        }
        vm.assertEq(v.headRound, parent);
        vm.assertEq(v.head, n == 0 ? swarm.config().genesis : handler.headOf(parent));
        vm.assertEq(v.best, v.bestRound == 0 ? swarm.config().genesis : handler.headOf(v.bestRound));
        vm.assertTrue(v.bestRound <= v.judgedRound && v.judgedRound <= v.headRound, "judged");
        vm.assertTrue(!handler.wrong(), "a wrong model");
    }

    function invariant_sets() public view {
        ISwarm.View memory v = swarm.state();
        uint256 held;
        for (uint256 i; i < v.members.length; ++i) {
            ISwarm.MemberView memory m = v.members[i];
            held |= BitmapLib.single(m.index);
            bool active = BitmapLib.has(v.active, m.index);
            vm.assertTrue((m.status == ISwarm.Status.ACTIVE) == active, "status");
            vm.assertTrue((m.lastRound == v.round) == BitmapLib.has(v.submitted, m.index), "lastRound");
            vm.assertTrue(m.seq <= v.sealedRounds, "seq");
        }
        vm.assertEq((v.active | v.waitFor | v.submitted | v.reported) & ~held, 0, "strangers");
        vm.assertEq(v.reports, BitmapLib.count(v.reported), "reports");
        vm.assertTrue(v.reached <= v.reports && v.improved <= v.reports, "votes");
    }

    /// @dev In every phase some transition is open to anyone after some time, or waits only for updates.
    function invariant_live() public {
        ISwarm.View memory v = swarm.state();
        if (v.phase == ISwarm.Phase.STOPPED) {
            vm.assertTrue(v.stopReason != ISwarm.StopReason.NONE, "reason");
            return;
        }
        vm.assertTrue(v.stopReason == ISwarm.StopReason.NONE, "reason");
        bool waits = v.phase == ISwarm.Phase.COLLECTING && v.count < 2;
        if (waits) return;
        vm.warp(uint256(v.blockTimestamp) + 10_000);
        swarm.advance(new uint8[](0));
        vm.warp(v.blockTimestamp);
    }
}
