"""What the contract stores, and what it shows of it (docs/protocol.md, section 3): twin of SwarmStorage and SwarmViews."""

import copy
from dataclasses import dataclass, field
from typing import Self

from swarmp2p.core.config import Config
from swarmp2p.core.election import round_seed
from swarmp2p.core.types import NO_DIGEST, Address, Bitmap, Digest, Keccak, Phase, Status, StopReason, bits
from swarmp2p.core.view import Member, View


class Reverted(Exception):
    """The contract refuses a call, and nothing has changed. `name` is the name of its custom error."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Result:
    """What a merged round left behind (`ISwarm.Result`)."""

    merged: Digest
    included: Bitmap
    parent_round: int
    block_number: int
    timestamp: int
    inputs: Digest
    attesters: Bitmap


@dataclass(slots=True)
class Block:
    """The chain block in which calls run: its number, and its Unix time in seconds."""

    number: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the contract: its name, and its arguments in the interface's order."""

    name: str
    args: tuple[object, ...]


@dataclass(slots=True)
class Enrolled:
    """A member, of now or of once, as the contract stores it; whether it is ACTIVE, the bitmap alone says."""

    index: int
    standing: Status = Status.IDLE
    """NONE: it left."""
    last_round: int = 0
    seq: int = 0
    """From this number of sealed rounds on, missed ones count."""
    weight: int = 0
    max_weight: int = 0
    expires: int = 0
    term: int = 0
    reported: int = 0
    digest: Digest = NO_DIGEST
    expelled_in: int = 0
    """Round of its expulsion; 0: not expelled."""
    slash: bool = False


@dataclass(slots=True)
class ContractState:
    """All that the contract stores. Time is `block`, which the caller moves; `events` grows with every call."""

    config: Config
    salt: Digest
    keccak: Keccak
    block: Block
    round: int = 0
    phase: Phase = Phase.COLLECTING
    opened_at: int = 0
    seal_at: int = 0
    sealed_at: int = 0
    extend_at: int = 0
    count: int = 0
    threshold: int = 0
    k: int = 0
    inputs: Digest = NO_DIGEST
    submitted: Bitmap = 0
    wait_for: Bitmap = 0
    active: Bitmap = 0
    voters: Bitmap = 0
    banned: Bitmap = 0
    held: Bitmap = 0
    """Indexes that belong to somebody."""
    freed: Bitmap = 0
    """Of these, the ones that are free when the next round opens."""
    sealed_rounds: int = 0
    head: Digest = NO_DIGEST
    head_round: int = 0
    merged_rounds: int = 0
    best: Digest = NO_DIGEST
    best_round: int = 0
    judged_round: int = 0
    stale: int = 0
    ballot: int = 0
    max_rounds: int = 0
    quiet_since: int = 0
    stop_reason: StopReason = StopReason.NONE
    reports: int = 0
    reached: int = 0
    improved: int = 0
    metric_sum: int = 0
    metric_weight: int = 0
    members: dict[Address, Enrolled] = field(default_factory=dict)
    at: dict[int, Address] = field(default_factory=dict)
    addresses: dict[Address, bytes] = field(default_factory=dict)
    stakes: dict[Address, int] = field(default_factory=dict)
    """What the treasury would answer to stakeOf."""
    results: dict[int, Result] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    version: int = 0
    """Grows with every call that succeeds."""
    _seen: tuple[int, int, int] = (-1, -1, -1)
    _view: View | None = None

    def clone(self) -> Self:
        """An independent copy, for questions of the kind "what if"; its log of events starts empty."""
        twin = copy.copy(self)
        twin.block = Block(self.block.number, self.block.timestamp)
        twin.members = {address: copy.copy(member) for address, member in self.members.items()}
        twin.at = dict(self.at)
        twin.addresses = dict(self.addresses)
        twin.stakes = dict(self.stakes)
        twin.results = dict(self.results)
        twin.events = []
        return twin

    def state(self) -> View:
        """All that `decide` needs; one object for equal states."""
        seen = (self.version, self.block.number, self.block.timestamp)
        if self._view is None or self._seen != seen:
            self._view = self._build_view()
            self._seen = seen
        return self._view

    def _build_view(self) -> View:
        key = self._report_key(merged=self.head_round == self.round)
        result = self.results.get(self.head_round)
        reported = 0
        members: list[Member] = []
        for index in bits(self.held):
            member = self.members[self.at[index]]
            members.append(self._member_view(self.at[index], member))
            if member.reported == key:
                reported |= 1 << index
        return View(
            salt=self.salt, round=self.round, phase=self.phase, opened_at=self.opened_at, seal_at=self.seal_at,
            sealed_at=self.sealed_at, count=self.count, threshold=self.threshold, k=self.k, inputs=self.inputs,
            seed=round_seed(self.salt, self.round, self.head, self.keccak), submitted=self.submitted,
            wait_for=self.wait_for, roster=self.roster if self.k else 0, active=self.active, banned=self.banned,
            sealed_rounds=self.sealed_rounds, head=self.head, head_round=self.head_round,
            merged_rounds=self.merged_rounds, best=self.best, best_round=self.best_round,
            judged_round=self.judged_round, stale=self.stale, ballot=self.ballot, max_rounds=self.max_rounds,
            stop_reason=self.stop_reason, reports=self.reports, reached=self.reached, improved=self.improved,
            metric_sum=self.metric_sum, metric_weight=self.metric_weight, reported=reported,
            included=result.included if result else 0, members=tuple(members), block_number=self.block.number,
            block_timestamp=self.block.timestamp, extend_at=self.extend_at, quiet_since=self.quiet_since, voters=self.voters,
        )  # fmt: skip

    @property
    def roster(self) -> Bitmap:
        """The round's updates less those that a vote forces out."""
        return self.submitted & ~self.banned

    def member_of(self, account: Address) -> Member:
        """One account, also one that was never enrolled."""
        return self._member_view(account, self.members.get(account) or Enrolled(0, Status.NONE))

    def _member_view(self, address: Address, member: Enrolled) -> Member:
        active = member.standing == Status.IDLE and self.active >> member.index & 1
        return Member(
            index=member.index,
            address=address,
            status=Status.ACTIVE if active else member.standing,
            weight=member.weight,
            max_weight=member.max_weight,
            expires=member.expires,
            last_round=member.last_round,
            # Before the seal of a round that it is in, a member counts from one further.
            seq=min(member.seq, self.sealed_rounds),
            term=member.term,
            digest=member.digest,
        )

    def _report_key(self, *, merged: bool) -> int:
        return 2 * self.round + merged
