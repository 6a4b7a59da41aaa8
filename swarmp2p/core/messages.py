"""Bodies of the signed off-chain messages (docs/protocol.md, section 7), and the unsigned hint."""

from dataclasses import dataclass
from typing import TypeAlias

from swarmp2p.core.types import Address, Bitmap, Digest, Reason, VoteKind


@dataclass(frozen=True, slots=True)
class Claim:
    """ "I merged this slice of these inputs, and its leaf list hashes to this digest.\""""

    round: int
    inputs: Digest
    excluded: Bitmap
    slice: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Attestation:
    """ "This is the merged model; I recomputed the slices in `mask`." `merged` = 0 and no slices: abort the round."""

    round: int
    inputs: Digest
    excluded: Bitmap
    merged: Digest
    slices: tuple[Digest, ...]
    """The slice digests themselves; the typed hash covers keccak256 of their concatenation."""
    mask: int


@dataclass(frozen=True, slots=True)
class Objection:
    """ "The update of this member cannot be had / is wrong at this chunk.\""""

    round: int
    inputs: Digest
    member: int
    reason: Reason
    chunk: int


@dataclass(frozen=True, slots=True)
class Invite:
    """Leave to enrol: signed by kInvite founders or by more than half of the voters (`View.voters`)."""

    invitee: Address
    term: int
    max_weight: int
    expires: int
    stake: int
    purpose: Digest
    deadline: int


@dataclass(frozen=True, slots=True)
class Vote:
    """A decision of more than half of the voters (`View.voters`; section 4, `execute`)."""

    kind: VoteKind
    target: Address
    """Who is expelled; 20 zero bytes for the other kinds."""
    arg: int
    """ROLLBACK: the round whose model is the head again, 0 the genesis. REOPEN: the new maxRounds. Else 0."""
    ballot: int
    """The view's ballot number: each is used once."""
    deadline: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """ "I got so many bytes of content from this member in this round." Whoever signs it is the one who received."""

    round: int
    server: Address
    size: int
    """Bytes of chunks that proved right; `bytes` in the typed message."""


@dataclass(frozen=True, slots=True)
class Hint:
    """ "I submitted this update": a wake-up, never evidence."""

    round: int
    digest: Digest


RoundMessage: TypeAlias = Claim | Attestation | Objection


@dataclass(frozen=True, slots=True)
class Signed:
    """A round message with its member and 65-byte signature (r, s, v). Whoever makes one has checked the signature."""

    body: RoundMessage
    signer: Address
    signature: bytes
