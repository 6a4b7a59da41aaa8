// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SwarmStorage} from "./SwarmStorage.sol";
import {ISwarm} from "./interfaces/ISwarm.sol";
import {BitmapLib} from "./libraries/BitmapLib.sol";
import {StopLib} from "./libraries/StopLib.sol";
import {TypedLib} from "./libraries/TypedLib.sol";

/// @title Who takes part: invitations, addresses, coming back (section 4).
abstract contract SwarmMembers is SwarmStorage {
    using BitmapLib for uint256;

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

    /* INTERNAL */

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
}
