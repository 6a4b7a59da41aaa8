"""Invitations: a file that founders or members sign, and that the invitee enrols with (docs/protocol.md, section 4)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swarmp2p.core.config import Config
from swarmp2p.core.errors import InvitationRefused
from swarmp2p.core.messages import Invite
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import Address, Digest, Status
from swarmp2p.core.view import Member, View
from swarmp2p.identity import Key, keccak256, recover

MAX_FILE = 64 * 1024
MAX_SIGNATURES = 256
_ASK = "Ask whoever invited you for a new one."

_NUMBERS = {"term": 24, "max_weight": 32, "expires": 40, "stake": 128, "deadline": 40}
"""Bits of each number in an Invite."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invite with its signatures, for one contract on one chain."""

    chain_id: int
    contract: Address
    invite: Invite
    signatures: tuple[bytes, ...] = ()

    def signed(self, key: Key, domain: bytes) -> "Invitation":
        """With one more signature. `domain` is the contract's EIP-712 domain separator."""
        signature = key.sign(signing_digest(self.invite, domain, keccak256))
        return replace(self, signatures=(*self.signatures, signature))

    def signers(self, domain: bytes) -> list[Address | None]:
        """Who signed, in order; None for a signature that nobody made."""
        digest = signing_digest(self.invite, domain, keccak256)
        return [recover(digest, signature) for signature in self.signatures]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """The file's text."""
        invite = {
            "invitee": "0x" + self.invite.invitee.hex(),
            "purpose": "0x" + self.invite.purpose.hex(),
            **{name: getattr(self.invite, name) for name in _NUMBERS},
        }
        body = {
            "version": 1,
            "chain_id": self.chain_id,
            "contract": "0x" + self.contract.hex(),
            "invite": invite,
            "signatures": ["0x" + signature.hex() for signature in self.signatures],
        }
        return json.dumps(body, indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> "Invitation":
        """Read a file. Raises InvitationRefused if it is not an invitation."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InvitationRefused(
                f"{path} cannot be read: {error.strerror}.", "Give the file's right path."
            ) from None
        return cls.from_json(data, str(path))

    @classmethod
    def from_json(cls, data: bytes | str, name: str = "invitation") -> "Invitation":
        """Parse a file's content. Raises InvitationRefused."""
        try:
            if len(data) > MAX_FILE:
                raise ValueError("it is too long")
            return _parse(json.loads(data))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            problem = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise InvitationRefused(f"{name} is not an invitation: {problem}.", _ASK) from None


def _parse(body: Any) -> Invitation:
    if not isinstance(body, dict) or _integer(body.get("version"), 32, "version") != 1:
        raise ValueError("it is of no version that this release knows")
    if set(body) != {"version", "chain_id", "contract", "invite", "signatures"}:
        raise ValueError("it has missing or unknown keys")
    fields, signatures = body["invite"], body["signatures"]
    if not isinstance(fields, dict) or set(fields) != {"invitee", "purpose", *_NUMBERS}:
        raise ValueError("the invite has missing or unknown keys")
    if not isinstance(signatures, list) or len(signatures) > MAX_SIGNATURES:
        raise ValueError("signatures has to be a list")
    numbers = {name: _integer(fields[name], bits, name) for name, bits in _NUMBERS.items()}
    return Invitation(
        chain_id=_integer(body["chain_id"], 256, "chain_id"),
        contract=_bytes(body["contract"], 20, "contract"),
        invite=Invite(
            invitee=_bytes(fields["invitee"], 20, "invitee"),
            purpose=_bytes(fields["purpose"], 32, "purpose"),
            **numbers,
        ),
        signatures=tuple(_bytes(signature, 65, "a signature") for signature in signatures),
    )


def _integer(value: Any, bits: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise ValueError(f"{name} has to be a whole number of at most {bits} bits")
    return value


def _bytes(value: Any, length: int, name: str) -> bytes:
    if not isinstance(value, str) or len(value) != 2 + 2 * length or not value.startswith("0x"):
        raise ValueError(f"{name} has to be 0x and {2 * length} hexadecimal digits")
    return bytes.fromhex(value[2:])


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
        raise InvitationRefused(
            f"The members have expelled 0x{me.address.hex()}, for good.", "Another key is another member."
        )
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
    return _enough(invitation, domain, config, view, now)


def _enough(invitation: Invitation, domain: bytes, config: Config, view: View, now: float) -> Sequence[bytes]:
    by_signer: dict[Address, bytes] = {}
    for signer, signature in zip(invitation.signers(domain), invitation.signatures, strict=True):
        if signer is None:
            raise InvitationRefused("A signature of the invitation is forged or damaged.", _ASK)
        by_signer[signer] = signature
    founders = {signer for signer in by_signer if signer in config.founders}
    active = {m.address for m in view.members if m.status is Status.ACTIVE and m.expires >= now}
    members = active & set(by_signer)
    if len(founders) < config.k_invite and 2 * len(members) <= len(active):
        raise InvitationRefused(
            f"The invitation is signed by {len(founders)} founders and {len(members)} members; it needs"
            f" {config.k_invite} founders or more than half of {len(active)} members.",
            "Have it signed by more of them: `swarmp2p invite --sign`.",
        )
    # In ascending order of signers, each once: so the contract finds duplicates without a table.
    return [by_signer[signer] for signer in sorted(by_signer)]
