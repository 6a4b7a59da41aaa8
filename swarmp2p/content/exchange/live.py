"""What is being made right now: chunks that others may have before the whole has a name that proves them.

A slice of a merged model is known by its digest only once all of it is merged. Until then it goes by a name of the round
(docs/protocol.md, section 5), and whoever takes chunks under it has to compare them with what enough members claim.
"""

import threading
import time
from collections.abc import Callable

from swarmp2p.content.exchange.effects import Signal
from swarmp2p.content.unixfs import chunk_count, chunk_length
from swarmp2p.core.types import Digest


class LiveObject:
    """Chunks that become ready one after the other, in ascending order or not. Thread-safe.

    Args:
        size: bytes in it.
        read: blocking; a chunk, or None while it is not ready.
        gives_way: to all other answers.
    """

    def __init__(self, size: int, read: Callable[[int], bytes | None], *, gives_way: bool = True) -> None:
        self.gives_way = gives_way
        self._size = size
        self._read = read
        self._changed = Signal()

    @property
    def total(self) -> int:
        """Chunks in it."""
        return chunk_count(self._size)

    def length(self, index: int) -> int:
        """Bytes in a chunk."""
        return chunk_length(index, self._size)

    def advance(self) -> None:
        """Some chunk has become ready."""
        self._changed.send()

    def chunk(self, index: int, wait: float) -> bytes | None:
        """One of its chunks; waits up to `wait` seconds for it, and gives None if it is not ready by then."""
        deadline = time.monotonic() + wait
        while True:
            seen = self._changed.count
            data = self._read(index)
            left = deadline - time.monotonic()
            if data is not None or left <= 0:
                return data
            self._changed.wait(left, since=seen)


class Live:
    """The live objects of one peer, by name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[Digest, LiveObject] = {}
        self._published = Signal()

    def publish(self, name: Digest, made: LiveObject) -> None:
        """From now on it can be had under this name."""
        with self._lock:
            self._objects[name] = made
        self._published.send()

    def withdraw(self, name: Digest) -> None:
        """It cannot be had any more. Idempotent."""
        with self._lock:
            self._objects.pop(name, None)

    def get(self, name: Digest, wait: float = 0.0) -> LiveObject | None:
        """The object of this name; waits up to `wait` seconds for it."""
        deadline = time.monotonic() + wait
        while True:
            seen = self._published.count
            with self._lock:
                found = self._objects.get(name)
            left = deadline - time.monotonic()
            if found is not None or left <= 0:
                return found
            self._published.wait(left, since=seen)
