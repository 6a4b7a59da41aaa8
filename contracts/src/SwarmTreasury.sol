// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {TreasuryRewards} from "./TreasuryRewards.sol";
import {TreasuryStakes} from "./TreasuryStakes.sol";
import {TreasuryStorage} from "./TreasuryStorage.sol";
import {ISwarm} from "./interfaces/ISwarm.sol";
import {ISwarmTreasury} from "./interfaces/ISwarmTreasury.sol";

/// @title The money of one swarm. ISwarmTreasury says what each function promises.
/// @dev Deployed before its swarm, whose configuration names it; `bind` closes the circle. The swarm knows nothing of it but
/// `stakeOf`, so a fault here cannot stop a round.
contract SwarmTreasury is TreasuryStakes, TreasuryRewards {
    address private immutable DEPLOYER;

    constructor(Terms memory t) TreasuryStorage(t) {
        DEPLOYER = msg.sender;
    }

    /// @inheritdoc ISwarmTreasury
    function bind(address swarm_) external nonReentrant {
        if (msg.sender != DEPLOYER || address(_swarm) != address(0) || swarm_.code.length == 0) revert CannotBind();
        ISwarm.Config memory c = ISwarm(swarm_).config();
        if (c.treasury != address(this)) revert CannotBind();
        _swarm = ISwarm(swarm_);
        _genesis = c.genesis;
        _salt = ISwarm(swarm_).salt();
        emit Bound(swarm_);
    }

    /// @inheritdoc ISwarmTreasury
    function terms() external view returns (Terms memory) {
        return Terms(address(TOKEN), POLICY, PER_ROUND, ATTESTER_BPS, UNSTAKE_DELAY);
    }

    /// @inheritdoc ISwarmTreasury
    function swarm() external view returns (address) {
        return address(_swarm);
    }

    /// @inheritdoc ISwarmTreasury
    function accountOf(address account) external view returns (Account memory) {
        Holding storage h = _holdings[account];
        return Account(h.owed, h.stake, _refundable(h), h.unstakeAt, h.forfeit);
    }

    /// @inheritdoc ISwarmTreasury
    function totals() external view returns (Totals memory) {
        return _totals;
    }
}
