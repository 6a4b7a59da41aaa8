// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IRewardPolicy} from "../interfaces/IRewardPolicy.sol";

/// @title By the weight in the merge: the number of examples, as members declare it.
/// @dev A member gains by declaring more than it has, up to what its invitation allows: for members that know each other.
contract WeightShares is IRewardPolicy {
    /// @inheritdoc IRewardPolicy
    function shares(uint32, uint256 pot, Entry[] calldata included) external pure returns (uint256[] memory amounts) {
        uint256 total;
        for (uint256 i; i < included.length; ++i) {
            total += included[i].weight;
        }
        amounts = new uint256[](included.length);
        // A swarm accepts no update of weight 0; nobody has a part by that.
        if (total == 0) return amounts;
        for (uint256 i; i < included.length; ++i) {
            amounts[i] = Math.mulDiv(pot, included[i].weight, total);
        }
    }
}
