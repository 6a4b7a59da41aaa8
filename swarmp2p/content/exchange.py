"""Fetches objects from whoever has them; every leaf is verified before anything reads it (docs/protocol.md, section 6)."""

import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

import trio

from swarmp2p.content.framing import (
    BROKEN,
    CONTENT_PROTOCOL,
    MAX_LEAF_LIST,
    Kind,
    Request,
    receive_frame,
)
from swarmp2p.content.interface import Carrier, ContentStore, Stream, Target
from swarmp2p.content.server import Server
from swarmp2p.content.unixfs import HASH_SIZE, chunk_count, root, slice_digest
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, PeerUnreachable
from swarmp2p.core.types import CHUNK_SIZE, Address, Digest

__all__ = ["CONTENT_PROTOCOL", "Fetcher", "Server"]

_log = logging.getLogger(__name__)

RUN = 8
"""Chunks of one request: 2 MiB, so that a lost source costs little and the next request's round trip is small."""
WINDOW = 2
"""Requests under way to one source."""
ANSWER_TIMEOUT = 5.0
"""Seconds to wait for the next frame of an answer."""
DISTRUST = 60.0
"""Seconds for which a source that sent corrupt content is asked only when nobody else is left."""


class Fetcher:
    """The client side of the exchange, for one store."""

    def __init__(self, store: ContentStore, carrier: Carrier) -> None:
        self._store = store
        self._carrier = carrier
        self._fetching: defaultdict[Digest, trio.Lock] = defaultdict(trio.Lock)
        self._liars: dict[Address, float] = {}

    def _sources(self, prefer: Iterable[Address]) -> tuple[list[Address], list[Address]]:
        """(preferred, others), liars last."""
        now = trio.current_time()
        reachable = self._carrier.reachable()

        def trusted_first(address: Address) -> tuple[bool, Address]:
            return now - self._liars.get(address, -DISTRUST) < DISTRUST, address

        preferred = [address for address in dict.fromkeys(prefer) if address in reachable]
        others = [address for address in reachable if address not in preferred]
        return sorted(preferred, key=trusted_first), sorted(others, key=trusted_first)

    def _caught_lying(self, address: Address, error: ContentCorrupt) -> None:
        _log.warning("0x%s sent corrupt content: %s", address.hex(), error)
        self._liars[address] = trio.current_time()

    async def fetch_leaf_list(self, name: Digest, size: int | None = None, *, prefer: Sequence[Address] = ()) -> bytes:
        """The leaf list of an object, verified.

        Args:
            name: digest of a file, or slice digest.
            size: bytes of the file; None for a slice.
            prefer: whom to ask first.

        Raises:
            ContentUnavailable: nobody who is connected has it; names whom it asked.
        """
        async with self._fetching[name]:
            known = await trio.to_thread.run_sync(self._store.leaf_list, name)
            if known is not None:
                return known
            preferred, others = self._sources(prefer)
            asked: list[str] = []
            for address in [*preferred, *others]:
                try:
                    leaf_list = await self._ask_leaf_list(address, name, size)
                except ContentCorrupt as error:
                    self._caught_lying(address, error)
                    asked.append(f"0x{address.hex()} (corrupt)")
                except (PeerUnreachable, trio.TooSlowError, *BROKEN) as error:
                    asked.append(f"0x{address.hex()} ({type(error).__name__})")
                else:
                    if leaf_list is not None:
                        return leaf_list
                    asked.append(f"0x{address.hex()} (has it not)")
        raise _unavailable(name, asked)

    async def _ask_leaf_list(self, address: Address, name: Digest, size: int | None) -> bytes | None:
        stream = await self._carrier.open(address)
        try:
            with trio.fail_after(ANSWER_TIMEOUT):
                await stream.send_all(Request(Kind.LEAVES, name).encode())
                most = MAX_LEAF_LIST if size is None else HASH_SIZE * chunk_count(size)
                leaf_list = await receive_frame(stream, most)
        finally:
            await stream.aclose()
        if leaf_list is None:
            return None
        fits = slice_digest(leaf_list) == name if size is None else root(leaf_list, size).digest == name
        if not fits:
            raise ContentCorrupt(f"That is not the leaf list of {name.hex()}.", "Ask somebody else.")
        return leaf_list

    async def fetch_chunks(
        self, target: Target, first: int = 0, end: int | None = None, *, prefer: Sequence[Address] = ()
    ) -> None:
        """Chunks [first, end) of a target, from several sources at once: those preferred, then whoever is connected.

        Raises:
            ContentUnavailable: after all were asked, chunks are missing; what came is kept.
            QuotaExceeded: no room.
        """
        async with self._fetching[target.object]:
            asked: list[str] = []
            for group in self._sources(prefer):
                missing = await trio.to_thread.run_sync(target.missing, first, end)
                if not missing:
                    return
                runs = deque(missing[at : at + RUN] for at in range(0, len(missing), RUN))
                async with trio.open_nursery() as nursery:
                    for address in group:
                        nursery.start_soon(self._take_runs, address, target, runs, asked)
            if await trio.to_thread.run_sync(target.missing, first, end):
                raise _unavailable(target.object, asked)

    async def _take_runs(self, address: Address, target: Target, runs: deque[list[int]], asked: list[str]) -> None:
        """Fetch runs until none is left or this source fails; a run that it failed at goes back to the others."""
        under_way: deque[list[int]] = deque()
        try:
            stream = await self._carrier.open(address)
            try:
                while runs or under_way:
                    while runs and len(under_way) < WINDOW:
                        run = runs.popleft()
                        under_way.append(run)
                        await self._request(stream, target, run)
                    await self._receive_run(stream, target, under_way[0])
                    under_way.popleft()
            finally:
                await stream.aclose()
        except ContentCorrupt as error:
            self._caught_lying(address, error)
            asked.append(f"0x{address.hex()} (corrupt)")
        except ContentUnavailable:
            asked.append(f"0x{address.hex()} (has it not)")
        except (PeerUnreachable, trio.TooSlowError, *BROKEN) as error:
            asked.append(f"0x{address.hex()} ({type(error).__name__})")
        finally:
            runs.extend(under_way)

    async def _request(self, stream: Stream, target: Target, run: list[int]) -> None:
        for start, count in _ranges(run):
            with trio.fail_after(ANSWER_TIMEOUT):
                await stream.send_all(Request(Kind.CHUNKS, target.object, start, count).encode())

    async def _receive_run(self, stream: Stream, target: Target, run: list[int]) -> None:
        for index in run:
            with trio.fail_after(ANSWER_TIMEOUT):
                data = await receive_frame(stream, CHUNK_SIZE)
            if data is None:
                raise ContentUnavailable(f"It does not have chunk {index}.")
            await trio.to_thread.run_sync(target.write_chunk, index, data)

    async def fetch_file(self, digest: Digest, size: int, *, prefer: Sequence[Address] = ()) -> None:
        """A whole file, into the store.

        Raises:
            ContentUnavailable, QuotaExceeded.
        """
        leaf_list = await self.fetch_leaf_list(digest, size, prefer=prefer)
        part = await trio.to_thread.run_sync(self._store.begin, digest, size, leaf_list)
        target = await trio.to_thread.run_sync(part.target, 0, leaf_list, digest)
        await self.fetch_chunks(target, prefer=prefer)
        await trio.to_thread.run_sync(part.finish, digest)


def _ranges(run: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive indexes as (first, count)."""
    ranges: list[tuple[int, int]] = []
    for index in run:
        if ranges and sum(ranges[-1]) == index:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((index, 1))
    return ranges


def _unavailable(name: Digest, asked: Sequence[str]) -> ContentUnavailable:
    whom = ", ".join(asked) or "nobody, since no member is connected"
    return ContentUnavailable(f"{name.hex()[:16]}… cannot be had now; asked: {whom}.", "It is asked for again.")
