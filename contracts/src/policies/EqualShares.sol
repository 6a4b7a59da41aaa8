// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRewardPolicy} from "../interfaces/IRewardPolicy.sol";

/// @title The same for everybody whose update was merged.
contract EqualShares is IRewardPolicy {
    /// @inheritdoc IRewardPolicy
    function shares(uint32, uint256 pot, Entry[] calldata included) external pure returns (uint256[] memory amounts) {
        amounts = new uint256[](included.length);
        for (uint256 i; i < amounts.length; ++i) {
            amounts[i] = pot / amounts.length;
        }
    }
}
