// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRewardPolicy} from "../interfaces/IRewardPolicy.sol";

/// @title The updates of a round, proven by the hash that the swarm kept of them (section 3).
library SettlementLib {
    /// @param seed of the round: what the hash starts from.
    /// @return inputs the running hash over these updates.
    function replay(bytes32 seed, IRewardPolicy.Entry[] calldata entries) internal pure returns (bytes32 inputs) {
        inputs = seed;
        for (uint256 i; i < entries.length; ++i) {
            IRewardPolicy.Entry calldata e = entries[i];
            uint256 member = uint256(uint160(e.account)) << 8 | e.index;
            inputs = keccak256(abi.encode(inputs, member, e.digest, uint256(e.weight)));
        }
    }
}
