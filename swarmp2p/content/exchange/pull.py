"""Pulling chunks of one object from several sources at once: who is asked for which chunk."""

import threading
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass

from swarmp2p.content.exchange.effects import Signal
from swarmp2p.content.interface import Target
from swarmp2p.content.unixfs import HASH_SIZE


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, the rest in chunks.

    Attributes:
        stall: a source that sends nothing whole (a head, a chunk) for this long is given up; with the default, that is
            one slower than 50 kB/s.
        hedge: after this time an idle source is asked for what another one was asked for before.
        window: chunks asked for and not yet on disk, per source.
        run: chunks in one request.
        sources: sources used at the same time.
        spread: how often it is looked whether one source is enough (fetcher.py): most that is fetched is small.
        penalty: how long a source that lied is not asked again.
    """

    stall: float = 5.0
    hedge: float = 1.0
    window: int = 32
    run: int = 8
    sources: int = 4
    spread: float = 0.2
    penalty: float = 600.0


class Pull:
    """Which chunks are still wanted, and when each was last asked for. Thread-safe.

    Args:
        target: where they go.
        indexes: the wanted ones, from the object's first chunk.
        clock: seconds, from any start.
    """

    def __init__(self, target: Target, indexes: list[int], clock: Callable[[], float]) -> None:
        self.target = target
        self.total = len(target.leaf_list) // HASH_SIZE
        self.changed = Signal()
        """Sent when a chunk is done or given back."""
        self._clock = clock
        self._lock = threading.Lock()
        self._pending = sorted(indexes)
        """Ascending: what nobody was asked for."""
        self._asked: dict[int, list[float]] = {}
        self._wanted = set(indexes)

    @property
    def finished(self) -> bool:
        return not self._wanted

    @property
    def left(self) -> int:
        """Chunks still wanted."""
        return len(self._wanted)

    def wants_any_of(self, available: set[int]) -> bool:
        """Whether a source with these chunks may still be of use."""
        with self._lock:
            return not self._wanted.isdisjoint(available)

    def take(self, available: set[int], mine: set[int], count: int, hedge: float) -> range:
        """The next run of chunks to ask a source for: what nobody was asked for, else what another source has owed for
        `hedge` seconds. Empty if there is nothing. `mine`: what this source itself owes already."""
        with self._lock:
            run = self._next_run(available, count)
            if run:
                at = bisect_left(self._pending, run[0])
                del self._pending[at : at + len(run)]
            else:
                run = self._overdue(available, mine, self._clock() - hedge)
            for index in run:
                self._asked.setdefault(index, []).append(self._clock())
        return range(run[0], run[-1] + 1) if run else range(0)

    def _next_run(self, available: set[int], count: int) -> list[int]:
        run: list[int] = []
        for index in self._pending:
            if run and (index != run[-1] + 1 or len(run) == count):
                break
            if index in available:
                run.append(index)
        return run

    def _overdue(self, available: set[int], mine: set[int], late: float) -> list[int]:
        overdue = sorted(i for i, times in self._asked.items() if len(times) == 1 and times[0] <= late)
        return [i for i in overdue if i in available and i not in mine][:1]

    def give_back(self, index: int) -> None:
        """A source will not deliver this chunk."""
        with self._lock:
            times = self._asked.get(index)
            if times is None:
                return
            times.pop()
            if not times:
                del self._asked[index]
                insort(self._pending, index)
        self.changed.send()

    def done(self, index: int) -> None:
        """A chunk is on disk."""
        with self._lock:
            self._wanted.discard(index)
            if self._asked.pop(index, None) is None:  # given back before it came
                at = bisect_left(self._pending, index)
                if self._pending[at : at + 1] == [index]:
                    del self._pending[at]
        self.changed.send()
