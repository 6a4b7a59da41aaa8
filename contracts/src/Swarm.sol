// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SwarmConfig} from "./SwarmConfig.sol";
import {SwarmMembers} from "./SwarmMembers.sol";
import {SwarmViews} from "./SwarmViews.sol";
import {SwarmVotes} from "./SwarmVotes.sol";
import {ISwarm} from "./interfaces/ISwarm.sol";
import {BitmapLib} from "./libraries/BitmapLib.sol";
import {CoverageLib} from "./libraries/CoverageLib.sol";
import {StopLib} from "./libraries/StopLib.sol";
import {TypedLib} from "./libraries/TypedLib.sol";

/// @title One swarm: its rounds (sections 4 and 5 of docs/protocol.md). ISwarm says what each function promises.
/// @dev No loop over members outside of views: an update costs the same in a swarm of 4 and of 256.
contract Swarm is SwarmMembers, SwarmVotes, SwarmViews {
    using BitmapLib for uint256;

    constructor(Config memory c) SwarmConfig(c) {
        _lineage.maxRounds = c.maxRounds;
        _quietSince = uint40(block.timestamp);
        Round memory r;
        _open(r, c.initialMembers);
    }

    /// @inheritdoc ISwarm
    function submitUpdate(uint32 round, bytes32 digest, uint32 weight, int64 metric, uint8 flags) external {
        Round memory r = _round;
        if (r.phase != Phase.COLLECTING) revert WrongPhase(r.phase);
        if (r.number != round) revert WrongRound(r.number);
        Member memory m = _authorised(msg.sender);
        if (m.lastRound == round) revert AlreadySubmitted(msg.sender, round);
        if (weight == 0 || weight > m.maxWeight) revert BadWeight(weight, m.maxWeight);
        if (digest == 0) revert NoDigest();
        if (!_active.has(m.index)) _activate(m.index, round);

        m.lastRound = round;
        m.seq = _countedFrom(r);
        m.weight = weight;
        Tally memory t = _tally;
        if (_tallied(t, m, metric, flags)) m.reported = _reportKey(round, false);
        _members[msg.sender] = m;
        _digests[msg.sender] = digest;
        _inputs = TypedLib.nextInputs(_inputs, msg.sender, m.index, digest, weight);
        uint256 missing = _missing & ~BitmapLib.single(m.index);
        _missing = missing;
        _tally = t;
        ++r.count;
        _schedule(r, t);
        emit Updated(round, msg.sender, m.index, digest, weight, metric, flags);
        _trySeal(r, t, missing);
        _round = r;
    }

    /// @inheritdoc ISwarm
    function advance(uint8[] calldata idle) external {
        Round memory r = _round;
        bool changed = _idle(r, idle);
        if (r.phase == Phase.COLLECTING) {
            Tally memory t = _tally;
            if (_trySeal(r, t, _missing)) {
                changed = true;
            } else if (r.extendAt != 0 && block.timestamp >= r.extendAt) {
                _extend(r, t);
                changed = true;
            }
            _round = r;
        } else if (r.phase == Phase.MERGING && block.timestamp >= uint256(r.sealedAt) + MERGE_TIMEOUT) {
            _abort(r);
            changed = true;
        }
        if (!changed) revert NothingDue();
    }

    /// @inheritdoc ISwarm
    function finalize(
        uint32 round,
        uint256 excluded,
        bytes32 merged,
        bytes32[] calldata slices,
        Signed[] calldata signatures
    ) external direct {
        Round memory r = _round;
        if (r.phase != Phase.MERGING) revert WrongPhase(r.phase);
        if (r.number != round) revert WrongRound(r.number);
        uint256 submitted = ~_missing;
        if (!submitted.covers(excluded)) revert NotOnRoster(excluded & ~submitted);
        uint256 banned = _bannedNow(_tally);
        if (!excluded.covers(banned)) revert BannedIncluded(banned & ~excluded);
        if (slices.length != (merged == 0 ? 0 : r.k)) revert WrongSliceCount(slices.length, r.k);
        (uint256[] memory levels, uint256 signers) = _checkAttestations(round, excluded, merged, slices, signatures);
        if (merged == 0) {
            if (signatures.length <= F) revert TooFewSigners(signatures.length, F + 1);
            _abort(r);
            return;
        }
        uint256 covered = CoverageLib.covered(levels, r.k);
        if (covered != CoverageLib.all(r.k)) revert NotCovered(CoverageLib.all(r.k) & ~covered);
        uint16 included = (submitted & ~excluded).count();
        uint16 floor = StopLib.floorOfIncluded(r.count - banned.count());
        if (included < floor) revert TooFewIncluded(included, floor);
        _accept(r, submitted & ~excluded, excluded, merged, signers);
    }

    /// @inheritdoc ISwarm
    function report(int64 metric, uint8 flags) external {
        Round memory r = _round;
        if (r.phase != Phase.STOPPED) revert WrongPhase(r.phase);
        Member memory m = _authorised(msg.sender);
        Lineage memory l = _lineage;
        uint32 key = _reportKey(r.number, l.headRound == r.number);
        if (m.reported == key) revert AlreadyReported(msg.sender);
        Tally memory t = _tally;
        if (!_tallied(t, m, metric, flags)) revert BadFlags(flags);
        _members[msg.sender].reported = key;
        _tally = t;
        emit Reported(_modelOf(l.headRound), msg.sender, metric, flags);
        _judge(t, l);
    }

    /* INTERNAL */

    function _accept(Round memory r, uint256 included, uint256 excluded, bytes32 merged, uint256 signers) private {
        Lineage memory l = _lineage;
        Result storage result = _results[r.number];
        result.merged = merged;
        result.included = included;
        result.parentRound = l.headRound;
        result.blockNumber = uint64(block.number);
        result.timestamp = uint40(block.timestamp);
        if (TREASURY != address(0)) {
            result.inputs = _inputs;
            result.attesters = signers;
        }
        emit Merged(r.number, merged, included, excluded, l.headRound);
        l.headRound = r.number;
        ++l.mergedRounds;
        _lineage = l;
        _quietSince = uint40(block.timestamp);
        if (excluded != 0) _active &= ~excluded;
        if (l.mergedRounds < l.maxRounds) {
            _openNext(r);
        } else {
            // The reports were on the old head; the roster stays what it was.
            _tally = Tally(_tally.threshold, _tally.banned, 0, 0, 0, 0, 0);
            _stop(r, StopReason.MAX_ROUNDS);
            _round = r;
        }
    }

    /// @return levels for each number of signers up to f + 1, the slices that so many attested.
    /// @return signers as a set.
    function _checkAttestations(
        uint32 round,
        uint256 excluded,
        bytes32 merged,
        bytes32[] calldata slices,
        Signed[] calldata signatures
    ) private view returns (uint256[] memory levels, uint256 signers) {
        levels = new uint256[](uint256(F) + 1);
        bytes32 domain = domainSeparator();
        bytes32 inputs = _inputs;
        bytes32 packed = keccak256(abi.encodePacked(slices));
        for (uint256 i; i < signatures.length; ++i) {
            uint256 mask = signatures[i].mask;
            bytes32 body = TypedLib.attestation(round, inputs, excluded, merged, packed, mask);
            address signer = _signer(MessageHashUtils.toTypedDataHash(domain, body), signatures[i].signature);
            Member memory m = _members[signer];
            if (!_isAuthorised(m)) revert NotAuthorised(signer);
            if (signers.has(m.index)) revert DuplicateSigner(signer);
            signers |= BitmapLib.single(m.index);
            CoverageLib.add(levels, mask);
        }
    }

    /// @return changed whether anybody became IDLE.
    function _idle(Round memory r, uint8[] calldata indexes) private returns (bool changed) {
        uint256 voters = _voters; // All ACTIVE ones are.
        uint256 idle;
        for (uint256 i; i < indexes.length; ++i) {
            uint256 index = BitmapLib.single(indexes[i]);
            if (voters & ~idle & index == 0) continue;
            address account = _accountAt[indexes[i]];
            Member memory m = _members[account];
            bool missed = r.sealedRounds >= uint256(m.seq) + MAX_MISSED;
            if (!missed && block.timestamp <= m.expires) continue;
            idle |= index;
            emit Idled(account, r.number);
        }
        if (idle == 0) return false;
        _voters = voters & ~idle;
        _active &= ~idle;
        return true;
    }

    /// @dev Adds a report to `t`; the caller stores it.
    /// @return whether the flags hold a report.
    function _tallied(Tally memory t, Member memory m, int64 metric, uint8 flags) private pure returns (bool) {
        if (flags == 0) return false;
        if (flags & 4 == 0 || flags > 7) revert BadFlags(flags);
        ++t.reports;
        if (flags & 1 != 0) ++t.reached;
        if (flags & 2 != 0) ++t.improved;
        t.metricSum += int128(metric) * int128(uint128(m.weight));
        t.metricWeight += m.weight;
        return true;
    }
}
