// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SwarmStorage} from "./SwarmStorage.sol";
import {BitmapLib} from "./libraries/BitmapLib.sol";
import {ElectionLib} from "./libraries/ElectionLib.sol";
import {SliceLib} from "./libraries/SliceLib.sol";
import {StopLib} from "./libraries/StopLib.sol";

/// @title The transitions between rounds and phases (section 4), which every function that moves a swarm shares.
/// @dev Functions that take a `Round memory` change it; unless they open a round, the caller stores it.
abstract contract SwarmRounds is SwarmStorage {
    using BitmapLib for uint256;

    /// @dev Opens the round after `r`, and stores it.
    function _open(Round memory r, uint16 threshold) internal {
        uint256 waitFor = _active;
        bytes32 head = _modelOf(_lineage.headRound);
        ++r.number;
        r.phase = Phase.COLLECTING;
        r.openedAt = uint40(block.timestamp);
        r.extendAt = 0;
        r.sealAt = 0;
        r.sealedAt = 0;
        r.count = 0;
        r.k = 0;
        _round = r;
        _tally = Tally(threshold, 0, 0, 0, 0, 0, 0);
        _inputs = ElectionLib.seed(SALT, r.number, head);
        _missing = type(uint256).max;
        _waitFor = waitFor;
        uint256 freed = _freed;
        if (freed != 0) {
            _held &= ~freed;
            _freed = 0;
        }
        emit Opened(r.number, head, waitFor, threshold);
    }

    function _openNext(Round memory r) internal {
        _open(r, StopLib.threshold(_active.count(), MIN_UPDATES, FRAC_BPS));
    }

    function _trySeal(Round memory r, Tally memory t, uint256 missing) internal returns (bool) {
        bool complete = _waitFor & missing == 0;
        uint16 count = r.count - t.banned;
        if (!StopLib.sealable(r.number, count, t.threshold, MIN_UPDATES, r.sealAt, block.timestamp, complete)) {
            return false;
        }
        StopReason reason = _judge(t, _lineage);
        if (reason != StopReason.NONE) {
            _stop(r, reason);
            return true;
        }
        r.phase = Phase.MERGING;
        r.sealedAt = uint40(block.timestamp);
        r.k = SliceLib.sliceCount(K_MAX, count, CHUNKS);
        ++r.sealedRounds;
        emit Sealed(r.number, _inputs, ~missing & ~_bannedNow(t), r.k);
        return true;
    }

    /// @dev The vote on the head, once a head and only with enough reports. The genesis is not judged: it is the first best.
    /// @return reason why to stop, if so.
    function _judge(Tally memory t, Lineage memory l) internal returns (StopReason reason) {
        if (t.reports < t.threshold || l.judgedRound == l.headRound) return StopReason.NONE;
        l.judgedRound = l.headRound;
        bool best;
        (best, l.stale, reason) = StopLib.judge(t.reports, t.reached, t.improved, l.stale, PATIENCE);
        if (best) l.bestRound = l.headRound;
        _lineage = l;
    }

    /// @dev Sets the time of the seal or of the extension when an update is the one that makes it possible.
    function _schedule(Round memory r, Tally memory t) internal view {
        if (r.sealAt != 0) return;
        uint16 count = r.count - t.banned;
        if (count >= t.threshold) {
            r.sealAt = uint40(block.timestamp) + GRACE;
            r.extendAt = 0;
        } else if (count == MIN_UPDATES) {
            r.extendAt = _nextExtension(r);
        }
    }

    /// @dev After an update was forced out: what too few updates had scheduled is off.
    function _unschedule(Round memory r, Tally memory t) internal view {
        uint16 count = r.count - t.banned;
        if (count >= t.threshold) return;
        r.sealAt = 0;
        if (count < MIN_UPDATES) r.extendAt = 0;
        else if (r.extendAt == 0) r.extendAt = _nextExtension(r);
    }

    /// @return the first multiple of the collecting time that is still to come.
    function _nextExtension(Round memory r) private view returns (uint40) {
        uint256 passed = (block.timestamp - r.openedAt) / COLLECT_TIMEOUT;
        return uint40(r.openedAt + (passed + 1) * COLLECT_TIMEOUT);
    }

    function _extend(Round memory r, Tally memory t) internal {
        t.threshold = r.count - t.banned;
        _tally = t;
        r.sealAt = uint40(block.timestamp) + GRACE;
        r.extendAt = 0;
        emit Extended(r.number, t.threshold);
    }

    /// @dev Stores the round that it opens.
    function _abort(Round memory r) internal {
        emit Aborted(r.number);
        _openNext(r);
    }

    function _stop(Round memory r, StopReason reason) internal {
        r.phase = Phase.STOPPED;
        Lineage storage l = _lineage;
        l.stopReason = reason;
        emit Stopped(r.number, reason, _modelOf(l.headRound), _modelOf(l.bestRound));
    }

    /// @dev The member has no index any more, from the next round on; what it submitted stays in this one.
    function _release(uint8 index) internal {
        uint256 others = ~BitmapLib.single(index);
        _active &= others;
        _voters &= others;
        _waitFor &= others;
        _freed |= ~others;
    }

    /// @dev Those that are waited for have changed: perhaps all that remain are in. Stores `r`.
    function _sealIfComplete(Round memory r, Tally memory t) internal {
        if (r.phase == Phase.COLLECTING) _trySeal(r, t, _missing);
        _round = r;
    }
}
