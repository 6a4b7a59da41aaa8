"""What the money layer speaks of: the treasury's terms, accounts, settlements and events (ISwarmTreasury, field for field).

Amounts are whole numbers of the token's smallest unit.
"""

from dataclasses import dataclass
from typing import TypeAlias

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


# What happened in a treasury, in the chain's order.


@dataclass(frozen=True, slots=True)
class Funded:
    """Somebody paid into the pool."""

    account: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Staked:
    """A stake grew."""

    account: Address
    amount: int


@dataclass(frozen=True, slots=True)
class UnstakeRequested:
    """A stake may be withdrawn from this Unix time on."""

    account: Address
    unstake_at: int


@dataclass(frozen=True, slots=True)
class Unstaked:
    """A stake was paid back."""

    account: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Slashed:
    """A stake was taken into the pool."""

    account: Address
    amount: int
    proven: bool
    """For two signatures that contradict each other, else by vote."""


@dataclass(frozen=True, slots=True)
class Earned:
    """What one member earned in a round. Those of a round come before its `Settled`."""

    round: int
    account: Address
    share: int
    """By the policy."""
    bonus: int
    """Its part of the attesters' share."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A round's money was shared: `paid` of `pot` is owed to its members now."""

    round: int
    pot: int
    paid: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was owed to an account was paid."""

    account: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Refunded:
    """What was left of what an account had paid in went back to it."""

    account: Address
    amount: int


MoneyRecord: TypeAlias = Funded | Staked | UnstakeRequested | Unstaked | Slashed | Earned | Settled | Claimed | Refunded
