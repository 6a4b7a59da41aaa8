// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SwarmRounds} from "./SwarmRounds.sol";
import {ISwarm} from "./interfaces/ISwarm.sol";
import {BitmapLib} from "./libraries/BitmapLib.sol";
import {StopLib} from "./libraries/StopLib.sol";
import {TypedLib} from "./libraries/TypedLib.sol";

/// @title What the members decide together, and how a swarm ends without them (section 4, execute and stopAbandoned).
abstract contract SwarmVotes is SwarmRounds {
    using BitmapLib for uint256;

    /// @inheritdoc ISwarm
    function execute(Vote calldata vote, bytes[] calldata signatures) external direct {
        if (vote.ballot != _lineage.ballot) revert WrongBallot(_lineage.ballot);
        if (block.timestamp > vote.deadline) revert VoteExpired(vote.deadline);
        if (vote.kind == 0 || vote.kind > uint8(type(VoteKind).max)) revert BadVote(vote.kind, vote.arg);
        _checkVotes(vote, signatures);
        ++_lineage.ballot;
        VoteKind kind = VoteKind(vote.kind);
        Round memory r = _round;
        if (kind == VoteKind.ROLLBACK) _rollBack(r, vote.arg);
        else if (kind == VoteKind.REOPEN) _reopen(r, vote.arg);
        else if (vote.arg != 0) revert BadVote(vote.kind, vote.arg);
        else if (kind == VoteKind.STOP) _stopNow(r, StopReason.VOTE);
        else _expel(r, vote.target, kind == VoteKind.EXPEL_AND_SLASH);
    }

    /// @inheritdoc ISwarm
    function stopAbandoned() external {
        uint40 until = _quietSince + ABANDON_AFTER;
        if (block.timestamp < until) revert NotAbandoned(until);
        _stopNow(_round, StopReason.ABANDONED);
    }

    /* INTERNAL */

    /// @dev The target of an expulsion is one of the voters that more than half is of, but its signature does not count.
    function _checkVotes(Vote calldata vote, bytes[] calldata signatures) private view {
        bytes32 hash = MessageHashUtils.toTypedDataHash(domainSeparator(), TypedLib.vote(vote));
        (uint256 signed,) = _signers(hash, signatures);
        Member memory target = _members[vote.target];
        if (target.standing == Status.IDLE) signed &= ~BitmapLib.single(target.index);
        uint16 voters = _voters.count();
        if (!StopLib.majority(signed.count(), voters)) revert TooFewVotes(signed.count(), voters);
    }

    function _expel(Round memory r, address account, bool slash) private {
        Member memory m = _members[account];
        Expulsion memory e = _expulsions[account];
        // Whoever left, or was only expelled, can still be kept from its stake.
        if (m.term == 0) revert NotAMember(account);
        if (m.standing == Status.BARRED && (e.slash || !slash)) revert MemberBarred(account);
        // A round that is merged already is paid.
        if (e.round == 0) e.round = r.phase == Phase.STOPPED ? r.number + 1 : r.number;
        e.slash = slash;
        _expulsions[account] = e;
        bool banned;
        if (m.standing != Status.BARRED) {
            bool enrolled = m.standing == Status.IDLE;
            m.standing = Status.BARRED;
            _members[account] = m;
            Tally memory t = _tally;
            if (r.phase == Phase.COLLECTING && m.lastRound == r.number) {
                banned = true;
                _banned = _bannedNow(t) | BitmapLib.single(m.index);
                ++t.banned;
                _tally = t;
                _unschedule(r, t);
            }
            if (enrolled) _release(m.index);
            _sealIfComplete(r, t);
        }
        emit Expelled(account, e.round, slash, banned);
    }

    function _rollBack(Round memory r, uint32 toRound) private {
        if (r.phase == Phase.STOPPED) revert WrongPhase(r.phase);
        Lineage memory l = _lineage;
        uint32 at = l.headRound;
        if (at == toRound) revert NotAnAncestor(toRound);
        while (at > toRound) at = _results[at].parentRound;
        if (at != toRound) revert NotAnAncestor(toRound);
        l.headRound = toRound;
        // A model that is taken back is no best one either, and an older one that was passed is not judged again.
        if (l.bestRound > toRound) l.bestRound = toRound;
        l.judgedRound = toRound;
        l.stale = 0;
        _lineage = l;
        _quietSince = uint40(block.timestamp);
        emit RolledBack(r.number, toRound, _modelOf(toRound));
        _openNext(r);
    }

    function _reopen(Round memory r, uint32 maxRounds) private {
        if (r.phase != Phase.STOPPED) revert WrongPhase(r.phase);
        Lineage memory l = _lineage;
        if (maxRounds <= l.mergedRounds) revert BadVote(uint8(VoteKind.REOPEN), maxRounds);
        l.headRound = l.bestRound;
        l.judgedRound = l.bestRound;
        l.stale = 0;
        l.maxRounds = maxRounds;
        l.stopReason = StopReason.NONE;
        _lineage = l;
        _quietSince = uint40(block.timestamp);
        emit Reopened(r.number, _modelOf(l.headRound), maxRounds);
        _openNext(r);
    }

    function _stopNow(Round memory r, StopReason reason) private {
        if (r.phase == Phase.STOPPED) revert WrongPhase(r.phase);
        r.k = 0;
        _stop(r, reason);
        _round = r;
    }
}
