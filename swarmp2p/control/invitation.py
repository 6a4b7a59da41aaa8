"""Invitations: a file that founders or members sign, and that the invitee enrols with (docs/protocol.md, section 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from swarmp2p.control.manifest import DAY, Manifest
from swarmp2p.control.paper import Paper, Read, hexadecimal, moment, number
from swarmp2p.core.config import Config
from swarmp2p.core.errors import InvitationRefused
from swarmp2p.core.messages import Invite
from swarmp2p.core.types import Address, Digest, Status
from swarmp2p.core.view import Member, View
from swarmp2p.identity import Key

DEADLINE_DAYS = 30.0
_ASK = "Ask whoever invited you for a new one."


@dataclass(frozen=True, slots=True)
class Invitation(Paper[Invite]):
    """An invite with its signatures, for one contract on one chain. What is no invitation raises InvitationRefused."""

    NAME: ClassVar[str] = "an invitation"
    KIND: ClassVar[str] = "invite"
    FIELDS: ClassVar[Mapping[str, Read]] = {
        "invitee": hexadecimal(20),
        "purpose": hexadecimal(32),
        "term": number(24),
        "max_weight": number(32),
        "expires": number(40),
        "stake": number(128),
        "deadline": number(40),
    }
    MAKE = Invite
    REFUSED = InvitationRefused
    MEND = _ASK

    @property
    def invite(self) -> Invite:
        """The body."""
        return self.body


def new_invite(
    invitee: Member, purpose: Digest, max_weight: int, expires: int, deadline: int, stake: int = 0
) -> Invite:
    """An invite as the contract will want it now.

    Args:
        invitee: the contract's entry of the account (`Control.member`), which may never have been a member.
        expires: end of the membership, Unix time.
        deadline: until when it may be used.
        stake: what the invitee has to have in the treasury.
    """
    return Invite(invitee.address, invitee.term, max_weight, expires, stake, purpose, deadline)


def described_invite(invite: Invite, min_stake: int = 0) -> str:
    """What it would give, in words.

    Args:
        min_stake: what the manifest asks of a member.
    """
    low = f" - LESS than the {min_stake} of the manifest" if invite.stake < min_stake else ""
    return (
        f"invite 0x{invite.invitee.hex()} with a weight of at most {invite.max_weight}, a member until"
        f" {moment(invite.expires)}, for a stake of {invite.stake}{low}"
    )


def invited_by(
    key: Key,
    manifest: Manifest,
    domain: bytes,
    invitee: Member,
    *,
    max_weight: int,
    days: float,
    now: float,
    deadline_days: float = DEADLINE_DAYS,
) -> Invitation:
    """A founder's or member's signed invitation, on the manifest's terms.

    Args:
        invitee: the contract's entry of the account.
        max_weight: largest weight that the invitee may declare.
        days: for how long the membership is authorised, from now on.
        now: Unix seconds.
        deadline_days: until when the invitation can be used.
    """
    expires, deadline = (int(now) + round(span * DAY) for span in (days, deadline_days))
    purpose = manifest.purpose_digest
    body = new_invite(invitee, purpose, max_weight, expires, deadline, manifest.min_stake)
    return Invitation(manifest.chain_id, manifest.contract, body).signed(key, domain)


def verify(
    invitation: Invitation,
    *,
    chain_id: int,
    contract: Address,
    domain: bytes,
    config: Config,
    view: View,
    me: Member,
    now: float,
) -> Sequence[bytes]:
    """Check an invitation before a transaction is spent on it; returns the signatures to enrol with.

    Args:
        me: the contract's entry of the account that will enrol, which may never have been a member.

    Raises:
        InvitationRefused: for another swarm, somebody else, another purpose or term, too late, or signed by too few.
    """
    invite = invitation.invite
    if (invitation.chain_id, invitation.contract) != (chain_id, contract):
        raise InvitationRefused(
            f"The invitation is for the swarm 0x{invitation.contract.hex()} on chain {invitation.chain_id}.",
            "Use the swarm.toml that came with it.",
        )
    if me.status is Status.BARRED:
        raise InvitationRefused(f"The members have expelled 0x{me.address.hex()} for good.", "It cannot come back.")
    if invite.invitee != me.address:
        raise InvitationRefused(
            f"The invitation is for 0x{invite.invitee.hex()}, and this key is 0x{me.address.hex()}.",
            "Use the key whose address was invited, or ask for an invitation of this one.",
        )
    if invite.purpose != config.purpose:
        raise InvitationRefused("The invitation names another purpose than the swarm's.", _ASK)
    if now > invite.deadline:
        raise InvitationRefused("The invitation is past its deadline.", _ASK)
    if now > invite.expires:
        raise InvitationRefused("The membership that it gives has expired.", _ASK)
    if invite.term != me.term:
        raise InvitationRefused("The invitation was used already, or is of an earlier membership.", _ASK)
    return enough_inviters(invitation, domain, config, view, now)


def enough_inviters(invitation: Invitation, domain: bytes, config: Config, view: View, now: float) -> Sequence[bytes]:
    """The signatures, in ascending order of signers, each once.

    Raises:
        InvitationRefused: neither enough founders nor more than half of the voters signed.
    """
    by_signer = invitation.by_signer(domain)
    founders = {signer for signer in by_signer if signer in config.founders}
    voters = {m.address for m in view.members if view.voters >> m.index & 1}
    members = {m.address for m in view.members if m.address in voters & set(by_signer) and m.expires >= now}
    if len(founders) < config.k_invite and 2 * len(members) <= len(voters):
        raise InvitationRefused(
            f"The invitation is signed by {len(founders)} founders and {len(members)} members; it needs"
            f" {config.k_invite} founders or more than half of {len(voters)} members.",
            "Have it signed by more of them: `swarmp2p invite --sign`.",
        )
    return [by_signer[signer] for signer in sorted(by_signer)]
