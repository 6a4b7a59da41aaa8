// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SwarmConfig} from "./SwarmConfig.sol";
import {ISwarm} from "./interfaces/ISwarm.sol";
import {BitmapLib} from "./libraries/BitmapLib.sol";
import {CoverageLib} from "./libraries/CoverageLib.sol";
import {ElectionLib} from "./libraries/ElectionLib.sol";
import {SliceLib} from "./libraries/SliceLib.sol";
import {StopLib} from "./libraries/StopLib.sol";
import {TypedLib} from "./libraries/TypedLib.sol";

/// @title One swarm (sections 3 to 5 of docs/protocol.md). What each function promises is written in ISwarm.
/// @dev No loop over members outside of views: an update costs the same in a swarm of 4 and of 256.
contract Swarm is SwarmConfig {
    using BitmapLib for uint256;

    /* TYPES */

    /// @dev The current round; one slot.
    struct Round {
        uint32 number;
        Phase phase;
        uint40 openedAt;
        uint40 sealAt;
        uint40 sealedAt;
        uint40 extendAt;
        uint16 count;
        uint8 k;
        uint32 sealedRounds;
    }

    /// @dev Reports on the head, beside the threshold that they are measured by; one slot, never zero.
    struct Tally {
        uint16 threshold;
        uint16 reports;
        uint16 reached;
        uint16 improved;
        int128 metricSum;
        uint64 metricWeight;
    }

    /// @dev Which models count; one slot.
    struct Lineage {
        uint32 headRound;
        uint32 mergedRounds;
        uint32 bestRound;
        uint32 judgedRound;
        uint32 stale;
        uint32 ballot;
        uint32 maxRounds;
        StopReason stopReason;
    }

    /// @dev One slot. `standing` is IDLE for every enrolled member: who of them is ACTIVE, `_active` alone says.
    struct Member {
        uint8 index;
        Status standing;
        uint32 lastRound;
        uint32 seq;
        uint32 weight;
        uint32 maxWeight;
        uint40 expires;
        uint24 term;
        uint32 reported;
    }

    /* STORAGE */

    Round private _round;
    Tally private _tally;
    Lineage private _lineage;
    bytes32 private _inputs;
    bytes32 private _head;
    bytes32 private _best;
    /// @dev The complement of `submitted`: so the first update of a round does not pay for a slot that was zero.
    uint256 private _missing;
    uint256 private _waitFor;
    uint256 private _active;
    /// @dev Indexes that belong to somebody.
    uint256 private _held;
    mapping(uint256 index => address account) private _accountAt;
    mapping(address account => Member) private _members;
    mapping(address account => bytes32) private _digests;
    mapping(address account => bytes) private _addresses;
    mapping(uint32 round => Result) private _results;

    constructor(Config memory c) SwarmConfig(c) {
        _head = c.genesis;
        _best = c.genesis;
        _lineage.maxRounds = c.maxRounds;
        Round memory r;
        _open(r, c.initialMembers);
    }

    /* MEMBERS */

    /// @inheritdoc ISwarm
    function enrol(Invite calldata invite, bytes[] calldata signatures, bytes calldata addresses) external {
        Round memory r = _round;
        if (r.phase == Phase.STOPPED) revert WrongPhase(r.phase);
        Member memory m = _members[msg.sender];
        _checkInvite(invite, m.term);
        _checkInviters(invite, signatures);
        if (m.standing == Status.NONE) {
            if (_held == type(uint256).max) revert SwarmFull();
            m.index = _held.lowestMissing();
            m.standing = Status.IDLE;
            _held |= BitmapLib.single(m.index);
            _accountAt[m.index] = msg.sender;
        }
        m.term = invite.term + 1;
        m.maxWeight = invite.maxWeight;
        m.expires = invite.expires;
        m.seq = _countedFrom(r);
        _members[msg.sender] = m;
        _active |= BitmapLib.single(m.index);
        if (r.number == 1 && r.phase == Phase.COLLECTING) _waitFor |= BitmapLib.single(m.index);
        emit Enrolled(msg.sender, m.index, invite.term, invite.maxWeight, invite.expires);
        _setAddresses(addresses);
    }

    /// @inheritdoc ISwarm
    function setAddresses(bytes calldata addresses) external {
        if (_members[msg.sender].standing != Status.IDLE) revert NotAMember(msg.sender);
        _setAddresses(addresses);
    }

    /// @inheritdoc ISwarm
    function ready() external {
        Round memory r = _round;
        if (r.phase == Phase.STOPPED) revert WrongPhase(r.phase);
        Member memory m = _authorised(msg.sender);
        if (_active.has(m.index)) revert AlreadyActive(msg.sender);
        _activate(m.index, r.number);
        _members[msg.sender].seq = _countedFrom(r);
    }

    /* ROUNDS */

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
        _inputs = keccak256(abi.encode(_inputs, uint256(m.index), digest, uint256(weight)));
        uint256 missing = _missing & ~BitmapLib.single(m.index);
        _missing = missing;
        _tally = t;
        ++r.count;
        _schedule(r, t.threshold);
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
    ) external {
        Round memory r = _round;
        if (r.phase != Phase.MERGING) revert WrongPhase(r.phase);
        if (r.number != round) revert WrongRound(r.number);
        uint256 roster = ~_missing;
        if (!roster.covers(excluded)) revert NotOnRoster(excluded & ~roster);
        if (slices.length != (merged == 0 ? 0 : r.k)) revert WrongSliceCount(slices.length, r.k);
        uint256[] memory levels = _checkAttestations(round, excluded, merged, slices, signatures);
        if (merged == 0) {
            if (signatures.length <= F) revert TooFewSigners(signatures.length, F + 1);
            _abort(r);
            return;
        }
        uint256 covered = CoverageLib.covered(levels, r.k);
        if (covered != CoverageLib.all(r.k)) revert NotCovered(CoverageLib.all(r.k) & ~covered);
        uint16 included = (roster & ~excluded).count();
        uint16 floor = StopLib.floorOfIncluded(r.count);
        if (included < floor) revert TooFewIncluded(included, floor);
        _accept(r, roster, excluded, merged);
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
        emit Reported(_head, msg.sender, metric, flags);
        _judge(t, l);
    }

    /* VIEWS */

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
        v.head = _head;
        v.best = _best;
        v.seed = ElectionLib.seed(SALT, r.number, v.head);
        v.submitted = ~_missing;
        v.waitFor = _waitFor;
        v.roster = r.k == 0 ? 0 : v.submitted;
        v.active = _active;
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
        uint8[] memory order = ElectionLib.permutation(ElectionLib.seed(SALT, round, _head), ~_missing);
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
    function addressesOf(address account) external view returns (bytes memory) {
        return _addresses[account];
    }

    /* INTERNAL: MEMBERS */

    function _checkInvite(Invite calldata invite, uint24 term) private view {
        if (invite.invitee != msg.sender) revert NotInvitee(invite.invitee);
        if (invite.term != term) revert WrongTerm(term);
        if (block.timestamp > invite.deadline) revert InvitationExpired(invite.deadline);
        if (block.timestamp > invite.expires) revert InvitationExpired(invite.expires);
        if (invite.purpose != PURPOSE) revert WrongPurpose(invite.purpose);
        if (invite.maxWeight == 0) revert BadWeight(0, 0);
        if (invite.stake != 0) revert StakeNotAccepted(invite.stake);
    }

    function _checkInviters(Invite calldata invite, bytes[] calldata signatures) private view {
        bytes32 hash = MessageHashUtils.toTypedDataHash(domainSeparator(), TypedLib.invite(invite));
        uint256 active = _active;
        uint256 founders;
        uint256 members;
        for (uint256 i; i < signatures.length; ++i) {
            address signer = _signer(hash, signatures[i]);
            founders |= _founderBit(signer);
            Member memory m = _members[signer];
            if (_isAuthorised(m)) members |= BitmapLib.single(m.index) & active;
        }
        uint16 signed = members.count();
        if (founders.count() < K_INVITE && !StopLib.majority(signed, active.count())) {
            revert TooFewInviters(founders.count(), signed);
        }
    }

    function _setAddresses(bytes calldata addresses) private {
        if (addresses.length > 256) revert AddressesTooLong(addresses.length);
        _addresses[msg.sender] = addresses;
        emit Addressed(msg.sender, addresses);
    }

    function _activate(uint8 index, uint32 round) private {
        _active |= BitmapLib.single(index);
        emit Activated(msg.sender, round);
    }

    /// @return changed whether anybody became IDLE.
    function _idle(Round memory r, uint8[] calldata indexes) private returns (bool changed) {
        uint256 active = _active;
        for (uint256 i; i < indexes.length; ++i) {
            if (!active.has(indexes[i])) continue;
            address account = _accountAt[indexes[i]];
            Member memory m = _members[account];
            bool missed = r.sealedRounds >= uint256(m.seq) + MAX_MISSED;
            if (!missed && block.timestamp <= m.expires) continue;
            active &= ~BitmapLib.single(indexes[i]);
            changed = true;
            emit Idled(account, r.number);
        }
        if (changed) _active = active;
    }

    function _isAuthorised(Member memory m) private view returns (bool) {
        return m.standing == Status.IDLE && block.timestamp <= m.expires;
    }

    /// @return m the member, which is enrolled and not expired.
    function _authorised(address account) private view returns (Member memory m) {
        m = _members[account];
        if (m.standing != Status.IDLE) revert NotAMember(account);
        if (block.timestamp > m.expires) revert MemberExpired(account, m.expires);
    }

    /// @return the number of sealed rounds from which missed ones count: a round that is still collecting is no miss.
    function _countedFrom(Round memory r) private pure returns (uint32) {
        return r.phase == Phase.COLLECTING ? r.sealedRounds + 1 : r.sealedRounds;
    }

    /// @return who signed; 0 for a malformed signature.
    function _signer(bytes32 hash, bytes calldata signature) private pure returns (address) {
        if (signature.length != 65) return address(0);
        (address signer,,) =
            ECDSA.tryRecover(hash, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64]));
        return signer;
    }

    /* INTERNAL: ROUNDS */

    /// @dev Opens the round after `r`.
    function _open(Round memory r, uint16 threshold) private {
        uint256 waitFor = _active;
        bytes32 head = _head;
        ++r.number;
        r.phase = Phase.COLLECTING;
        r.openedAt = uint40(block.timestamp);
        r.extendAt = 0;
        r.sealAt = 0;
        r.sealedAt = 0;
        r.count = 0;
        r.k = 0;
        _round = r;
        _tally = Tally(threshold, 0, 0, 0, 0, 0);
        _inputs = ElectionLib.seed(SALT, r.number, head);
        _missing = type(uint256).max;
        _waitFor = waitFor;
        emit Opened(r.number, head, waitFor, threshold);
    }

    function _openNext(Round memory r) private {
        _open(r, StopLib.threshold(_active.count(), MIN_UPDATES, FRAC_BPS));
    }

    /// @dev Changes `r`; the caller stores it.
    function _trySeal(Round memory r, Tally memory t, uint256 missing) private returns (bool) {
        bool complete = _waitFor & missing == 0;
        if (!StopLib.sealable(r.number, r.count, t.threshold, MIN_UPDATES, r.sealAt, block.timestamp, complete)) {
            return false;
        }
        StopReason reason = _judge(t, _lineage);
        if (reason != StopReason.NONE) {
            _stop(r, reason);
            return true;
        }
        r.phase = Phase.MERGING;
        r.sealedAt = uint40(block.timestamp);
        r.k = SliceLib.sliceCount(K_MAX, r.count, CHUNKS);
        ++r.sealedRounds;
        emit Sealed(r.number, _inputs, ~missing, r.k);
        return true;
    }

    /// @dev The vote on the head, once a head and only with enough reports. The genesis is not judged: it is the first best.
    /// @return reason why to stop, if so.
    function _judge(Tally memory t, Lineage memory l) private returns (StopReason reason) {
        if (t.reports < t.threshold || l.judgedRound == l.headRound) return StopReason.NONE;
        l.judgedRound = l.headRound;
        bool reached = StopLib.majority(t.reached, t.reports);
        bool improved = StopLib.majority(t.improved, t.reports);
        if (reached || improved) {
            _best = _head;
            l.bestRound = l.headRound;
            l.stale = 0;
        } else {
            ++l.stale;
        }
        _lineage = l;
        if (reached) return StopReason.TARGET;
        if (PATIENCE != 0 && l.stale >= PATIENCE) return StopReason.PATIENCE;
    }

    /// @dev Sets the time of the seal or of the extension when an update is the one that makes it possible.
    function _schedule(Round memory r, uint16 threshold) private view {
        if (r.sealAt != 0) return;
        if (r.count >= threshold) {
            r.sealAt = uint40(block.timestamp) + GRACE;
            r.extendAt = 0;
        } else if (r.count == MIN_UPDATES) {
            uint256 passed = (block.timestamp - r.openedAt) / COLLECT_TIMEOUT;
            r.extendAt = uint40(r.openedAt + (passed + 1) * COLLECT_TIMEOUT);
        }
    }

    function _extend(Round memory r, Tally memory t) private {
        t.threshold = r.count;
        _tally = t;
        r.sealAt = uint40(block.timestamp) + GRACE;
        r.extendAt = 0;
        emit Extended(r.number, t.threshold);
    }

    function _abort(Round memory r) private {
        emit Aborted(r.number);
        _openNext(r);
    }

    function _stop(Round memory r, StopReason reason) private {
        r.phase = Phase.STOPPED;
        _lineage.stopReason = reason;
        emit Stopped(r.number, reason, _head, _best);
    }

    function _accept(Round memory r, uint256 roster, uint256 excluded, bytes32 merged) private {
        Lineage memory l = _lineage;
        uint256 included = roster & ~excluded;
        _results[r.number] = Result(merged, included, l.headRound, uint64(block.number));
        emit Merged(r.number, merged, included, excluded, l.headRound);
        _head = merged;
        l.headRound = r.number;
        ++l.mergedRounds;
        _lineage = l;
        if (excluded != 0) _active &= ~excluded;
        if (l.mergedRounds < l.maxRounds) {
            _openNext(r);
        } else {
            // The reports were on the old head.
            _tally = Tally(_tally.threshold, 0, 0, 0, 0, 0);
            _stop(r, StopReason.MAX_ROUNDS);
            _round = r;
        }
    }

    /// @return levels for each number of signers up to f + 1, the slices that so many attested.
    function _checkAttestations(
        uint32 round,
        uint256 excluded,
        bytes32 merged,
        bytes32[] calldata slices,
        Signed[] calldata signatures
    ) private view returns (uint256[] memory levels) {
        levels = new uint256[](uint256(F) + 1);
        bytes32 domain = domainSeparator();
        bytes32 inputs = _inputs;
        bytes32 packed = keccak256(abi.encodePacked(slices));
        uint256 signers;
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

    /* INTERNAL: REPORTS */

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

    /// @return what a member that reported on the head is marked with: the round is not enough, since after the last merge
    /// of a swarm the head is another one while the round is the same.
    function _reportKey(uint32 round, bool merged) private pure returns (uint32) {
        return 2 * round + (merged ? 1 : 0);
    }

    /* INTERNAL: VIEWS */

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
