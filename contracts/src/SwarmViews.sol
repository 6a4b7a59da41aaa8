// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SwarmStorage} from "./SwarmStorage.sol";
import {ISwarm} from "./interfaces/ISwarm.sol";
import {BitmapLib} from "./libraries/BitmapLib.sol";
import {ElectionLib} from "./libraries/ElectionLib.sol";

/// @title What anyone may read, without gas: loops over members are only here.
abstract contract SwarmViews is SwarmStorage {
    using BitmapLib for uint256;

    /// @inheritdoc ISwarm
    function state() external view returns (View memory v) {
        Round memory r = _round;
        v.salt = SALT;
        v.round = r.number;
        v.phase = r.phase;
        v.openedAt = r.openedAt;
        v.sealAt = r.sealAt;
        v.sealedAt = r.sealedAt;
        v.extendAt = r.extendAt;
        v.count = r.count;
        v.k = r.k;
        v.sealedRounds = r.sealedRounds;
        v.inputs = _inputs;
        v.head = _modelOf(_lineage.headRound);
        v.best = _modelOf(_lineage.bestRound);
        v.seed = ElectionLib.seed(SALT, r.number, v.head);
        v.submitted = ~_missing;
        v.waitFor = _waitFor;
        v.banned = _bannedNow(_tally);
        v.roster = r.k == 0 ? 0 : v.submitted & ~v.banned;
        v.active = _active;
        v.voters = _voters;
        v.quietSince = _quietSince;
        _fillLineage(v);
        _fillMembers(v);
        v.blockNumber = uint64(block.number);
        v.blockTimestamp = uint40(block.timestamp);
    }

    /// @inheritdoc ISwarm
    function leaders(uint32 round) external view returns (address[] memory accounts) {
        Round memory r = _round;
        if (r.phase != Phase.MERGING) revert WrongPhase(r.phase);
        if (r.number != round) revert WrongRound(r.number);
        uint8[] memory order = ElectionLib.permutation(
            ElectionLib.seed(SALT, round, _modelOf(_lineage.headRound)), ~_missing & ~_bannedNow(_tally)
        );
        accounts = new address[](r.k);
        for (uint256 j; j < r.k; ++j) {
            accounts[j] = _accountAt[ElectionLib.worker(order, j, r.k, 0)];
        }
    }

    /// @inheritdoc ISwarm
    function result(uint32 round) external view returns (Result memory) {
        return _results[round];
    }

    /// @inheritdoc ISwarm
    function memberOf(address account) public view returns (MemberView memory v) {
        Member memory m = _members[account];
        v.index = m.index;
        v.account = account;
        v.status = m.standing == Status.IDLE && _active.has(m.index) ? Status.ACTIVE : m.standing;
        v.weight = m.weight;
        v.maxWeight = m.maxWeight;
        v.expires = m.expires;
        v.lastRound = m.lastRound;
        // Before the seal of a round that it is in, a member counts from one further.
        uint32 sealedRounds = _round.sealedRounds;
        v.seq = m.seq < sealedRounds ? m.seq : sealedRounds;
        v.term = m.term;
        v.digest = _digests[account];
    }

    /// @inheritdoc ISwarm
    function progress() external view returns (uint32 round, Phase phase) {
        return (_round.number, _round.phase);
    }

    /// @inheritdoc ISwarm
    function expulsionOf(address account) external view returns (uint32 round, bool slash) {
        Expulsion memory e = _expulsions[account];
        return (e.round, e.slash);
    }

    /// @inheritdoc ISwarm
    function addressesOf(address account) external view returns (bytes memory) {
        return _addresses[account];
    }

    /* INTERNAL */

    function _fillLineage(View memory v) private view {
        Lineage memory l = _lineage;
        v.headRound = l.headRound;
        v.mergedRounds = l.mergedRounds;
        v.bestRound = l.bestRound;
        v.judgedRound = l.judgedRound;
        v.stale = l.stale;
        v.ballot = l.ballot;
        v.maxRounds = l.maxRounds;
        v.stopReason = l.stopReason;
        v.included = _results[l.headRound].included;
        Tally memory t = _tally;
        v.threshold = t.threshold;
        v.reports = t.reports;
        v.reached = t.reached;
        v.improved = t.improved;
        v.metricSum = t.metricSum;
        v.metricWeight = t.metricWeight;
    }

    function _fillMembers(View memory v) private view {
        uint8[] memory indexes = _held.toIndexes();
        uint32 key = _reportKey(v.round, v.headRound == v.round);
        v.members = new MemberView[](indexes.length);
        for (uint256 i; i < indexes.length; ++i) {
            address account = _accountAt[indexes[i]];
            v.members[i] = memberOf(account);
            if (_members[account].reported == key) v.reported |= BitmapLib.single(indexes[i]);
        }
    }
}
