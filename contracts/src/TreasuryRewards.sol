// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {TreasuryStorage} from "./TreasuryStorage.sol";
import {IRewardPolicy} from "./interfaces/IRewardPolicy.sol";
import {ISwarm} from "./interfaces/ISwarm.sol";
import {ISwarmTreasury} from "./interfaces/ISwarmTreasury.sol";
import {BitmapLib} from "./libraries/BitmapLib.sol";
import {ElectionLib} from "./libraries/ElectionLib.sol";
import {PoolLib} from "./libraries/PoolLib.sol";
import {TypedLib} from "./libraries/TypedLib.sol";

/// @title The pool: money in, rounds settled, money out.
abstract contract TreasuryRewards is TreasuryStorage {
    using BitmapLib for uint256;

    /// @dev Of the swarm; they cannot change.
    bytes32 internal _genesis;
    bytes32 internal _salt;

    /// @inheritdoc ISwarmTreasury
    function fund(uint128 amount) external nonReentrant bound {
        _fund(amount);
    }

    /// @inheritdoc ISwarmTreasury
    function fundWithPermit(uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
        bound
    {
        _permit(amount, deadline, v, r, s);
        _fund(amount);
    }

    /// @inheritdoc ISwarmTreasury
    function settle(Settlement[] calldata settlements) external nonReentrant bound {
        _settleAll(settlements);
    }

    /// @inheritdoc ISwarmTreasury
    function claim(Settlement[] calldata settlements) external nonReentrant bound {
        _settleAll(settlements);
        Holding storage h = _holdings[msg.sender];
        uint128 amount = h.owed;
        if (amount == 0) revert NothingOwed(msg.sender);
        h.owed = 0;
        _totals.owed -= amount;
        emit Claimed(msg.sender, amount);
        _push(msg.sender, amount);
    }

    /// @inheritdoc ISwarmTreasury
    function refund() external nonReentrant bound {
        (uint32 current, ISwarm.Phase phase) = _swarm.progress();
        if (phase != ISwarm.Phase.STOPPED) revert NotRefundable();
        Totals memory t = _totals;
        if (_mergedBetween(t.settledRound, current) != 0) revert NotRefundable();
        // A reopened swarm goes on with the round after it.
        t.settledRound = current;
        Holding storage h = _holdings[msg.sender];
        uint128 amount = _refundable(h);
        if (amount == 0) revert NothingOwed(msg.sender);
        h.funded = 0;
        t.pool -= amount;
        _totals = t;
        emit Refunded(msg.sender, amount);
        _push(msg.sender, amount);
    }

    /* INTERNAL */

    /// @return what is left of what the account paid in.
    function _refundable(Holding storage h) internal view returns (uint128) {
        return uint128(PoolLib.worth(h.funded, h.since, _level));
    }

    function _fund(uint128 amount) private {
        uint128 arrived = _pull(amount);
        Holding storage h = _holdings[msg.sender];
        h.funded = _refundable(h) + arrived;
        h.since = _level;
        _totals.pool += arrived;
        emit Funded(msg.sender, arrived);
    }

    function _settleAll(Settlement[] calldata settlements) private {
        if (settlements.length == 0) return;
        (uint32 current, ISwarm.Phase phase) = _swarm.progress();
        Totals memory t = _totals;
        PoolLib.Level memory level = _level;
        for (uint256 i; i < settlements.length; ++i) {
            Settlement calldata s = settlements[i];
            if (s.round <= t.settledRound) continue;
            if (s.round > current) revert WrongSettlement(current);
            uint32 leftOut = _mergedBetween(t.settledRound, s.round - 1);
            if (leftOut != 0) revert WrongSettlement(leftOut);
            ISwarm.Result memory result = _swarm.result(s.round);
            if (result.merged != 0) {
                _settle(s, result, t, level);
            } else {
                // The current round may still merge, but for a swarm that stopped: if reopened, it goes on with the next.
                if (s.round == current && phase != ISwarm.Phase.STOPPED) revert WrongSettlement(current);
                if (s.entries.length != 0) revert WrongEntries(s.round);
            }
            t.settledRound = s.round;
        }
        _totals = t;
        _level = level;
    }

    /// @dev Changes `t` and `level`; the caller stores them.
    function _settle(Settlement calldata s, ISwarm.Result memory result, Totals memory t, PoolLib.Level memory level)
        private
    {
        _checkEntries(s, result);
        uint256 pot = Math.min(PER_ROUND, t.pool);
        IRewardPolicy.Entry[] memory payees = _payees(s, result.included);
        uint256 paid = pot == 0 || payees.length == 0 ? 0 : _pay(s.round, pot, payees, result.attesters);
        PoolLib.spend(level, t.pool, paid);
        t.pool -= uint128(paid);
        t.owed += uint128(paid);
        emit Settled(s.round, pot, paid);
    }

    /// @dev The swarm keeps one hash over the updates of a round; it starts from the round's seed, and that is of the head
    /// that the round was opened on.
    function _checkEntries(Settlement calldata s, ISwarm.Result memory result) private view {
        bytes32 head = result.parentRound == 0 ? _genesis : _swarm.result(result.parentRound).merged;
        bytes32 inputs = ElectionLib.seed(_salt, s.round, head);
        for (uint256 i; i < s.entries.length; ++i) {
            IRewardPolicy.Entry calldata e = s.entries[i];
            inputs = TypedLib.nextInputs(inputs, e.account, e.index, e.digest, e.weight);
        }
        if (inputs != result.inputs) revert WrongEntries(s.round);
    }

    /// @return payees the included updates, less those of members that were expelled by then.
    function _payees(Settlement calldata s, uint256 included)
        private
        view
        returns (IRewardPolicy.Entry[] memory payees)
    {
        payees = new IRewardPolicy.Entry[](s.entries.length);
        uint256 n;
        for (uint256 i; i < s.entries.length; ++i) {
            if (!included.has(s.entries[i].index)) continue;
            (uint32 expelled,) = _swarm.expulsionOf(s.entries[i].account);
            if (expelled != 0 && expelled <= s.round) continue;
            payees[n++] = s.entries[i];
        }
        assembly ("memory-safe") {
            mstore(payees, n)
        }
    }

    /// @return paid what of the pot is owed to the payees now.
    function _pay(uint32 round, uint256 pot, IRewardPolicy.Entry[] memory payees, uint256 attesters)
        private
        returns (uint256 paid)
    {
        uint256 bonus = _bonus(pot, payees, attesters);
        uint256 left = bonus == 0 ? pot : pot - pot * ATTESTER_BPS / 10_000;
        uint256[] memory amounts = IRewardPolicy(POLICY).shares(round, left, payees);
        if (amounts.length != payees.length) revert BadShares(round);
        for (uint256 i; i < payees.length; ++i) {
            if (amounts[i] > left) revert BadShares(round);
            left -= amounts[i];
            uint256 extra = attesters.has(payees[i].index) ? bonus : 0;
            uint256 sum = amounts[i] + extra;
            if (sum == 0) continue;
            paid += sum;
            _holdings[payees[i].account].owed += uint128(sum);
            emit Earned(round, payees[i].account, amounts[i], extra);
        }
    }

    /// @return what each of the payees that attested gets for it. With none of them all of the pot is shared by the policy.
    function _bonus(uint256 pot, IRewardPolicy.Entry[] memory payees, uint256 attesters)
        private
        view
        returns (uint256)
    {
        uint256 n;
        for (uint256 i; i < payees.length; ++i) {
            if (attesters.has(payees[i].index)) ++n;
        }
        return n == 0 ? 0 : pot * ATTESTER_BPS / 10_000 / n;
    }

    /// @return the first round after `settled`, up to `last`, that merged something; 0: none.
    function _mergedBetween(uint32 settled, uint32 last) private view returns (uint32) {
        for (uint32 round = settled + 1; round <= last; ++round) {
            if (_swarm.result(round).merged != 0) return round;
        }
        return 0;
    }
}
