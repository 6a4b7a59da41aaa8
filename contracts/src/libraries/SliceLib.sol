// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Which chunks make up a slice (section 5).
/// @dev Twin of swarmp2p/core/slices.py.
library SliceLib {
    /// @notice Bytes in a content chunk.
    uint64 internal constant CHUNK_SIZE = 262_144;

    /// @param size of the model in bytes.
    /// @return chunks in it; an empty file has one.
    function chunkCount(uint64 size) internal pure returns (uint64 chunks) {
        chunks = size / CHUNK_SIZE;
        if (chunks * CHUNK_SIZE < size || chunks == 0) ++chunks;
    }

    /// @return the slices that a round is cut into: at most one a member of the roster and one a chunk.
    function sliceCount(uint8 kMax, uint16 members, uint64 chunks) internal pure returns (uint8) {
        uint256 k = kMax;
        if (members < k) k = members;
        if (chunks < k) k = chunks;
        return uint8(k);
    }

    /// @return start first chunk of slice j of k.
    /// @return end one past its last chunk.
    function range(uint256 j, uint256 k, uint256 chunks) internal pure returns (uint256 start, uint256 end) {
        start = j * chunks / k;
        end = (j + 1) * chunks / k;
    }
}
