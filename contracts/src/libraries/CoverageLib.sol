// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Which slices enough members attested (section 4, finalize).
/// @dev Twin of swarmp2p/core/coverage.py.
library CoverageLib {
    /// @notice Add one member's mask. `levels[i]` holds the slices that more than i members attested.
    /// @param levels as long as there are recomputations needed; changed in place.
    function add(uint256[] memory levels, uint256 mask) internal pure {
        for (uint256 i = levels.length - 1; i > 0; --i) {
            levels[i] |= levels[i - 1] & mask;
        }
        levels[0] |= mask;
    }

    /// @return the slices below k that at least `levels.length` members attested.
    function covered(uint256[] memory levels, uint8 k) internal pure returns (uint256) {
        return levels[levels.length - 1] & all(k);
    }

    /// @return the mask of slices 0 to k - 1.
    function all(uint8 k) internal pure returns (uint256) {
        return (1 << k) - 1;
    }
}
