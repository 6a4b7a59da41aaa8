"""What a swarm's chain tells of the past: the contract's events that matter to lineage and pay, in the chain's order, with
the words of the transactions that caused them (docs/protocol.md, sections 1 and 4)."""

from dataclasses import dataclass
from typing import TypeAlias

from swarmp2p.core.messages import Invite, Vote
from swarmp2p.core.types import Address, Bitmap, Digest, ReportFlag, StopReason

_NO_REPORT = ReportFlag(0)


@dataclass(frozen=True, slots=True)
class SubmitCall:
    """The arguments of a `submitUpdate` transaction that say what is merged, and its sender."""

    sender: Address
    round: int
    digest: Digest
    weight: int


@dataclass(frozen=True, slots=True)
class FinalizeCall:
    """The arguments of a `finalize` transaction."""

    round: int
    excluded: Bitmap
    merged: Digest
    slices: tuple[Digest, ...]
    signatures: tuple[tuple[int, bytes], ...]
    """Mask and signature (r, s, v) of each attestation."""


@dataclass(frozen=True, slots=True)
class EnrolCall:
    """The arguments of an `enrol` transaction that say who may join, and its sender."""

    sender: Address
    invite: Invite
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ExecuteCall:
    """The arguments of an `execute` transaction."""

    vote: Vote
    signatures: tuple[bytes, ...]


Call: TypeAlias = SubmitCall | FinalizeCall | EnrolCall | ExecuteCall
"""In every record that has one, None says: the transaction went to another contract, that called this one."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A member enrolled, or renewed its membership."""

    address: Address
    index: int
    max_weight: int
    expires: int
    term: int = 0
    """That of the invitation: how often the address had enrolled before."""
    block_timestamp: int = 0
    call: EnrolCall | None = None


@dataclass(frozen=True, slots=True)
class Activated:
    """An IDLE member is ACTIVE again, in this round."""

    round: int
    address: Address


@dataclass(frozen=True, slots=True)
class Idled:
    """An ACTIVE member was made IDLE, in this round. (Those that a merge excludes become so too: Merged names them.)"""

    round: int
    address: Address
    block_timestamp: int = 0


@dataclass(frozen=True, slots=True)
class Opened:
    """A round collects updates trained from `head`."""

    round: int
    head: Digest
    wait_for: Bitmap
    """Who is ACTIVE now."""
    threshold: int
    block_timestamp: int = 0


@dataclass(frozen=True, slots=True)
class Extended:
    """A round is content with the updates that are there."""

    round: int
    threshold: int


@dataclass(frozen=True, slots=True)
class Updated:
    """A member's update was recorded."""

    round: int
    address: Address
    index: int
    digest: Digest
    weight: int
    call: SubmitCall | None
    flags: ReportFlag = _NO_REPORT
    """Of the report on the head that rode along, if one did."""
    block_timestamp: int = 0


@dataclass(frozen=True, slots=True)
class Sealed:
    """The inputs of a round were fixed."""

    round: int
    inputs: Digest
    roster: Bitmap
    k: int


@dataclass(frozen=True, slots=True)
class Merged:
    """A round got its merged model."""

    round: int
    merged: Digest
    included: Bitmap
    excluded: Bitmap
    parent_round: int
    block_number: int
    block_timestamp: int
    call: FinalizeCall | None


@dataclass(frozen=True, slots=True)
class Left:
    """A member left, in this round."""

    round: int
    address: Address


@dataclass(frozen=True, slots=True)
class Expelled:
    """A member was barred for good by a vote."""

    round: int
    """That of its first expulsion: from it on its updates are not paid."""
    address: Address
    slash: bool
    """Its stake is forfeit."""
    banned: bool
    """Its update of this round is forced out of the merge. (The seal that this makes possible comes before this event.)"""
    block_timestamp: int = 0
    call: ExecuteCall | None = None


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The head is an older one again; the round ended without a merge."""

    round: int
    to_round: int
    """Round that merged it; 0: the genesis."""
    head: Digest
    block_timestamp: int = 0
    call: ExecuteCall | None = None


@dataclass(frozen=True, slots=True)
class Reopened:
    """A stopped swarm trains on from its best model; `round` is the last one before."""

    round: int
    head: Digest
    max_rounds: int
    block_timestamp: int = 0
    call: ExecuteCall | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The swarm stopped."""

    round: int
    reason: StopReason
    head: Digest
    best: Digest
    block_timestamp: int = 0
    call: ExecuteCall | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """A report on the last head, after STOPPED."""

    head: Digest
    address: Address
    flags: ReportFlag


Decision: TypeAlias = Expelled | RolledBack | Reopened | Stopped
"""What an `execute` transaction leads to; Stopped only if its reason is VOTE."""

Record: TypeAlias = (
    Enrolled
    | Activated
    | Idled
    | Opened
    | Extended
    | Updated
    | Sealed
    | Merged
    | Left
    | Expelled
    | RolledBack
    | Reopened
    | Stopped
    | Reported
)
