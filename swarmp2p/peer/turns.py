"""One transfer after the other, where links are fast.

All members have the same to do at the same time: each needs something of every other one. On fast links that is bound by
computing, and as many transfers at once as there are members cost a third more of it than one after the other. So they take
turns: who is at place i asks those at i + 1, i + 2, ..., which at any time is a different one for each: the schedule of an
all-to-all exchange in parallel computing (R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication
operations in MPICH", 2005). On slow links each gap between two turns would leave a link idle. There those from different
members go on at once; those from one member still take turns, its update before the slice that it merges.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from swarmp2p.core.types import CHUNK_SIZE

FAST = 30e6
"""Bytes a second from which on links are fast."""
TELLING_SLOW, TELLING_FAST = 4, 16
"""Chunks that come during a transfer from which on it tells that links are slow, or that they are fast: buffers on the way
can give out a megabyte at once."""
STEP, LONGEST = 0.03, 0.3
"""Seconds that a transfer waits at most for each one that is due before it, and in all: else all might meet at one link."""
SPEED = 400e6
"""Bytes a second of a transfer that is alone, by which a short one is not waited for longer than it lasts."""
LOOK = 0.05
"""Seconds between two looks whether a transfer moves."""
LAST = 1 << 16
"""Place of whoever has none."""


class Turns:
    """Turns of one peer. A transfer that does not move loses its turn, and goes on beside the next one."""

    def __init__(self) -> None:
        self._waiting: list[tuple[bool, int, int, trio.Event]] = []
        self._taken: Counter[int] = Counter()
        self._count = 0
        self.fast = True
        """Links are, as far as is known."""

    @asynccontextmanager
    async def turn(
        self, place: int, chunks: int, moved: Callable[[], int], patience: float, *, last: bool = False
    ) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the time of the block.

        Args:
            place: of two that wait, the one with the lower goes first; 1 is due first of all.
            chunks: to be transferred; those that are due before have about as many.
            moved: chunks that came, of any transfer.
            patience: seconds without a chunk after which the turn is another's.
            last: all that are not go first.
        """
        if self.fast and not self._taken.total() and place > 1:
            await trio.sleep(min(LONGEST, (place - 1) * min(STEP, chunks * CHUNK_SIZE / SPEED)))
        await self._acquire(place, last)
        turn = _Turn(lambda: self._release(place))
        first, since = moved(), trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(turn.watch, moved, patience)
                yield
                nursery.cancel_scope.cancel()
        finally:
            came = moved() - first
            fast = came * CHUNK_SIZE >= FAST * (trio.current_time() - since)
            if came >= (TELLING_FAST if fast else TELLING_SLOW):
                self.fast = fast
            turn.end()

    async def _acquire(self, place: int, last: bool) -> None:
        await trio.lowlevel.checkpoint()  # before it is taken: cancelled here, nobody would give it back
        if self._free(place):
            self._taken[place] += 1
            return
        self._count += 1
        entry = last, place, self._count, trio.Event()
        self._waiting.append(entry)
        try:
            await entry[3].wait()
        except BaseException:
            if entry in self._waiting:
                self._waiting.remove(entry)
            else:
                self._release(place)  # it was given in the meantime
            raise

    def _free(self, place: int) -> bool:
        return place == LAST or not (self._taken.total() if self.fast else self._taken[place])

    def _release(self, place: int) -> None:
        self._taken[place] -= 1
        for entry in sorted(self._waiting, key=lambda each: each[:3]):
            _, freed, _, event = entry
            if self._free(freed):
                self._waiting.remove(entry)
                self._taken[freed] += 1
                event.set()


class _Turn:
    """A turn that somebody has."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._held = True

    def end(self) -> None:
        """Idempotent."""
        if self._held:
            self._held = False
            self._release()

    async def watch(self, moved: Callable[[], int], patience: float) -> None:
        seen, since = moved(), trio.current_time()
        while self._held:
            await trio.sleep(LOOK)
            if moved() != seen:
                seen, since = moved(), trio.current_time()
            elif trio.current_time() >= since + patience:
                self.end()


def place_after(own: int | None, other: int | None, count: int) -> int:
    """How far behind the own one another place is, around the circle; unknown ones come last."""
    if own is None or other is None or not count:
        return LAST
    return (other - own) % count
