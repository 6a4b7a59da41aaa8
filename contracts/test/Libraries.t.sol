// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BitmapLib} from "../src/libraries/BitmapLib.sol";
import {CoverageLib} from "../src/libraries/CoverageLib.sol";
import {ElectionLib} from "../src/libraries/ElectionLib.sol";
import {SliceLib} from "../src/libraries/SliceLib.sol";
import {StopLib} from "../src/libraries/StopLib.sol";
import {BaseTest} from "./BaseTest.sol";

contract LibrariesTest is BaseTest {
    /* BITMAPS */

    function testCount(uint256 set) public pure {
        uint256 n;
        for (uint256 i; i < 256; ++i) {
            n += (set >> i) & 1;
        }
        vm.assertEq(BitmapLib.count(set), n);
    }

    function testCountEnds() public pure {
        vm.assertEq(BitmapLib.count(0), 0);
        vm.assertEq(BitmapLib.count(type(uint256).max), 256);
    }

    function testIndexes(uint256 set) public pure {
        uint8[] memory l = BitmapLib.toIndexes(set);
        uint256 again;
        for (uint256 i; i < l.length; ++i) {
            vm.assertTrue(i == 0 || l[i - 1] < l[i], "not ascending");
            vm.assertTrue(BitmapLib.has(set, l[i]));
            again |= BitmapLib.single(l[i]);
        }
        vm.assertEq(again, set);
    }

    function testLowestMissing(uint256 set) public pure {
        vm.assume(set != type(uint256).max);
        uint8 index = BitmapLib.lowestMissing(set);
        vm.assertTrue(!BitmapLib.has(set, index));
        vm.assertTrue(BitmapLib.covers(set, BitmapLib.single(index) - 1));
    }

    /* ELECTION */

    function testPermutation(bytes32 seed, uint256 roster) public pure {
        uint8[] memory order = ElectionLib.permutation(seed, roster);
        uint256 seen;
        bytes32 last;
        for (uint256 i; i < order.length; ++i) {
            bytes32 next = keccak256(abi.encode(seed, uint256(order[i])));
            vm.assertTrue(next > last, "not sorted");
            last = next;
            seen |= 1 << order[i];
        }
        vm.assertEq(seen, roster);
        vm.assertEq(order.length, BitmapLib.count(roster));
    }

    /// @dev Leaders are distinct, and every member is a worker of every slice at some rank.
    function testWorkers(bytes32 seed, uint256 roster, uint256 k) public pure {
        vm.assume(roster != 0);
        uint8[] memory order = ElectionLib.permutation(seed, roster);
        k = bound(k, 1, order.length < 16 ? order.length : 16);
        uint256 leaders;
        for (uint256 j; j < k; ++j) {
            leaders |= 1 << ElectionLib.worker(order, j, k, 0);
            uint256 workers;
            for (uint256 rank; rank < order.length; ++rank) {
                workers |= 1 << ElectionLib.worker(order, j, k, rank);
            }
            vm.assertEq(workers, roster);
        }
        vm.assertEq(BitmapLib.count(leaders), k);
    }

    /* SLICES */

    function testChunkCount() public pure {
        vm.assertEq(SliceLib.chunkCount(0), 1);
        vm.assertEq(SliceLib.chunkCount(1), 1);
        vm.assertEq(SliceLib.chunkCount(262_144), 1);
        vm.assertEq(SliceLib.chunkCount(262_145), 2);
        vm.assertEq(SliceLib.chunkCount(type(uint64).max), 1 << 46);
    }

    /// @dev The slices are not empty and tile the model.
    function testRanges(uint256 k, uint256 chunks) public pure {
        chunks = bound(chunks, 1, 1 << 46);
        k = bound(k, 1, chunks < 255 ? chunks : 255);
        uint256 at;
        for (uint256 j; j < k; ++j) {
            (uint256 start, uint256 end) = SliceLib.range(j, k, chunks);
            vm.assertEq(start, at);
            vm.assertTrue(end > start, "empty");
            at = end;
        }
        vm.assertEq(at, chunks);
    }

    function testSliceCount(uint8 kMax, uint16 members, uint64 chunks) public pure {
        uint256 k = SliceLib.sliceCount(kMax, members, chunks);
        vm.assertTrue(k <= kMax && k <= members && k <= chunks);
        vm.assertTrue(k == kMax || k == members || k == chunks);
    }

    /* COVERAGE */

    function testCoverage(uint256[6] memory masks, uint8 q, uint8 k) public pure {
        q = uint8(bound(q, 1, 5));
        uint256[] memory levels = new uint256[](q);
        for (uint256 i; i < 6; ++i) {
            CoverageLib.add(levels, masks[i]);
        }
        uint256 expected;
        for (uint256 j; j < k; ++j) {
            uint256 n;
            for (uint256 i; i < 6; ++i) {
                n += (masks[i] >> j) & 1;
            }
            if (n >= q) expected |= 1 << j;
        }
        vm.assertEq(CoverageLib.covered(levels, k), expected);
    }

    /* SEAL AND STOP */

    function testThreshold(uint16 waited, uint16 minUpdates, uint16 bps) public pure {
        waited = uint16(bound(waited, 0, 256));
        minUpdates = uint16(bound(minUpdates, 1, 256));
        bps = uint16(bound(bps, 0, 10_000));
        uint256 t = StopLib.threshold(waited, minUpdates, bps);
        vm.assertTrue(t >= minUpdates);
        vm.assertTrue(t * 10_000 >= uint256(waited) * bps);
        vm.assertTrue(t == minUpdates || (t - 1) * 10_000 < uint256(waited) * bps);
    }

    function testSealable(uint32 round, uint16 count, uint16 needed, uint16 minUpdates, uint40 sealAt, uint40 time)
        public
        pure
    {
        bool late = StopLib.sealable(round, count, needed, minUpdates, sealAt, time, false);
        vm.assertTrue(late == (count >= needed && sealAt != 0 && time >= sealAt));
        bool complete = StopLib.sealable(round, count, needed, minUpdates, sealAt, time, true);
        vm.assertTrue(complete == (late || count >= (round == 1 ? needed : minUpdates)));
    }

    function testMajority(uint16 votes, uint16 reports) public pure {
        vm.assertTrue(StopLib.majority(votes, reports) == (uint256(votes) + votes > reports));
        vm.assertTrue(!StopLib.majority(0, 0));
    }

    function testFloor() public pure {
        uint16[5] memory floors = [uint16(1), 1, 1, 2, 2];
        for (uint16 n; n < 5; ++n) {
            vm.assertEq(StopLib.floorOfIncluded(n), floors[n]);
        }
        vm.assertEq(StopLib.floorOfIncluded(256), 128);
    }
}
