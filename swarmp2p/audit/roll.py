"""Who is a member, under which index, and who of them is ACTIVE, as the chain's events tell it one after the other.

The contract emits an event whenever one of these changes, so the roll is exact: each round that opens names the ACTIVE
members (`waitFor`), and the contract's view does at the end. Both are held against it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from swarmp2p.audit.report import expect, misfit, shown
from swarmp2p.core.config import Config
from swarmp2p.core.history import Activated, Enrolled, Expelled, Idled, Left
from swarmp2p.core.types import Address, Bitmap, Status, bits


@dataclass(slots=True)
class Entry:
    """A member, of now or of once."""

    index: int
    standing: Status
    """IDLE: enrolled, whether ACTIVE or not. NONE: it left. BARRED."""
    term: int
    """What its next invitation must carry."""
    max_weight: int
    expires: int
    counted_from: int
    """Number of sealed rounds from which missed ones count."""
    submitted_in: int = 0
    """Its last round with an update."""
    expelled_in: int = 0
    slashed: bool = False


class Roll:
    """The members, as of the last event that it was told of.

    Every method that takes a record raises Misfit if the contract's rules do not allow it.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.entries: dict[Address, Entry] = {}
        self.at: dict[int, Address] = {}
        """Who has, or had last, an index."""
        self.active: Bitmap = 0
        self.electorate: Bitmap = 0
        self._held: Bitmap = 0
        self._freed: Bitmap = 0

    # ---- questions

    def enrolled(self, address: Address) -> Entry | None:
        """The entry of who is a member now; None for one that left, is barred or never was one."""
        entry = self.entries.get(address)
        return entry if entry is not None and entry.standing == Status.IDLE else None

    def member(self, round_: int, what: str, expected: str, address: Address, time: int) -> Entry:
        """The entry of one that must be a member whose time is not over."""
        entry = self.entries.get(address)
        if entry is None:
            misfit(round_, what, expected, f"{shown(address)}, who is none")
        if entry.standing != Status.IDLE:
            gone = "was expelled" if entry.standing == Status.BARRED else "left"
            misfit(round_, what, expected, f"{shown(address)}, who {gone} before")
        if time > entry.expires:
            misfit(round_, what, f"{expected} at {time}", f"{shown(address)}, until {entry.expires}")
        return entry

    def voters(
        self, signers: Iterable[Address | None], time: int, target: Address | None = None
    ) -> tuple[Address, ...]:
        """Those whose signature counts: voters whose time is not over, each once, without the target."""
        counted: dict[Address, Entry] = {}
        for signer in signers:
            entry = self.enrolled(signer) if signer is not None else None
            if signer is None or entry is None or signer == target:
                continue
            if time <= entry.expires and self.electorate >> entry.index & 1:
                counted[signer] = entry
        return tuple(sorted(counted, key=lambda each: counted[each].index))

    def expelled(self, address: Address) -> bool:
        """Whether the members have barred this account."""
        entry = self.entries.get(address)
        return entry is not None and entry.standing == Status.BARRED

    def named(self, index: int) -> str:
        """The member with this index, for people."""
        return shown(self.at[index]) if index in self.at else f"member {index}"

    # ---- records

    def enrol(self, record: Enrolled, round_: int, counted_from: int) -> None:
        """Take down a member; its invitation was checked."""
        index = self._next_index(record.address)
        expect(round_, f"index of {shown(record.address)}", index, record.index)
        old = self.entries.get(record.address)
        self.entries[record.address] = Entry(
            index, Status.IDLE, record.term + 1, record.max_weight, record.expires, counted_from,
            old.submitted_in if old else 0,
        )  # fmt: skip
        self.at[index] = record.address
        self.active |= 1 << index
        self.electorate |= 1 << index
        self._held |= 1 << index
        self._freed &= ~(1 << index)

    def _next_index(self, address: Address) -> int:
        """Its own still, its own again if it left in this very round, or the lowest that nobody holds."""
        entry = self.entries.get(address)
        if entry is not None and entry.standing == Status.IDLE:
            return entry.index
        if entry is not None and self._freed >> entry.index & 1 and self.at[entry.index] == address:
            return entry.index
        return (~self._held & (self._held + 1)).bit_length() - 1

    def activate(self, record: Activated, counted_from: int) -> None:
        """A member is ACTIVE again."""
        entry = self.enrolled(record.address)
        if entry is None or self.active >> entry.index & 1:
            misfit(record.round, "member that becomes ACTIVE", "an IDLE one", shown(record.address))
        self.active |= 1 << entry.index
        self.electorate |= 1 << entry.index
        entry.counted_from = counted_from

    def idle(self, record: Idled, sealed_rounds: int) -> None:
        """A member missed too many rounds, or its time is over."""
        who, entry = shown(record.address), self.enrolled(record.address)
        if entry is None or not self.electorate >> entry.index & 1:
            misfit(record.round, "member that becomes IDLE", "one with a vote", who)
        missed = sealed_rounds - entry.counted_from
        if missed < self._config.max_missed and record.block_timestamp <= entry.expires:
            needed = f"{self._config.max_missed} or more, or a membership that is over"
            misfit(record.round, f"sealed rounds that {who} missed before it became IDLE", needed, max(0, missed))
        self.active &= ~(1 << entry.index)
        self.electorate &= ~(1 << entry.index)

    def leave(self, record: Left) -> None:
        """A member ended its membership."""
        entry = self.enrolled(record.address)
        if entry is None:
            misfit(record.round, "member that leaves", "one", f"{shown(record.address)}, who is none")
        entry.standing = Status.NONE
        self._release(entry.index)

    def expel(self, record: Expelled, round_: int, allowed: Iterable[int]) -> Entry:
        """A member, or one that left, is barred; the vote was checked.

        Args:
            allowed: from which rounds on a first expulsion may take pay.
        """
        who, entry = shown(record.address), self.entries.get(record.address)
        if entry is None:
            misfit(round_, "expelled account", "a member, or one that was", f"{who}, who never was one")
        barred = entry.standing == Status.BARRED
        if barred and (entry.slashed or not record.slash):
            misfit(round_, f"expulsion of {who}", "one", "another one, of who is barred already")
        rounds = [entry.expelled_in] if entry.expelled_in else list(allowed)
        if record.round not in rounds:
            misfit(round_, f"round of the expulsion of {who}", " or ".join(map(str, rounds)), record.round)
        if entry.standing == Status.IDLE:
            self._release(entry.index)
        entry.standing, entry.expelled_in, entry.slashed = Status.BARRED, record.round, record.slash
        return entry

    def open_round(self) -> None:
        """Indexes that became free in the last round may be given out again."""
        self._held &= ~self._freed
        self._freed = 0

    def exclude(self, excluded: Bitmap) -> None:
        """Members that a merge excludes become IDLE, and keep their vote."""
        self.active &= ~excluded

    def _release(self, index: int) -> None:
        self.active &= ~(1 << index)
        self.electorate &= ~(1 << index)
        self._freed |= 1 << index


def indexes(bitmap: Bitmap) -> list[int]:
    """A set of members, for people."""
    return list(bits(bitmap))
