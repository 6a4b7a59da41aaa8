// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SwarmRounds} from "./SwarmRounds.sol";
import {ISwarm} from "./interfaces/ISwarm.sol";
import {ISwarmTreasury} from "./interfaces/ISwarmTreasury.sol";
import {BitmapLib} from "./libraries/BitmapLib.sol";
import {StopLib} from "./libraries/StopLib.sol";
import {TypedLib} from "./libraries/TypedLib.sol";

/// @title Who takes part: invitations, addresses, leaving, coming back (section 4).
abstract contract SwarmMembers is SwarmRounds {
    using BitmapLib for uint256;

    /// @inheritdoc ISwarm
    function enrol(Invite calldata invite, bytes[] calldata signatures, bytes calldata addresses) external {
        Round memory r = _round;
        Member memory m = _members[msg.sender];
        if (m.standing == Status.BARRED) revert MemberBarred(msg.sender);
        _checkInvite(invite, m.term);
        _checkInviters(invite, signatures);
        _checkStake(invite.stake);
        if (m.standing == Status.NONE) {
            m.index = _take(m);
            m.standing = Status.IDLE;
        }
        m.term = invite.term + 1;
        m.maxWeight = invite.maxWeight;
        m.expires = invite.expires;
        m.seq = _countedFrom(r);
        _members[msg.sender] = m;
        _active |= BitmapLib.single(m.index);
        _voters |= BitmapLib.single(m.index);
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
        Member memory m = _authorised(msg.sender);
        if (_active.has(m.index)) revert AlreadyActive(msg.sender);
        _activate(m.index, r.number);
        _members[msg.sender].seq = _countedFrom(r);
    }

    /// @inheritdoc ISwarm
    function leave() external {
        Member memory m = _members[msg.sender];
        if (m.standing != Status.IDLE) revert NotAMember(msg.sender);
        Round memory r = _round;
        _members[msg.sender].standing = Status.NONE;
        _release(m.index);
        emit Left(msg.sender, r.number);
        _sealIfComplete(r, _tally);
    }

    /* INTERNAL */

    /// @return index for a new member; its old one if it left in this very round.
    function _take(Member memory m) private returns (uint8 index) {
        if (m.term != 0 && _freed.has(m.index) && _accountAt[m.index] == msg.sender) {
            _freed &= ~BitmapLib.single(m.index);
            return m.index;
        }
        if (_held == type(uint256).max) revert SwarmFull();
        index = _held.lowestMissing();
        _held |= BitmapLib.single(index);
        _accountAt[index] = msg.sender;
    }

    function _checkInvite(Invite calldata invite, uint24 term) private view {
        if (invite.invitee != msg.sender) revert NotInvitee(invite.invitee);
        if (invite.term != term) revert WrongTerm(term);
        if (block.timestamp > invite.deadline) revert InvitationExpired(invite.deadline);
        if (block.timestamp > invite.expires) revert InvitationExpired(invite.expires);
        if (invite.purpose != PURPOSE) revert WrongPurpose(invite.purpose);
        if (invite.maxWeight == 0) revert BadWeight(0, 0);
    }

    function _checkInviters(Invite calldata invite, bytes[] calldata signatures) private view {
        bytes32 hash = MessageHashUtils.toTypedDataHash(domainSeparator(), TypedLib.invite(invite));
        (uint256 signed, uint256 founders) = _signers(hash, signatures);
        uint16 members = signed.count();
        if (founders.count() < K_INVITE && !StopLib.majority(members, _voters.count())) {
            revert TooFewInviters(founders.count(), members);
        }
    }

    function _checkStake(uint128 needed) private view {
        if (needed == 0) return;
        if (TREASURY == address(0)) revert StakeNotAccepted(needed);
        uint256 stake = ISwarmTreasury(TREASURY).stakeOf(msg.sender);
        if (stake < needed) revert StakeMissing(stake, needed);
    }

    function _setAddresses(bytes calldata addresses) private {
        if (addresses.length > 256) revert AddressesTooLong(addresses.length);
        _addresses[msg.sender] = addresses;
        emit Addressed(msg.sender, addresses);
    }
}
