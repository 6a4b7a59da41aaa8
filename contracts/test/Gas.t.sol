// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev Exact gas of whole transactions: each call is its own transaction here (`isolate`), with cold storage. What was
/// measured last is in snapshots/Swarm.json; `npm run gas` measures anew.
contract GasTest is BaseTest {
    uint8 internal constant REPORT = 4 | 2;

    string internal constant KNOWN = "snapshots/Swarm.json";

    /// @dev Gas of submitUpdate for the first, a middle and the last (sealing) member of the third round.
    function submitGas(uint16 n) private returns (uint256 first, uint256 middle, uint256 last) {
        start(sixteenSlices(n));
        playRound(n, 0);
        playRound(n, REPORT);
        for (uint256 i; i < n; ++i) {
            submit(i, REPORT);
            uint256 used = vm.lastCallGas().gasTotalUsed;
            if (i == 0) first = used;
            if (i == n / 2) middle = used;
            if (i == uint256(n) - 1) last = used;
        }
        phaseIs(ISwarm.Phase.MERGING);
        measured("submitFirst", n, first);
        measured("submit", n, middle);
        measured("submitSealing", n, last);
    }

    function sixteenSlices(uint16 n) private pure returns (ISwarm.Config memory c) {
        c = baseConfig(n);
        c.size = 64 * 262_144;
        c.f = n <= 6 ? 1 : n <= 15 ? 2 : 3;
        c.minUpdates = c.f + 1;
    }

    /// @dev From 4 to 256 members, within two percent: the first update of a round, one in between, and the one that seals.
    /// With 256 the last costs less, since it clears a slot.
    /// forge-config: default.isolate = true
    function testSubmitIsFlatAndCheap() public {
        (uint256 first4, uint256 middle4, uint256 last4) = submitGas(4);
        vm.assertTrue(first4 <= 72_000 && last4 <= 80_000, "more than 72k, or 80k with the seal");
        flat(first4, middle4);
        uint16[3] memory sizes = [uint16(16), 64, 256];
        for (uint256 i; i < sizes.length; ++i) {
            (uint256 first, uint256 middle, uint256 last) = submitGas(sizes[i]);
            flat(first4, first);
            flat(middle4, middle);
            if (sizes[i] < 256) flat(last4, last);
            else vm.assertTrue(last <= last4, "not flat");
        }
    }

    function flat(uint256 a, uint256 b) private pure {
        vm.assertTrue(a * 100 <= b * 102 && b * 100 <= a * 102, "not flat");
    }

    /// forge-config: default.isolate = true
    function testFinalize() public {
        uint16[3] memory sizes = [uint16(4), 16, 64];
        uint256[3] memory limits = [uint256(180_000), 330_000, 850_000];
        for (uint256 i; i < sizes.length; ++i) {
            uint16 n = sizes[i];
            start(sixteenSlices(n));
            playRound(n, 0);
            submitAll(n, REPORT);
            uint256 used = finalizeGas(n);
            measured("finalize", n, used);
            vm.assertTrue(used <= limits[i], "finalize");
        }
    }

    /// @dev The signatures of rank 0 to f, each for its slices.
    function finalizeGas(uint16 n) private returns (uint256) {
        ISwarm.View memory v = swarm.state();
        uint256 q = uint256(swarm.config().f) + 1;
        bytes32[] memory slices = slicesOf(v.round, v.k);
        uint256 signers = n < v.k * q ? n : v.k * q;
        ISwarm.Signed[] memory s = new ISwarm.Signed[](signers);
        for (uint256 i; i < signers; ++i) {
            uint256 mask;
            // Slice j is recomputed by signers j q to j q + q - 1, modulo their number.
            for (uint256 j; j < v.k; ++j) {
                for (uint256 r; r < q; ++r) {
                    if ((j * q + r) % signers == i) mask |= 1 << j;
                }
            }
            s[i] = attestation(i, 0, mergedOf(v.round), slices, mask);
        }
        direct().finalize(v.round, 0, mergedOf(v.round), slices, s);
        return vm.lastCallGas().gasTotalUsed;
    }

    /// forge-config: default.isolate = true
    function testOtherCalls() public {
        start(4);
        enrol(4);
        measured("enrol", 5);
        submitAll(5, 0);
        passes(301);
        swarm.advance(new uint8[](0));
        measured("advanceAbort", 5);
        playRound(5, 0);
        leave(4);
        measured("leave", 5);
        submitAll(3, 0);
        vm.prank(account(3));
        swarm.leave();
        measured("leaveSealing", 4);
    }

    /// @dev What a vote costs is one signature after the other: linear in the signers, not in the members.
    /// forge-config: default.isolate = true
    function testVotes() public {
        uint16[3] memory sizes = [uint16(4), 16, 64];
        for (uint256 i; i < sizes.length; ++i) {
            uint16 n = sizes[i];
            start(sixteenSlices(n));
            uint256[] memory who = first(uint256(n) / 2 + 1);
            playRound(n, 0);
            playRound(n, 0);
            expel(uint256(n) - 1, who);
            uint256 used = vm.lastCallGas().gasTotalUsed;
            measured("expel", n);
            vm.assertTrue(used <= 120_000 + 12_000 * who.length, "expel");
            decide(voteOn(ISwarm.VoteKind.ROLLBACK, address(0), 1), who);
            measured("rollback", n);
            decide(voteOn(ISwarm.VoteKind.STOP, address(0), 0), who);
            measured("stop", n);
            decide(voteOn(ISwarm.VoteKind.REOPEN, address(0), 50), who);
            measured("reopen", n);
        }
    }

    function measured(string memory what, uint256 n) private {
        measured(what, n, vm.lastCallGas().gasTotalUsed);
    }

    /// @dev Within two percent of what is known: a change that costs more is to be seen, and meant.
    function measured(string memory what, uint256 n, uint256 used) private {
        string memory name = string.concat(what, "_", vm.toString(n));
        vm.snapshotValue("Swarm", name, used);
        // None: it is being measured anew.
        if (!vm.exists(KNOWN)) return;
        string memory known = vm.readFile(KNOWN);
        string memory path = string.concat(".", name);
        vm.assertTrue(vm.keyExistsJson(known, path), string.concat(name, " is not known"));
        uint256 before = vm.parseJsonUint(known, path);
        bool close = used * 100 <= before * 102 && used * 102 >= before * 100;
        vm.assertTrue(close, string.concat(name, " costs ", vm.toString(used), ", not ", vm.toString(before)));
    }
}
