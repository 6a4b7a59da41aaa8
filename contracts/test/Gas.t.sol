// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev Exact gas of whole transactions: each call is its own transaction here (`isolate`), with cold storage.
contract GasTest is BaseTest {
    uint8 internal constant REPORT = 4 | 2;

    event Measured(string what, uint256 members, uint256 gas);

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
        emit Measured("submitUpdate, first", n, first);
        emit Measured("submitUpdate", n, middle);
        emit Measured("submitUpdate, sealing", n, last);
    }

    function sixteenSlices(uint16 n) private pure returns (ISwarm.Config memory c) {
        c = baseConfig(n);
        c.size = 64 * 262_144;
        c.f = n <= 6 ? 1 : n <= 15 ? 2 : 3;
        c.minUpdates = c.f + 1;
    }

    /// forge-config: default.isolate = true
    function testSubmitIsFlatAndCheap() public {
        (uint256 first4, uint256 middle4, uint256 last4) = submitGas(4);
        (uint256 first64, uint256 middle64, uint256 last64) = submitGas(64);
        close(first4, first64);
        close(middle4, middle64);
        close(last4, last64);
        close(first4, middle4);
        vm.assertTrue(middle64 <= 71_000, "more than 71k");
    }

    /// @dev Within two percent.
    function close(uint256 a, uint256 b) private pure {
        uint256 difference = a > b ? a - b : b - a;
        vm.assertTrue(difference * 50 <= a, "not flat");
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
            emit Measured("finalize", n, used);
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
        swarm.finalize(v.round, 0, mergedOf(v.round), slices, s);
        return vm.lastCallGas().gasTotalUsed;
    }

    /// forge-config: default.isolate = true
    function testOtherCalls() public {
        start(4);
        enrol(4);
        emit Measured("enrol", 5, vm.lastCallGas().gasTotalUsed);
        submitAll(5, 0);
        passes(301);
        swarm.advance(new uint8[](0));
        emit Measured("advance, abort", 5, vm.lastCallGas().gasTotalUsed);
    }
}
