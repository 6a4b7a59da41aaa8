// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {TreasuryStorage} from "./TreasuryStorage.sol";
import {ISwarm} from "./interfaces/ISwarm.sol";
import {ISwarmTreasury} from "./interfaces/ISwarmTreasury.sol";
import {ContradictionLib} from "./libraries/ContradictionLib.sol";

/// @title Stakes, and how they are lost.
abstract contract TreasuryStakes is TreasuryStorage {
    /// @inheritdoc ISwarmTreasury
    function stake(uint128 amount) external nonReentrant bound {
        _stake(amount);
    }

    /// @inheritdoc ISwarmTreasury
    function stakeWithPermit(uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
        bound
    {
        _permit(amount, deadline, v, r, s);
        _stake(amount);
    }

    /// @inheritdoc ISwarmTreasury
    function requestUnstake() external nonReentrant bound {
        Holding storage h = _holdings[msg.sender];
        if (h.stake == 0) revert NothingToWithdraw();
        if (_isMember(msg.sender)) revert StillAMember(msg.sender);
        // Asking again does not start the delay again.
        if (h.unstakeAt == 0) h.unstakeAt = uint40(block.timestamp) + UNSTAKE_DELAY;
        emit UnstakeRequested(msg.sender, h.unstakeAt);
    }

    /// @inheritdoc ISwarmTreasury
    function withdrawStake() external nonReentrant bound {
        Holding storage h = _holdings[msg.sender];
        if (h.stake == 0) revert NothingToWithdraw();
        if (_forfeit(msg.sender)) revert StakeForfeit(msg.sender);
        if (!_stopped()) {
            if (h.unstakeAt == 0) revert NothingToWithdraw();
            if (_isMember(msg.sender)) revert StillAMember(msg.sender);
            if (block.timestamp < h.unstakeAt) revert TooEarly(h.unstakeAt);
        }
        uint128 amount = _takeStake(h);
        emit Unstaked(msg.sender, amount);
        _push(msg.sender, amount);
    }

    /// @inheritdoc ISwarmTreasury
    function slash(address account) external nonReentrant bound {
        (, bool slashed) = _swarm.expulsionOf(account);
        if (!slashed) revert NotSlashed(account);
        _slash(account, false);
    }

    /// @inheritdoc ISwarmTreasury
    function proveContradiction(Statement calldata a, Statement calldata b, uint8 slice) external nonReentrant bound {
        address account = ContradictionLib.liar(_swarm.domainSeparator(), a, b, slice);
        if (account == address(0)) revert NoContradiction();
        _holdings[account].forfeit = true;
        _slash(account, true);
    }

    /// @inheritdoc ISwarmTreasury
    function stakeOf(address account) external view returns (uint256) {
        Holding storage h = _holdings[account];
        return h.unstakeAt == 0 ? h.stake : 0;
    }

    /* INTERNAL */

    function _stake(uint128 amount) private {
        if (_forfeit(msg.sender)) revert StakeForfeit(msg.sender);
        uint128 arrived = _pull(amount);
        Holding storage h = _holdings[msg.sender];
        h.stake += arrived;
        h.unstakeAt = 0;
        _totals.staked += arrived;
        emit Staked(msg.sender, arrived);
    }

    function _slash(address account, bool proven) private {
        uint128 amount = _takeStake(_holdings[account]);
        if (amount == 0) revert NothingToSlash(account);
        _totals.pool += amount;
        emit Slashed(account, amount, proven);
    }

    function _takeStake(Holding storage h) private returns (uint128 amount) {
        amount = h.stake;
        h.stake = 0;
        h.unstakeAt = 0;
        _totals.staked -= amount;
    }

    /// @return whether a stake of this account is lost, be it that nobody has taken it yet.
    function _forfeit(address account) private view returns (bool) {
        (, bool slashed) = _swarm.expulsionOf(account);
        return slashed || _holdings[account].forfeit;
    }

    /// @return whether the account can sign things that count.
    function _isMember(address account) private view returns (bool) {
        ISwarm.MemberView memory m = _swarm.memberOf(account);
        bool enrolled = m.status == ISwarm.Status.IDLE || m.status == ISwarm.Status.ACTIVE;
        return enrolled && block.timestamp <= m.expires;
    }
}
