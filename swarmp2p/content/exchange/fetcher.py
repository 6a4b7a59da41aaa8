"""The asking side of the content exchange: gets files, ranges and slices from whoever has them, each leaf verified."""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import trio

from swarmp2p.content.exchange.arrivals import Arrivals
from swarmp2p.content.exchange.asking import Lane, follow, leaf_list_of
from swarmp2p.content.exchange.effects import BadMessage
from swarmp2p.content.exchange.link import Direct, Link, Links
from swarmp2p.content.exchange.offload import BROKEN, Offload, name_of, threads
from swarmp2p.content.exchange.pull import Limits, Pull
from swarmp2p.content.interface import Carrier, ContentStore, Target
from swarmp2p.content.unixfs import chunk_count, root, slice_digest
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, PeerUnreachable, SwarmError
from swarmp2p.core.types import Address, Digest

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FAREWELL = 0.02
"""Seconds for connections to come to rest when all is here, before those that still owe something are cut."""
LONG = 5
"""Further sources are asked when what is left would take so many times `Limits.spread`."""


@dataclass(slots=True)
class _Flight:
    """A fetch under way that others wait for too."""

    landed: trio.Event = field(default_factory=trio.Event)
    result: bytes | None = None
    error: SwarmError | None = None


class Fetcher:
    """Fetches into a store. Several fetches may run at once; what two of them want is asked for once.

    Every `fetch_…` is cancellable at any point and loses nothing by it: chunks that came are in the store. One call makes
    one pass over those who may have the content: `prefer`, who should have all of it, in its order, then the carrier's
    reachable peers. If they do
    not have it between them it raises ContentUnavailable, naming who was asked and what came of it; trying again is the
    caller's business. All of them may also raise QuotaExceeded.

    Args:
        store: called in worker threads, where it may have to wait.
        carrier: connections to members.
        direct: faster connections, to those that can be dialled; None: none.
        limits: windows and times (pull.py).
        offload: how blocking calls run; tests with a fake clock run them inline.
    """

    def __init__(
        self,
        store: ContentStore,
        carrier: Carrier,
        *,
        direct: Direct | None = None,
        limits: Limits | None = None,
        offload: Offload | None = None,
    ) -> None:
        self._store = store
        self._limits = limits or Limits()
        self._offload = offload or threads(8)
        self._links = Links(carrier, direct, self._offload)
        self._flights: dict[object, _Flight] = {}
        self._busy: dict[tuple[Digest, int], trio.Event] = {}
        self._liars: dict[Address, float] = {}
        self._slow: set[Address] = set()
        self.arrived = Arrivals()
        """Told, also from worker threads, when a chunk has come."""
        self.received: defaultdict[Address, int] = defaultdict(int)
        """Bytes of chunks that came from each source and proved right."""

    def distrusted(self) -> set[Address]:
        """Peers that sent wrong bytes lately and are not asked now."""
        now = trio.current_time()
        return {peer for peer, until in self._liars.items() if until > now}

    # What the peer calls

    async def fetch_leaf_list(self, name: Digest, size: int | None = None, *, prefer: Sequence[Address] = ()) -> bytes:
        """The leaf list of an object, 32 bytes a chunk, verified.

        A file's is kept in the store and served from then on; a slice's once `Part.target` puts it to use.

        Args:
            name: digest of a file, or a slice digest.
            size: bytes in the file; None for a slice.
            prefer: whom to ask first.
        """

        def digest_of(leaves: bytes) -> Digest:
            return slice_digest(leaves) if size is None else root(leaves, size).digest

        await trio.lowlevel.checkpoint()
        if size is not None and chunk_count(size) == 1:
            return name  # a file of one chunk is its own leaf, so there is nothing to ask for

        async def work() -> bytes:
            known = self._store.leaf_list(name)
            if known is None:
                known = await self._ask_leaf_list(name, None if size is None else chunk_count(size), digest_of, prefer)
                if size is not None:
                    await self._offload(self._store.begin, name, size, known)
            return known

        return await self._shared((name, size), work)

    async def fetch_file(self, digest: Digest, size: int, *, prefer: Sequence[Address] = ()) -> None:
        """A whole file of `size` bytes; returns when it is flushed under its name. Goes on where an earlier try ended."""
        if await self._offload(self._store.has, digest):
            return
        leaf_list = await self.fetch_leaf_list(digest, size, prefer=prefer)
        part = await self._offload(self._store.begin, digest, size, leaf_list)
        target = await self._offload(part.target, 0, leaf_list, digest)
        await self.fetch_chunks(target, prefer=prefer)
        await self._offload(part.finish, digest)

    async def fetch_chunks(
        self, target: Target, first: int = 0, end: int | None = None, *, prefer: Sequence[Address] = ()
    ) -> None:
        """Chunks [first, end) of the target's object, counted from the object's first chunk, into the target."""
        await trio.lowlevel.checkpoint()
        while missing := target.missing(first, end):
            keys = [(target.object, index) for index in missing]
            others = [self._busy[key] for key in keys if key in self._busy]
            mine = [key for key in keys if key not in self._busy]
            if not mine:
                await others[0].wait()
                continue
            indexes = [index for _, index in mine]
            with self.expecting(target.object, indexes):
                await self._pull(Pull(target, indexes, trio.lowlevel.current_clock().current_time), prefer)
            if not others:
                return

    @contextmanager
    def expecting(self, name: Digest, indexes: Iterable[int]) -> Iterator[None]:
        """For the time of the block these chunks come in another way: whoever wants them too waits for its end."""
        event = trio.Event()
        keys = [key for index in indexes if (key := (name, index)) not in self._busy]
        self._busy.update(dict.fromkeys(keys, event))
        try:
            yield
        finally:
            for key in keys:
                del self._busy[key]
            event.set()

    async def follow(
        self, name: Digest, total: int, peer: Address, take: Callable[[int, memoryview], object], wanted: range
    ) -> int:
        """Take chunks of an object in the making from the peer that makes it (live.py); over a direct connection only,
        since waiting takes one up. Never raises for what the peer does.

        Args:
            name: the object.
            total: chunks in it.
            take: called in a worker thread with each chunk, unverified, in ascending order; counts it in `received`.
            wanted: the chunks to take.

        Returns:
            The first of them that did not come, or their end.
        """
        here = wanted.start

        def count(index: int, data: memoryview) -> None:
            nonlocal here
            take(index, data)
            here = index + 1

        async def use(link: Link) -> tuple[int, bool]:
            got = await link.run(follow(name, total, count, wanted, self._limits.stall))
            return got, got == wanted.stop

        await self._attempt(peer, use, direct=True)
        return here

    # How

    async def _shared(self, key: object, work: Callable[[], Awaitable[bytes]]) -> bytes:
        """Do the work once for all who want it at the same time. If the one who does it is cancelled, another goes on."""
        while (flight := self._flights.get(key)) is not None:
            await flight.landed.wait()
            if flight.result is not None:
                return flight.result
            if flight.error is not None:
                raise type(flight.error)(Exception.__str__(flight.error), flight.error.mend) from flight.error
        flight = self._flights[key] = _Flight()
        try:
            flight.result = await work()
            return flight.result
        except SwarmError as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.landed.set()

    def _sources(self, prefer: Sequence[Address]) -> list[Address]:
        """Whom to ask, in order: the preferred and the reachable ones, slow ones after the others, liars not at all."""
        bad = self.distrusted()
        order = [peer for peer in dict.fromkeys((*prefer, *self._links.reachable())) if peer not in bad]
        return sorted(order, key=self._slow.__contains__)

    async def _attempt(
        self, peer: Address, use: Callable[[Link], Awaitable[tuple[_T, bool]]], *, direct: bool = False
    ) -> _T | str:
        """Open a link and use it, which tells too whether it can be used again; what went wrong with this peer comes back as
        a string."""
        link: Link | None = None
        reusable = False
        try:
            with trio.fail_after(self._limits.stall):
                link = await self._links.open(peer, direct=direct)
            result, reusable = await use(link)
            self._slow.discard(peer)
            return result
        except (BadMessage, ContentCorrupt) as error:
            _log.warning("%s sent wrong content, asking others: %s", name_of(peer), error)
            self._liars[peer] = trio.current_time() + self._limits.penalty
            return f"sent wrong content ({error})"
        except (trio.TooSlowError, TimeoutError):
            self._slow.add(peer)
            return f"no answer within {self._limits.stall:g} s"
        except (PeerUnreachable, *BROKEN) as error:
            return str(error) or type(error).__name__
        finally:
            if link is not None:
                await link.release(reusable=reusable)

    async def _ask_leaf_list(
        self, name: Digest, chunks: int | None, digest_of: Callable[[bytes], Digest], prefer: Sequence[Address]
    ) -> bytes:
        """Ask one source after the other, the next one already when one takes longer than `hedge`."""
        found: list[bytes] = []
        asked: dict[Address, str] = {}

        async def read(link: Link) -> tuple[bytes | None, bool]:
            return await link.run(leaf_list_of(name, chunks, digest_of, self._limits.stall)), True

        async def ask(peer: Address, over: trio.Event, scope: trio.CancelScope) -> None:
            asked[peer] = "was being asked"
            result = await self._attempt(peer, read)
            if isinstance(result, bytes):
                found.append(result)
                scope.cancel()
            else:
                asked[peer] = result or "does not have it"
            over.set()

        async with trio.open_nursery() as nursery:
            for peer in self._sources(prefer):
                over = trio.Event()
                nursery.start_soon(ask, peer, over, nursery.cancel_scope)
                with trio.move_on_after(self._limits.hedge):
                    await over.wait()
        if not found:
            raise self._unavailable(f"the leaf list of {name.hex()}", asked)
        return found[0]

    async def _pull(self, pull: Pull, prefer: Sequence[Address]) -> None:
        """One pass over all sources for the chunks of a pull, several at a time once one will not do."""
        asked: dict[Address, str] = {}
        one_was_asked = trio.Event()
        sources = iter(self._sources(prefer))
        fatal: list[Exception] = []

        async def lane(scope: trio.CancelScope) -> None:
            for peer in sources:
                asked[peer] = "was being asked"
                try:
                    result = await self._try_lane(pull, peer, has_all=peer in prefer)
                except SwarmError as error:  # of our own store: no other source would help
                    fatal.append(error)
                    scope.cancel()
                    return
                asked[peer] = result if isinstance(result, str) else "had a part" if result else "does not have it"
                one_was_asked.set()
                if pull.finished:
                    # Who waits for nothing ends by itself, and keeps its connection.
                    scope.deadline = min(scope.deadline, trio.current_time() + FAREWELL)
                    break
            one_was_asked.set()  # or nobody is there to be asked

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane, nursery.cancel_scope)
            await self._one_is_not_enough(pull, one_was_asked)
            for _ in range(0 if pull.finished else self._limits.sources - 1):
                nursery.start_soon(lane, nursery.cancel_scope)
        if fatal:
            raise fatal[0]
        if not pull.finished:
            raise self._unavailable(f"{pull.left} chunks of {pull.target.object.hex()}", asked)

    async def _one_is_not_enough(self, pull: Pull, one_was_asked: trio.Event) -> None:
        """Return when the first source was asked in vain, or would need long for what is left."""
        while not one_was_asked.is_set():
            before = pull.left
            with trio.move_on_after(self._limits.spread):
                await one_was_asked.wait()
            if pull.left > LONG * (before - pull.left):
                return

    async def _try_lane(self, pull: Pull, peer: Address, *, has_all: bool) -> bool | str:
        """Use a source, and again when the connection broke after something had come: a chunk that turns out rotten on its
        disk ends one, and so does a restart."""
        while True:
            before = self.received[peer]
            result = await self._attempt(peer, partial(self._use_lane, pull, peer, has_all))
            if not isinstance(result, str) or self.received[peer] == before or pull.finished:
                return result
            if peer in self.distrusted() or peer in self._slow:
                return result

    async def _use_lane(self, pull: Pull, peer: Address, has_all: bool, link: Link) -> tuple[bool, bool]:
        lane = Lane(pull, self._limits, self.arrived, has_all=has_all)
        try:
            return await link.run(lane.run()), lane.settled
        finally:
            self.received[peer] += lane.received

    @staticmethod
    def _unavailable(what: str, asked: dict[Address, str]) -> ContentUnavailable:
        who = "; ".join(f"{name_of(peer)}: {outcome}" for peer, outcome in asked.items()) or "nobody is connected"
        return ContentUnavailable(f"Could not get {what}. Asked: {who}.", "It will be tried again.")
