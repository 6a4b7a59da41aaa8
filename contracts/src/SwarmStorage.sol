// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SwarmConfig} from "./SwarmConfig.sol";
import {BitmapLib} from "./libraries/BitmapLib.sol";

/// @title What a swarm stores (section 3), and what all parts of it ask of that.
abstract contract SwarmStorage is SwarmConfig {
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

    /// @dev Reports on the head, beside the threshold that they are measured by and the number of updates that are forced
    /// out; one slot, never zero. 40 bits hold the sum of 256 weights.
    struct Tally {
        uint16 threshold;
        uint16 banned;
        uint16 reports;
        uint16 reached;
        uint16 improved;
        int128 metricSum;
        uint40 metricWeight;
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

    /// @dev `round` 0: not expelled.
    struct Expulsion {
        uint32 round;
        bool slash;
    }

    /* STORAGE */

    Round internal _round;
    Tally internal _tally;
    Lineage internal _lineage;
    bytes32 internal _inputs;
    /// @dev The complement of `submitted`: so the first update of a round does not pay for a slot that was zero.
    uint256 internal _missing;
    uint256 internal _waitFor;
    uint256 internal _active;
    /// @dev Who decides: the ACTIVE members, and those that are IDLE only because a merge left them out. A merge needs f + 1
    /// signatures and no reason for whom it excludes, so it must not take a vote away.
    uint256 internal _voters;
    /// @dev Submitted updates that a vote forces out; of this round only while `_tally.banned` is not 0.
    uint256 internal _banned;
    /// @dev Indexes that belong to somebody.
    uint256 internal _held;
    /// @dev Of these, the ones that are free when the next round opens.
    uint256 internal _freed;
    uint40 internal _quietSince;
    mapping(uint256 index => address account) internal _accountAt;
    mapping(address account => Member) internal _members;
    mapping(address account => Expulsion) internal _expulsions;
    mapping(address account => bytes32) internal _digests;
    mapping(address account => bytes) internal _addresses;
    mapping(uint32 round => Result) internal _results;

    /* SHARED */

    /// @dev Signatures that decide something have to be in a transaction's own calldata, where an audit finds them; else
    /// anybody could pass a valid set on through a contract and so hide them for good.
    modifier direct() {
        // slither-disable-next-line tx-origin
        if (msg.sender != tx.origin || msg.sender.code.length != 0) revert NotDirect(msg.sender);
        _;
    }

    /// @dev The sender, IDLE until now.
    function _activate(uint8 index, uint32 round) internal {
        _active |= BitmapLib.single(index);
        _voters |= BitmapLib.single(index);
        emit Activated(msg.sender, round);
    }

    function _isAuthorised(Member memory m) internal view returns (bool) {
        return m.standing == Status.IDLE && block.timestamp <= m.expires;
    }

    /// @return the model that a round merged; the genesis for round 0.
    function _modelOf(uint32 round) internal view returns (bytes32) {
        return round == 0 ? GENESIS : _results[round].merged;
    }

    /// @return m the member, which is enrolled and not expired.
    function _authorised(address account) internal view returns (Member memory m) {
        m = _members[account];
        if (m.standing != Status.IDLE) revert NotAMember(account);
        if (block.timestamp > m.expires) revert MemberExpired(account, m.expires);
    }

    /// @return signed the voters among the signers of `hash`, as a set.
    /// @return founders the founders among them, by their position; an expelled one is none any more.
    function _signers(bytes32 hash, bytes[] calldata signatures)
        internal
        view
        returns (uint256 signed, uint256 founders)
    {
        for (uint256 i; i < signatures.length; ++i) {
            address signer = _signer(hash, signatures[i]);
            Member memory m = _members[signer];
            if (m.standing != Status.BARRED) founders |= _founderBit(signer);
            if (_isAuthorised(m)) signed |= BitmapLib.single(m.index);
        }
        signed &= _voters;
    }

    /// @return the updates of this round that a vote forces out.
    function _bannedNow(Tally memory t) internal view returns (uint256) {
        return t.banned == 0 ? 0 : _banned;
    }

    /// @return the number of sealed rounds from which missed ones count: a round that is still collecting is no miss.
    function _countedFrom(Round memory r) internal pure returns (uint32) {
        return r.phase == Phase.COLLECTING ? r.sealedRounds + 1 : r.sealedRounds;
    }

    /// @return who signed; 0 for a malformed signature.
    function _signer(bytes32 hash, bytes calldata signature) internal pure returns (address) {
        if (signature.length != 65) return address(0);
        (address signer,,) =
            ECDSA.tryRecover(hash, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64]));
        return signer;
    }

    /// @return what a member that reported on the head is marked with: the round is not enough, since after the last merge
    /// of a swarm the head is another one while the round is the same.
    function _reportKey(uint32 round, bool merged) internal pure returns (uint32) {
        return 2 * round + (merged ? 1 : 0);
    }
}
