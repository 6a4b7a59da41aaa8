"""What a swarm's chain tells of the past: the contract's events that matter to lineage, in the chain's order, with the
words of the transactions that caused them (docs/protocol.md, sections 1 and 4)."""

from dataclasses import dataclass
from typing import TypeAlias

from swarmp2p.core.types import Address, Bitmap, Digest


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
class Enrolled:
    """A member enrolled, or renewed its membership."""

    address: Address
    index: int
    max_weight: int
    expires: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A round collects updates trained from `head`."""

    round: int
    head: Digest


@dataclass(frozen=True, slots=True)
class Updated:
    """A member's update was recorded."""

    round: int
    address: Address
    index: int
    digest: Digest
    weight: int
    call: SubmitCall | None
    """None: the transaction went to another contract, that called this one."""


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
    """None: the transaction went to another contract, that called this one."""


Record: TypeAlias = Enrolled | Opened | Updated | Sealed | Merged
