// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Sets of member indexes: bit i for index i.
/// @dev Twin of `bits` and `bitmap_of` in swarmp2p/core/types.py.
library BitmapLib {
    /// @return n how many indexes are in the set.
    function count(uint256 set) internal pure returns (uint16 n) {
        unchecked {
            // Sums of neighbouring fields, twice as wide at each step.
            set -= (set >> 1) & 0x5555555555555555555555555555555555555555555555555555555555555555;
            set = (set & 0x3333333333333333333333333333333333333333333333333333333333333333)
                + ((set >> 2) & 0x3333333333333333333333333333333333333333333333333333333333333333);
            set = (set + (set >> 4)) & 0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f;
            // Fields of 16 bits, since all 256 do not fit into a byte.
            set = (set + (set >> 8)) & 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
            n = uint16((set * 0x0001000100010001000100010001000100010001000100010001000100010001) >> 240);
        }
    }

    /// @return the set with only this index.
    function single(uint8 index) internal pure returns (uint256) {
        return 1 << index;
    }

    /// @return whether the index is in the set.
    function has(uint256 set, uint8 index) internal pure returns (bool) {
        return (set >> index) & 1 == 1;
    }

    /// @return whether every index of `part` is in `set`.
    function covers(uint256 set, uint256 part) internal pure returns (bool) {
        return part & ~set == 0;
    }

    /// @param set not full.
    /// @return index the lowest one that is not in it.
    function lowestMissing(uint256 set) internal pure returns (uint8 index) {
        while (has(set, index)) ++index;
    }

    /// @return indexes those in the set, ascending.
    function toIndexes(uint256 set) internal pure returns (uint8[] memory indexes) {
        indexes = new uint8[](count(set));
        uint256 at;
        for (uint256 index; set != 0; ++index) {
            if (set & 1 == 1) indexes[at++] = uint8(index);
            set >>= 1;
        }
    }
}
