"""A treasury's books, kept again from its events: what its storage has to say, to the last unit."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmp2p.core.money import (
    Account,
    Claimed,
    Earned,
    Funded,
    MoneyRecord,
    Refunded,
    Settled,
    Slashed,
    Staked,
    Unstaked,
    UnstakeRequested,
)
from swarmp2p.core.types import Address
from swarmp2p.rewards.pool import Level, worth


@dataclass(slots=True)
class _Holding:
    owed: int = 0
    stake: int = 0
    unstake_at: int = 0
    forfeit: bool = False
    funded: int = 0
    since: Level = field(default_factory=Level)


class Ledger:
    """The books so far. (Rounds that paid nothing leave no event, so `settled_round` is not kept.)"""

    def __init__(self, records: Iterable[MoneyRecord] = ()) -> None:
        self.pool = 0
        self._level = Level()
        self._holdings: dict[Address, _Holding] = {}
        for record in records:
            self.enter(record)

    @property
    def owed(self) -> int:
        """To all accounts together."""
        return sum(each.owed for each in self._holdings.values())

    @property
    def staked(self) -> int:
        """By all accounts together."""
        return sum(each.stake for each in self._holdings.values())

    @property
    def accounts(self) -> tuple[Address, ...]:
        """All that had to do with the money, sorted."""
        return tuple(sorted(self._holdings))

    def account(self, address: Address) -> Account:
        """What one account has in the treasury."""
        held = self._holdings.get(address) or _Holding()
        left = worth(held.funded, held.since, self._level)
        return Account(held.owed, held.stake, left, held.unstake_at, held.forfeit)

    def enter(self, record: MoneyRecord) -> None:
        """The next event."""
        if isinstance(record, Settled):
            self._level = self._level.spend(self.pool, record.paid)
            self.pool -= record.paid
            return
        held = self._holdings.setdefault(record.account, _Holding())
        if isinstance(record, Funded):
            held.funded = worth(held.funded, held.since, self._level) + record.amount
            held.since = self._level
            self.pool += record.amount
        elif isinstance(record, Earned):
            held.owed += record.share + record.bonus
        elif isinstance(record, Claimed):
            held.owed -= record.amount
        elif isinstance(record, Refunded):
            held.funded = 0
            self.pool -= record.amount
        elif isinstance(record, UnstakeRequested):
            held.unstake_at = record.unstake_at
        else:
            self._enter_stake(held, record)

    def _enter_stake(self, held: _Holding, record: Staked | Unstaked | Slashed) -> None:
        held.unstake_at = 0
        if isinstance(record, Staked):
            held.stake += record.amount
            return
        held.stake -= record.amount
        if isinstance(record, Slashed):
            self.pool += record.amount
            held.forfeit = held.forfeit or record.proven
