// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BitmapLib} from "./BitmapLib.sol";

/// @title Who works on which slice first (section 5).
/// @dev Twin of swarmp2p/core/election.py. Only views use it: safety never depends on an election.
library ElectionLib {
    /// @return the seed of a round, known when it opens.
    function seed(bytes32 salt, uint32 round, bytes32 head) internal pure returns (bytes32) {
        return keccak256(abi.encode(salt, round, head));
    }

    /// @return order the roster's indexes, sorted by keccak(seed, index).
    function permutation(bytes32 roundSeed, uint256 roster) internal pure returns (uint8[] memory order) {
        order = BitmapLib.toIndexes(roster);
        bytes32[] memory keys = new bytes32[](order.length);
        for (uint256 i; i < order.length; ++i) {
            uint8 index = order[i];
            bytes32 key = keccak256(abi.encode(roundSeed, uint256(index)));
            uint256 at = i;
            for (; at > 0 && keys[at - 1] > key; --at) {
                keys[at] = keys[at - 1];
                order[at] = order[at - 1];
            }
            keys[at] = key;
            order[at] = index;
        }
    }

    /// @param order the permutation of a non-empty roster.
    /// @return the index of the worker of slice j of k at a rank; the leader is rank 0.
    function worker(uint8[] memory order, uint256 j, uint256 k, uint256 rank) internal pure returns (uint8) {
        return order[(j * order.length / k + rank) % order.length];
    }
}
