"""Tells threads that a chunk has come: the one that they wait for, and not every other one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from swarmp2p.core.types import Digest


class Arrivals:
    """Chunks that come, whoever they are for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awaited: dict[tuple[Digest, int], set[threading.Event]] = {}
        self.count = 0
        """How many have come."""

    def came(self, name: Digest, index: int) -> None:
        """A chunk of an object is here."""
        with self._lock:
            self.count += 1
            events = self._awaited.pop((name, index), ())
        for event in events:
            event.set()

    @contextmanager
    def expected(self, name: Digest, index: int) -> Iterator[threading.Event]:
        """An event that is set when this chunk comes during the block; begin the block before looking whether it is here."""
        event = threading.Event()
        with self._lock:
            self._awaited.setdefault((name, index), set()).add(event)
        try:
            yield event
        finally:
            with self._lock:
                events = self._awaited.get((name, index), set())
                events.discard(event)
                if not events:
                    self._awaited.pop((name, index), None)
