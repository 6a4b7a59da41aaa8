"""Updates are fetched while they are still being written, where links are slow: else these have nothing to carry until the
first update has a name (docs/protocol.md, section 5).

What comes so proves nothing. It waits in memory for the leaf list of the update that its member announces, or submits.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Collection
from typing import IO

import trio

from swarmp2p.content.exchange import Live, LiveObject
from swarmp2p.content.interface import Target
from swarmp2p.content.unixfs import chunk_length
from swarmp2p.core.config import Config
from swarmp2p.core.election import permutation
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.slices import chunk_range, leaders_in_force
from swarmp2p.core.types import CHUNK_SIZE, Address, Digest
from swarmp2p.core.view import View
from swarmp2p.identity import keccak256

_log = logging.getLogger(__name__)

UNPROVEN = 16 * 2**20
"""Bytes at most that a peer keeps in memory of updates that have no leaf list yet, of all members together."""
PATIENCE = 5.0
"""Seconds for which a member's chunks wait for their leaf list when nothing more of them can be kept."""


def writing_name(round_: int, base: Digest, member: Address) -> Digest:
    """The name by which a member's update goes while it is written (docs/protocol.md, section 5)."""
    return hashlib.sha256(b"swarmp2p update in the making" + round_.to_bytes(8, "big") + base + member).digest()


def guessed_order(view: View, config: Config) -> tuple[tuple[int, ...], int]:
    """The order of the members, and the leaders in force, if all submit that are waited for: known only at the seal."""
    order = permutation(view.wait_for | view.submitted, view.seed, keccak256)
    return order, leaders_in_force(config.k_max, len(order), config.chunks)


def first_chunk(view: View, config: Config, me: Address) -> int:
    """Of the own update, the chunk to begin with: each member begins with what another one needs (turns.py)."""
    member, (order, k) = view.member(me), guessed_order(view, config)
    if member is None or member.index not in order:
        return 0
    slice_ = order.index(member.index) * k // len(order)
    return chunk_range((slice_ + 1) % k, k, config.chunks).start


class Writing:
    """The own update, which others may have as far as it is written.

    Args:
        live: where it is had from.
        name: as above.
        size: bytes in it.
        begun: called, in the writer's thread, when chunks can be asked for.
        first: the chunk to begin with.
    """

    def __init__(self, live: Live, name: Digest, size: int, begun: Callable[[], None], first: int = 0) -> None:
        self.first = first
        self._live, self._name, self._size, self._begun = live, name, size, begun
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._written: set[int] = set()
        self._last: int | None = None
        self._object = LiveObject(size, self._read, gives_way=False)

    def begin(self, file: IO[bytes]) -> None:
        """It is written to this file, which may get another name at any time."""
        self._file = os.fdopen(os.dup(file.fileno()), "rb", buffering=0)
        self._live.publish(self._name, self._object)
        self._begun()

    def next(self, index: int | None) -> None:
        """This chunk is written next, so that the last one is in the file."""
        if self._last is not None:
            self._written.add(self._last)
            self._object.advance()
        self._last = index

    def __enter__(self) -> "Writing":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """It is written; or it is not, and is nothing to be had."""
        if kind is None:
            self.next(None)
        else:
            self.close()

    def close(self) -> None:
        """It cannot be had by this name any more. Idempotent."""
        self._live.withdraw(self._name)
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
        self._object.advance()

    def _read(self, index: int) -> bytes | None:
        with self._lock:
            if self._file is None or index not in self._written:
                return None
            return os.pread(self._file.fileno(), chunk_length(index, self._size), index * CHUNK_SIZE)


class Room:
    """Bytes that may be kept unproven, of all updates together. Thread-safe."""

    def __init__(self, size: int = UNPROVEN) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Whether there is room for so much, which is taken then."""
        with self._lock:
            fits = size <= self._left
            self._left -= size if fits else 0
        return fits

    def give_back(self, size: int) -> None:
        """So much is kept no more."""
        with self._lock:
            self._left += size


class Taking:
    """Another member's update, as it comes while it is written. Thread-safe; what is not async blocks.

    Args:
        room: shared by all.
        came: called with the update's digest, index and length of each chunk that proved right and is in the store.
    """

    def __init__(self, room: Room, came: Callable[[Digest, int, int], None]) -> None:
        self._room, self._came = room, came
        self._lock = threading.Lock()
        self._kept: dict[int, bytes] = {}
        self._target: Target | None = None
        self._dropped = False
        self._proven = threading.Event()
        self.wanted: Collection[int] = ()
        """Chunks that are taken so."""
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        """To be set by the task that takes it."""
        self.count = 0
        """Chunks that came."""

    @property
    def proven(self) -> bool:
        """Whether the leaf list is known."""
        return self._target is not None

    def take(self, index: int, data: memoryview) -> None:
        """A chunk, unverified. Raises ContentUnavailable: nobody waits for it any more."""
        self.count += 1
        if self._keep(index, data):
            return
        if not self._proven.wait(PATIENCE) or self._target is None:
            raise ContentUnavailable("An update was not announced while its chunks came.", "It is fetched afterwards.")
        self._store(self._target, index, data)

    def _keep(self, index: int, data: memoryview) -> bool:
        with self._lock:
            if self._target is not None or self._dropped or not self._room.take(len(data)):
                return False
            self._kept[index] = bytes(data)
        return True

    def prove(self, target: Target) -> None:
        """Its leaf list is known: put what came into the store, and from now on what comes."""
        with self._lock:
            if self._dropped:
                return
            self._target, kept, self._kept = target, self._kept, {}
        self._proven.set()
        for index, data in kept.items():
            try:
                self._store(target, index, data)
            finally:
                self._room.give_back(len(data))

    def drop(self) -> None:
        """Nobody wants it any more. Idempotent."""
        self.scope.cancel()
        with self._lock:
            self._dropped, kept, self._kept = True, self._kept, {}
        self._room.give_back(sum(map(len, kept.values())))
        self._proven.set()

    def _store(self, target: Target, index: int, data: bytes | memoryview) -> None:
        try:
            target.write_chunk(index, data)
        except ContentCorrupt as error:
            _log.info("a chunk that came while an update was written is another one: %s", error)
        else:
            self._came(target.object, index, len(data))

    async def settled(self, patience: float) -> None:
        """Return when nothing more comes, or nothing came for so many seconds."""
        while not self.ended.is_set():
            before = self.count
            with trio.move_on_after(patience):
                await self.ended.wait()
            if self.count == before:
                self.scope.cancel()
                return
