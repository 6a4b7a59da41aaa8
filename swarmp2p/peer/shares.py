"""Who asks whom for which merged chunk, where links are slow: each chunk leaves its leader once, and its followers pass it
on to each other.

Were each follower to take all of a slice from its leader, a leader that is late would be alone in sending all of it to
everybody, while the links of the others are idle. So followers get a share each from the leader and the rest from each
other, as in the scatter-allgather of a large broadcast (R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective
communication operations in MPICH", 2005).
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

GROUP = 3
"""Followers, at most, that share what a leader sends: each asks all others of its group."""


def group_of(followers: Sequence[T], me: T) -> list[T]:
    """Those that this follower shares a slice with, itself among them."""
    start = followers.index(me) // GROUP * GROUP
    return list(followers[start : start + GROUP])


class Shares:
    """Chunks that are still to be asked for, by the place in the group of whoever gets them from the leader. Thread-safe.

    Args:
        chunks: those that are missing, ascending, counted from the slice's first.
        count: followers in the group.
    """

    def __init__(self, chunks: Sequence[int], count: int) -> None:
        self._lock = threading.Lock()
        self._left = [deque(chunk for chunk in chunks if chunk % count == place) for place in range(count)]

    def of(self, place: int) -> Iterator[range]:
        """What to ask the follower at this place for, one after the other."""
        while (chunk := self._next(place)) is not None:
            yield range(chunk, chunk + 1)

    def of_leader(self, place: int) -> Iterator[range]:
        """What to ask the leader for: the share of the follower at this place, who asks; and then, from the end, what the
        others have not been asked for so far: one of them may be slow, or gone."""
        yield from self.of(place)
        while (chunk := self._last()) is not None:
            yield range(chunk, chunk + 1)

    def _next(self, place: int) -> int | None:
        with self._lock:
            return self._left[place].popleft() if self._left[place] else None

    def _last(self) -> int | None:
        with self._lock:
            longest = max(self._left, key=len)
            return longest.pop() if longest else None
