// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IRewardPolicy} from "src/interfaces/IRewardPolicy.sol";

/// @title By the square root of the weight: who has a hundred times as many examples earns ten times as much.
/// @notice Between "equal", where much data earns nothing extra, and "weight", where the largest member takes nearly all.
/// Weights are what members declare, here too; declaring four times as many gains twice as much instead of four times.
/// @dev Its twin is policy.py. Nothing here can overflow or divide by zero: a policy must never revert.
contract SquareRootShares is IRewardPolicy {
    /// @inheritdoc IRewardPolicy
    function shares(uint32, uint256 pot, Entry[] calldata included) external pure returns (uint256[] memory amounts) {
        uint256[] memory roots = new uint256[](included.length);
        uint256 total;
        for (uint256 i; i < roots.length; ++i) {
            // Rounded down to a 65536th: a weight has 32 bits, its root so has as many.
            roots[i] = Math.sqrt(uint256(included[i].weight) << 32);
            total += roots[i];
        }
        amounts = new uint256[](included.length);
        // A swarm accepts no update of weight 0; nobody has a part by that.
        if (total == 0) return amounts;
        for (uint256 i; i < roots.length; ++i) {
            amounts[i] = Math.mulDiv(pot, roots[i], total);
        }
    }
}
