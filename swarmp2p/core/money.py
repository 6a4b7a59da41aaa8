"""What the money layer speaks of: the treasury's terms, accounts and settlements (ISwarmTreasury, field for field).

Amounts are whole numbers of the token's smallest unit.
"""

from dataclasses import dataclass

from swarmp2p.core.types import Address, Digest


@dataclass(frozen=True, slots=True)
class Terms:
    """What a treasury was deployed with."""

    token: Address
    policy: Address
    """Contract that shares a round's pot."""
    per_round: int
    attester_bps: int
    """Part of the pot for the members that attested the merge, in hundredths of a percent."""
    unstake_delay: int
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An update of a round, as the hash over its inputs names it."""

    account: Address
    index: int
    digest: Digest
    weight: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """A merged round with all its updates in the order of submission."""

    round: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """One account in a treasury."""

    owed: int
    stake: int
    refundable: int
    """What is left of what it paid into the pool."""
    unstake_at: int
    """Unix time from which on the stake may be withdrawn; 0: not asked for."""
    forfeit: bool
    """It signed a contradiction."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The pool, and the sums over all accounts."""

    pool: int
    owed: int
    staked: int
    settled_round: int
    """Rounds up to this one are settled, or merged nothing."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a member signed of one slice: a claim, or an attestation whose mask has the slice."""

    attestation: bool
    round: int
    inputs: Digest
    excluded: int
    slice: int
    digest: Digest
    merged: Digest
    slices: tuple[Digest, ...]
    mask: int
    signature: bytes
