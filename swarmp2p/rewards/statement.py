"""Who earned what, and why: the money of a swarm round by round and account by account."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swarmp2p.core.history import Expelled, Record
from swarmp2p.core.money import (
    Account,
    Claimed,
    Earned,
    Entry,
    Funded,
    MoneyRecord,
    Refunded,
    Settled,
    Settlement,
    Slashed,
    Terms,
    Totals,
)
from swarmp2p.core.types import Address
from swarmp2p.rewards.amounts import Unit
from swarmp2p.rewards.policy import RewardPolicy
from swarmp2p.rewards.settlement import (
    Outcome,
    Pay,
    RoundPay,
    Why,
    expulsions,
    merged_rounds,
    predict,
    unpaid,
)


@dataclass(frozen=True, slots=True)
class Books:
    """What a statement is made of, as the chain tells it at one block.

    Attributes:
        records: of the swarm.
        money: of its treasury.
        results: of all merged rounds.
        accounts: all that a statement shall have; those that never had anything to do with the money may be among them.
        policy: None for one that this release has no twin of: then nothing is foretold.
    """

    records: Sequence[Record]
    money: Sequence[MoneyRecord]
    results: Mapping[int, Outcome]
    accounts: Mapping[Address, Account]
    terms: Terms
    totals: Totals
    policy: RewardPolicy | None
    unit: Unit


@dataclass(frozen=True, slots=True)
class RoundStatement:
    """The money of one merged round: as it was settled, or as it would be now."""

    pay: RoundPay
    settled: bool


@dataclass(frozen=True, slots=True)
class AccountStatement:
    """All that one account has to do with the money.

    Attributes:
        earned: in settled rounds.
        unsettled: what it will have earned once the rest is settled.
        held: what the treasury has of it now: owed, stake, what is left of what it paid in.
    """

    account: Address
    earned: int
    claimed: int
    unsettled: int
    funded: int
    refunded: int
    slashed: int
    held: Account

    @property
    def concerned(self) -> bool:
        """Whether there is anything to say of it."""
        sums = (self.earned, self.claimed, self.unsettled, self.funded, self.refunded, self.slashed)
        return any(sums) or any((self.held.owed, self.held.stake, self.held.refundable))


@dataclass(frozen=True, slots=True)
class PayStatement:
    """The statement of a swarm.

    Attributes:
        waiting: merged rounds that are not settled and of which nothing can be foretold, the policy being a foreign one.
    """

    terms: Terms
    totals: Totals
    unit: Unit
    rounds: tuple[RoundStatement, ...]
    accounts: tuple[AccountStatement, ...]
    waiting: tuple[int, ...]

    def account(self, address: Address) -> AccountStatement | None:
        """One of them."""
        return next((each for each in self.accounts if each.account == address), None)


def statement_of(books: Books) -> PayStatement:
    """What the books say."""
    merged = merged_rounds(books.records)
    done = [each for each in merged if each.round <= books.totals.settled_round]
    rest = [each for each in merged if each.round > books.totals.settled_round]
    rounds = [RoundStatement(pay, True) for pay in _settled(books, done)]
    if books.policy is not None:
        foretold = predict(rest, books.results, expulsions(books.records), books.terms, books.policy, books.totals.pool)
        rounds += [RoundStatement(pay, False) for pay in foretold]
    return PayStatement(
        books.terms,
        books.totals,
        books.unit,
        tuple(rounds),
        tuple(each for each in _accounts(books, rounds) if each.concerned),
        tuple(each.round for each in rest) if books.policy is None else (),
    )


def _settled(books: Books, settlements: Sequence[Settlement]) -> Iterable[RoundPay]:
    """What the treasury says that it did."""
    expelled = expulsions(books.records)
    pots = {record.round: record.pot for record in books.money if isinstance(record, Settled)}
    earned = {(record.round, record.account): record for record in books.money if isinstance(record, Earned)}
    for settlement in settlements:
        round_, pot = settlement.round, pots.get(settlement.round, 0)
        result = books.results[round_]
        yield RoundPay(
            round_,
            pot,
            tuple(
                _pay(round_, pot, entry, result, expelled, earned.get((round_, entry.account)))
                for entry in settlement.entries
            ),
        )


def _pay(
    round_: int, pot: int, entry: Entry, result: Outcome, expelled: Mapping[Address, Expelled], earned: Earned | None
) -> Pay:
    attested = bool(result.attesters >> entry.index & 1)
    if earned is not None:
        return Pay(entry.account, entry.weight, earned.share, earned.bonus, attested)
    why = unpaid(entry, round_, result.included, expelled) or (Why.NO_SHARE if pot else Why.POOL_EMPTY)
    since = expelled[entry.account].round if why is Why.EXPELLED else 0
    return Pay(entry.account, entry.weight, 0, 0, attested, why, since)


def _accounts(books: Books, rounds: Sequence[RoundStatement]) -> Iterable[AccountStatement]:
    def total(kind: type[Claimed | Funded | Refunded | Slashed], account: Address) -> int:
        return sum(each.amount for each in books.money if isinstance(each, kind) and each.account == account)

    for account, held in sorted(books.accounts.items()):
        pays = [(each.settled, pay.total) for each in rounds for pay in each.pay.pays if pay.account == account]
        yield AccountStatement(
            account,
            earned=sum(amount for settled, amount in pays if settled),
            claimed=total(Claimed, account),
            unsettled=sum(amount for settled, amount in pays if not settled),
            funded=total(Funded, account),
            refunded=total(Refunded, account),
            slashed=total(Slashed, account),
            held=held,
        )
