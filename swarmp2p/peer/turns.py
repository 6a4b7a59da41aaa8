"""One transfer after the other, where links are fast.

All members have the same to do at the same time: each needs something of every other one. On fast links that is bound by
computing, and as many transfers at once as there are members cost a third more of it than one after the other. So they take
turns: who is at place i asks those at i + 1, i + 2, ..., which at any time is a different one for each: the schedule of an
all-to-all exchange in parallel computing (R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication
operations in MPICH", 2005). On slow links all go on at once: each gap between two turns would leave a link idle.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from swarmp2p.core.types import CHUNK_SIZE

FAST = 30e6
"""Bytes a second from which on links are fast."""
TELLING = 4
"""Chunks of a transfer from which on it tells how fast links are."""
STEP, LONGEST = 0.03, 0.3
"""Seconds that a transfer waits for each one that is due before it, and at most: else all might meet at one link."""
LOOK = 0.05
"""Seconds between two looks whether a transfer moves."""
LAST = 1 << 16
"""Place of whoever has none."""


class Turns:
    """Turns of one peer. A transfer that does not move loses its turn, and goes on beside the next one."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, trio.Event]] = []
        self._taken = 0
        self._count = 0
        self.fast = True
        """Links are, as far as is known."""

    @asynccontextmanager
    async def turn(self, place: int, moved: Callable[[], int], patience: float) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the time of the block.

        Args:
            place: of two that wait, the one with the lower goes first; 1 is due first of all.
            moved: chunks that came, of any transfer.
            patience: seconds without a chunk after which the turn is another's.
        """
        if self.fast and not self._taken and place > 1:
            await trio.sleep(min(LONGEST, (place - 1) * STEP))
        await self._acquire(place)
        turn = _Turn(self._release)
        first, since = moved(), trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(turn.watch, moved, patience)
                yield
                nursery.cancel_scope.cancel()
        finally:
            if moved() >= first + TELLING:
                self.fast = (moved() - first) * CHUNK_SIZE >= FAST * (trio.current_time() - since)
            turn.end()

    async def _acquire(self, place: int) -> None:
        if not self._taken or not self.fast:
            self._taken += 1
            await trio.lowlevel.checkpoint()
            return
        self._count += 1
        entry = place, self._count, trio.Event()
        self._waiting.append(entry)
        try:
            await entry[2].wait()
        except BaseException:
            if entry in self._waiting:
                self._waiting.remove(entry)
            else:
                self._release()  # it was given in the meantime
            raise

    def _release(self) -> None:
        self._taken -= 1
        while self._waiting and (not self._taken or not self.fast):
            entry = min(self._waiting, key=lambda each: each[:2])
            self._waiting.remove(entry)
            self._taken += 1
            entry[2].set()


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
