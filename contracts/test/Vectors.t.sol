// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {CoverageLib} from "../src/libraries/CoverageLib.sol";
import {ElectionLib} from "../src/libraries/ElectionLib.sol";
import {SliceLib} from "../src/libraries/SliceLib.sol";
import {StopLib} from "../src/libraries/StopLib.sol";
import {TypedLib} from "../src/libraries/TypedLib.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev The files that the Python twins are tested with too: interop/vectors/README.md has their format.
contract VectorsTest is BaseTest {
    string private json;
    /// @dev The case that is read, as a JSON path; the next one is `at(list, i)`.
    string private where;

    function open(string memory name) private {
        json = vm.readFile(string.concat("../interop/vectors/", name, ".json"));
    }

    /// @return whether the list has an i-th case; it is the current one then.
    function at(string memory listName, uint256 i) private returns (bool) {
        where = string.concat(".", listName, "[", vm.toString(i), "]");
        return vm.keyExistsJson(json, where);
    }

    function path(string memory field) private view returns (string memory) {
        return string.concat(where, ".", field);
    }

    function number(string memory field) private view returns (uint256) {
        return vm.parseJsonUint(json, path(field));
    }

    function numbers(string memory field) private view returns (uint256[] memory) {
        return vm.parseJsonUintArray(json, path(field));
    }

    function word(string memory field) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, path(field));
    }

    function words(string memory field) private view returns (bytes32[] memory) {
        return vm.parseJsonBytes32Array(json, path(field));
    }

    function set(string memory field) private view returns (uint256) {
        return uint256(word(field));
    }

    function flag(string memory field) private view returns (bool) {
        return vm.parseJsonBool(json, path(field));
    }

    function testElection() public {
        open("election");
        uint256 i;
        for (; at("cases", i); ++i) {
            bytes32 seed = ElectionLib.seed(word("salt"), uint32(number("round")), word("head"));
            vm.assertEq(seed, word("seed"), where);
            uint8[] memory order = ElectionLib.permutation(seed, set("roster"));
            uint256[] memory expected = numbers("order");
            vm.assertEq(order.length, expected.length, where);
            for (uint256 j; j < order.length; ++j) {
                vm.assertEq(order[j], expected[j], where);
            }
            checkWorkers(order);
        }
        vm.assertTrue(i >= 8, "too few cases");
    }

    function checkWorkers(uint8[] memory order) private view {
        uint256 k = number("k");
        uint256[] memory leaders = numbers("leaders");
        vm.assertEq(leaders.length, k, where);
        for (uint256 j; j < k; ++j) {
            vm.assertEq(ElectionLib.worker(order, j, k, 0), leaders[j], where);
        }
        uint256[] memory ranks = numbers("ranks");
        uint256[] memory workers = numbers("workers");
        for (uint256 j; j < ranks.length; ++j) {
            vm.assertEq(ElectionLib.worker(order, number("slice"), k, ranks[j]), workers[j], where);
        }
    }

    function testSlices() public {
        open("slices");
        uint256 i;
        for (; at("cases", i); ++i) {
            uint64 chunks = SliceLib.chunkCount(uint64(number("size")));
            vm.assertEq(chunks, number("chunks"), where);
            uint8 k = SliceLib.sliceCount(uint8(number("k_max")), uint16(number("members")), chunks);
            vm.assertEq(k, number("k"), where);
            uint256[] memory starts = numbers("starts");
            uint256[] memory ends = numbers("ends");
            for (uint256 j; j < k; ++j) {
                (uint256 start, uint256 end) = SliceLib.range(j, k, chunks);
                vm.assertEq(start, starts[j], where);
                vm.assertEq(end, ends[j], where);
            }
        }
        vm.assertTrue(i >= 40, "too few cases");
    }

    function testSliceDigests() public {
        open("slices");
        uint256 i;
        for (; at("digests", i); ++i) {
            vm.assertEq(sha256(abi.encodePacked(words("leaves"))), word("digest"), where);
        }
        vm.assertTrue(i >= 3, "too few cases");
    }

    function testCoverage() public {
        open("coverage");
        uint256 i;
        for (; at("cases", i); ++i) {
            uint8 k = uint8(number("k"));
            bytes32[] memory masks = words("masks");
            uint256[] memory levels = new uint256[](number("q"));
            for (uint256 j; j < masks.length; ++j) {
                CoverageLib.add(levels, uint256(masks[j]));
            }
            uint256 covered = CoverageLib.covered(levels, k);
            vm.assertEq(covered, set("covered"), where);
            vm.assertTrue((covered == CoverageLib.all(k)) == flag("accepted"), where);
        }
        vm.assertTrue(i >= 40, "too few cases");
    }

    function testThresholds() public {
        open("seal");
        uint256 i;
        for (; at("thresholds", i); ++i) {
            uint16 t = StopLib.threshold(
                uint16(number("waited_for")), uint16(number("min_updates")), uint16(number("frac_bps"))
            );
            vm.assertEq(t, number("threshold"), where);
        }
        vm.assertTrue(i >= 50, "too few cases");
    }

    function testSeals() public {
        open("seal");
        uint256 i;
        for (; at("seals", i); ++i) {
            bool sealable = StopLib.sealable(
                uint32(number("round")),
                uint16(number("count")),
                uint16(number("threshold")),
                uint16(number("min_updates")),
                uint40(number("seal_at")),
                number("now"),
                flag("complete")
            );
            vm.assertTrue(sealable == flag("sealable"), where);
        }
        vm.assertTrue(i >= 60, "too few cases");
    }

    function testVotes() public {
        open("seal");
        uint256 i;
        for (; at("votes", i); ++i) {
            (bool best, uint32 stale, ISwarm.StopReason reason) = StopLib.judge(
                uint16(number("reports")),
                uint16(number("reached")),
                uint16(number("improved")),
                uint32(number("stale")),
                uint32(number("patience"))
            );
            vm.assertTrue(best == flag("best"), where);
            vm.assertEq(stale, number("stale_after"), where);
            vm.assertEq(uint256(reason), number("reason"), where);
        }
        vm.assertTrue(i >= 40, "too few cases");
    }

    function testFloors() public {
        open("seal");
        uint256 i;
        for (; at("floors", i); ++i) {
            vm.assertEq(StopLib.floorOfIncluded(uint16(number("count"))), number("floor"), where);
        }
        vm.assertTrue(i >= 8, "too few cases");
    }

    /* TYPED HASHES */

    function testDomain() public {
        open("typed");
        where = ".domain";
        bytes32 salt = word("salt");
        vm.assertEq(keccak256(abi.encode(word("genesis"), number("timestamp"), word("parent"))), salt);
        address swarmAt = vm.parseJsonAddress(json, path("contract"));
        vm.assertEq(TypedLib.domain(number("chain_id"), swarmAt, salt), word("separator"));
    }

    function testAttestations() public {
        open("typed");
        string[2] memory names = [".attestation", ".abort"];
        for (uint256 i; i < 2; ++i) {
            where = names[i];
            bytes32 packed = keccak256(abi.encodePacked(words("slices")));
            vm.assertEq(packed, word("slices_hash"), where);
            bytes32 hash = TypedLib.attestation(
                uint32(number("round")), word("inputs"), set("excluded"), word("merged"), packed, set("mask")
            );
            checkSigned(hash);
        }
    }

    function testClaim() public {
        open("typed");
        where = ".claim";
        checkSigned(
            TypedLib.claim(
                uint32(number("round")),
                word("inputs"),
                set("excluded"),
                uint8(number("slice")),
                word("digest_of_slice")
            )
        );
    }

    function testInvite() public {
        open("typed");
        where = ".invite";
        ISwarm.Invite memory invite = ISwarm.Invite(
            vm.parseJsonAddress(json, path("invitee")),
            uint24(number("term")),
            uint32(number("max_weight")),
            uint40(number("expires")),
            uint128(set("stake")),
            word("purpose"),
            uint40(number("deadline"))
        );
        checkSigned(TypedLib.invite(invite));
    }

    function checkSigned(bytes32 structHash) private view {
        vm.assertEq(structHash, word("struct_hash"), where);
        bytes32 separator = vm.parseJsonBytes32(json, ".domain.separator");
        bytes32 digest = MessageHashUtils.toTypedDataHash(separator, structHash);
        vm.assertEq(digest, word("digest"), where);
        address signer = ECDSA.recover(digest, vm.parseJsonBytes(json, path("signature")));
        vm.assertEq(signer, vm.parseJsonAddress(json, ".signer"), where);
    }

    /// @dev The contract asks ECDSA.tryRecover, and takes no one for the signer where this gives no address.
    function testRefusedSignatures() public {
        open("invalid/typed");
        address signer = vm.parseJsonAddress(json, ".signer");
        where = ".valid";
        vm.assertEq(recovered(), signer, where);
        uint256 i;
        for (; at("cases", i); ++i) {
            vm.assertTrue(recovered() != signer, where);
        }
        vm.assertTrue(i >= 13, "too few cases");
    }

    function recovered() private view returns (address found) {
        (found,,) = ECDSA.tryRecover(word("digest"), vm.parseJsonBytes(json, path("signature")));
    }

    function testInputs() public {
        open("typed");
        bytes32 inputs = vm.parseJsonBytes32(json, ".inputs.seed");
        uint256 i;
        for (; at("inputs.submissions", i); ++i) {
            inputs = TypedLib.nextInputs(
                inputs,
                vm.parseJsonAddress(json, path("account")),
                uint8(number("index")),
                word("digest"),
                uint32(number("weight"))
            );
            vm.assertEq(inputs, word("inputs"), where);
        }
        vm.assertTrue(i >= 3, "too few cases");
    }
}
