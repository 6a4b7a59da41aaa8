// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title What is left of the money that somebody paid into the pool.
/// @dev Every payment out of the pool takes the same fraction of all that is in it. Were a funder's part measured by what it
/// ever paid in, then those whose money is spent would share in what others pay in later, and would gain by stopping the
/// swarm at that moment. `Level` is the product of the fractions that payments left, as a floating-point number
/// factor / 2^96 / 2^(48 scale), rounded down: so all parts together are never more than the pool.
library PoolLib {
    struct Level {
        uint128 factor;
        uint64 scale;
    }

    uint128 internal constant ONE = 1 << 96;
    uint128 internal constant STEP = 1 << 48;

    /// @notice A payment out of the pool; changes the level in place.
    /// @param pool what was in it, at most 2^128 - 1.
    /// @param paid at most that.
    function spend(Level memory level, uint256 pool, uint256 paid) internal pure {
        if (paid == 0) return;
        uint256 left = pool - paid;
        uint256 factor = uint256(level.factor) * left / pool;
        if (factor < STEP) {
            factor = Math.mulDiv(uint256(level.factor) * STEP, left, pool);
            ++level.scale;
        }
        if (factor < STEP) {
            // Nothing, or less than a 2^48th, is left: it is nobody's, and whoever pays in from now on starts afresh.
            factor = ONE;
            ++level.scale;
        }
        level.factor = uint128(factor);
    }

    /// @param amount paid in, at most 2^128 - 1.
    /// @param since the level at that time.
    /// @param level the level now.
    /// @return what is left of it, rounded down; 0 below a 2^48th.
    function worth(uint256 amount, Level memory since, Level memory level) internal pure returns (uint256) {
        if (amount == 0 || level.scale > uint256(since.scale) + 1) return 0;
        uint256 divisor = level.scale == since.scale ? since.factor : uint256(since.factor) * STEP;
        return amount * level.factor / divisor;
    }
}
