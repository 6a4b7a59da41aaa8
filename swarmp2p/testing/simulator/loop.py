"""The simulator's clock: events in the order of their time, then of their scheduling, and nothing else."""

import heapq
from collections.abc import Callable
from typing import Any, TypeAlias

Callback: TypeAlias = Callable[..., None]


class Loop:
    """A fake clock and what happens on it. Times in seconds from an arbitrary zero."""

    def __init__(self, start: float) -> None:
        self.now = start
        self.events = 0
        self._heap: list[tuple[float, int, Callback, tuple[Any, ...]]] = []
        self._sequence = 0

    def at(self, time: float, call: Callback, *args: Any) -> None:
        """Call `call(*args)` at this time, or now if it is past."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(time, self.now), self._sequence, call, args))

    def after(self, delay: float, call: Callback, *args: Any) -> None:
        """Call `call(*args)` this much later."""
        self.at(self.now + delay, call, *args)

    def run(self, until: float, stopped: Callable[[], bool]) -> None:
        """Run events until the time is reached, nothing is left, or `stopped()`."""
        heap = self._heap
        while heap and heap[0][0] <= until and not stopped():
            self.now, _, call, args = heapq.heappop(heap)
            self.events += 1
            call(*args)
