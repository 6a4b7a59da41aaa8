"""Which rounds there are to settle, and what each will pay to whom: the treasury's rules, from what the chain tells.

Anyone can so say beforehand what a settlement will do, to the last unit; tests hold it to what the contract did.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from swarmp2p.core.history import Expelled, Merged, Record, Updated
from swarmp2p.core.money import Entry, Settlement, Terms
from swarmp2p.core.types import Address, Bitmap
from swarmp2p.rewards.policy import RewardPolicy

MAX_ROUNDS = 20
"""Rounds in one settling transaction."""
MAX_ENTRIES = 250
"""Updates in one settling transaction, unless one round has more: about 30,000 gas each, of 30 million in a block."""
LONGEST_GAP = 500
"""Rounds that one settling transaction goes over, merged or not: the treasury asks the swarm for each, 17,000 gas."""


class Outcome(Protocol):
    """What the swarm's contract keeps of a merged round."""

    @property
    def included(self) -> Bitmap:
        """Members whose updates were merged."""

    @property
    def attesters(self) -> Bitmap:
        """Members whose attestations finalized it."""


class Why(Enum):
    """Why an update earned nothing."""

    EXCLUDED = "left out of the merge"
    BANNED = "forced out of the merge by a vote"
    EXPELLED = "expelled"
    POOL_EMPTY = "the pool was empty"
    NO_SHARE = "no share by the policy"


@dataclass(frozen=True, slots=True)
class Pay:
    """What one update of a round earned."""

    account: Address
    weight: int
    share: int
    """By the policy."""
    bonus: int
    """Its part of the attesters' share."""
    attested: bool
    why: Why | None = None
    """If it earned nothing."""
    since: int = 0
    """Round in which it was expelled, if that is why."""

    @property
    def total(self) -> int:
        """Share and bonus."""
        return self.share + self.bonus


@dataclass(frozen=True, slots=True)
class RoundPay:
    """The money of one merged round."""

    round: int
    pot: int
    pays: tuple[Pay, ...]
    """All its updates, in the order of submission."""

    @property
    def paid(self) -> int:
        """What of the pot is owed to members after it."""
        return sum(pay.total for pay in self.pays)


def merged_rounds(records: Iterable[Record]) -> tuple[Settlement, ...]:
    """All merged rounds, ascending, each with all its updates in the order of submission, the excluded ones too."""
    entries: dict[int, list[Entry]] = {}
    merged: list[int] = []
    for record in records:
        if isinstance(record, Updated):
            entry = Entry(record.address, record.index, record.digest, record.weight)
            entries.setdefault(record.round, []).append(entry)
        elif isinstance(record, Merged):
            merged.append(record.round)
    return tuple(Settlement(round_, tuple(entries.get(round_, ()))) for round_ in sorted(merged))


def unsettled(records: Iterable[Record], settled_round: int, over: int = 0) -> tuple[Settlement, ...]:
    """What `settle` has to be given, in this order.

    Args:
        settled_round: as the treasury's totals have it.
        over: last round that is over; given, a long row of rounds without a merge before it is passed over as well, as
            a refund needs it.

    Returns:
        The merged rounds after `settled_round`; between them steps without entries, where a gap is too long for one
        transaction.
    """
    found: list[Settlement] = []
    at = settled_round
    for settlement in merged_rounds(records):
        if settlement.round > settled_round:
            found += _steps(at, settlement.round)
            found.append(settlement)
            at = settlement.round
    found += _steps(at, over)
    return tuple(found)


def _steps(after: int, before: int) -> Iterator[Settlement]:
    return (Settlement(round_, ()) for round_ in range(after + LONGEST_GAP, before, LONGEST_GAP))


def batches(settlements: Sequence[Settlement], settled_round: int) -> Iterator[tuple[Settlement, ...]]:
    """What `unsettled` gave, in portions for a transaction each."""
    batch: list[Settlement] = []
    entries, start = 0, settled_round
    for settlement in settlements:
        size = len(settlement.entries)
        full = len(batch) == MAX_ROUNDS or entries + size > MAX_ENTRIES or settlement.round - start > LONGEST_GAP
        if batch and full:
            yield tuple(batch)
            start, entries = batch[-1].round, 0
            batch = []
        batch.append(settlement)
        entries += size
    if batch:
        yield tuple(batch)


def expulsions(records: Iterable[Record]) -> dict[Address, Expelled]:
    """What was voted on each member that was expelled. A second vote can only add that its stake is forfeit; it has the
    round of the first."""
    found: dict[Address, Expelled] = {}
    for record in records:
        if isinstance(record, Expelled):
            before = found.get(record.address)
            found[record.address] = record if before is None else replace(before, slash=before.slash or record.slash)
    return found


def predict(
    settlements: Sequence[Settlement],
    results: Mapping[int, Outcome],
    expelled: Mapping[Address, Expelled],
    terms: Terms,
    policy: RewardPolicy,
    pool: int,
) -> tuple[RoundPay, ...]:
    """What settling these rounds now will pay: the twin of TreasuryRewards.sol.

    Args:
        settlements: merged rounds in their order, with all their updates; steps without entries pay nothing.
        results: of those rounds, as the swarm's contract keeps them.
        expelled: by address, as `expulsions` gives it.
        pool: what is in it before.
    """
    rounds: list[RoundPay] = []
    for settlement in settlements:
        if not settlement.entries:
            continue
        pay = _round_pay(settlement, results[settlement.round], expelled, terms, policy, min(terms.per_round, pool))
        pool -= pay.paid
        rounds.append(pay)
    return tuple(rounds)


def _round_pay(
    settlement: Settlement,
    result: Outcome,
    expelled: Mapping[Address, Expelled],
    terms: Terms,
    policy: RewardPolicy,
    pot: int,
) -> RoundPay:
    payees = [e for e in settlement.entries if unpaid(e, settlement.round, result.included, expelled) is None]
    attesting = sum(result.attesters >> entry.index & 1 for entry in payees)
    for_attesters = pot * terms.attester_bps // 10_000
    bonus = for_attesters // attesting if attesting else 0
    # With nobody among the payees to get a bonus, or one of less than a unit, the policy shares all of the pot.
    left = pot - for_attesters if bonus else pot
    shares = policy.shares(settlement.round, left, payees) if payees and pot else [0] * len(payees)
    by_account = {entry.account: share for entry, share in zip(payees, shares, strict=True)}
    pays: list[Pay] = []
    for entry in settlement.entries:
        attested = bool(result.attesters >> entry.index & 1)
        why = unpaid(entry, settlement.round, result.included, expelled)
        if why is not None:
            since = expelled[entry.account].round if why is Why.EXPELLED else 0
            pays.append(Pay(entry.account, entry.weight, 0, 0, attested, why, since))
            continue
        share, extra = by_account[entry.account], bonus if attested else 0
        nothing = None if share + extra else Why.NO_SHARE if pot else Why.POOL_EMPTY
        pays.append(Pay(entry.account, entry.weight, share, extra, attested, nothing))
    return RoundPay(settlement.round, pot, tuple(pays))


def unpaid(entry: Entry, round_: int, included: Bitmap, expelled: Mapping[Address, Expelled]) -> Why | None:
    """Why an update has no part in its round's pot; None: it has."""
    vote = expelled.get(entry.account)
    if not included >> entry.index & 1:
        return Why.BANNED if vote is not None and vote.round == round_ and vote.banned else Why.EXCLUDED
    return Why.EXPELLED if vote is not None and vote.round <= round_ else None
