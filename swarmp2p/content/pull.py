"""Pulling chunks of one object from several sources at once: who is asked for which chunk.

`Pull` is the shared state of one pass; `Lane` is one stream to one source. A source keeps its stream until everything is
here, so that it can take over what another source leaves behind.
"""

from collections import deque
from dataclasses import dataclass

import trio

from swarmp2p.content.frames import (
    MAX_ANSWER,
    NOTHING,
    BadFrame,
    FrameReader,
    Kind,
    chunks_request,
    frame,
    index_of,
)
from swarmp2p.content.interface import Stream, Target
from swarmp2p.content.offload import Offload
from swarmp2p.content.unixfs import HASH_SIZE
from swarmp2p.core.errors import ContentCorrupt


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, the rest in chunks.

    Attributes:
        stall: a source that sends no whole answer for this long is given up. With frames of 256 KiB and the default,
            that is one slower than 50 kB/s.
        hedge: after this time an idle source is asked for what another one was asked for before.
        window: chunks asked for and not yet on disk, per source; memory is this times 256 KiB.
        run: chunks in one request.
        sources: sources used at the same time.
        penalty: how long a source that lied is not asked again.
    """

    stall: float = 5.0
    hedge: float = 1.0
    window: int = 32
    run: int = 8
    sources: int = 4
    penalty: float = 600.0


class Pull:
    """Which chunks are still wanted, and when each was last asked for."""

    def __init__(self, target: Target, indexes: list[int]) -> None:
        self.target = target
        self.total = len(target.leaf_list) // HASH_SIZE
        self._pending = sorted(indexes)
        self._asked: dict[int, list[float]] = {}
        self._wanted = set(indexes)
        self._changed = trio.Event()

    @property
    def finished(self) -> bool:
        return not self._wanted

    @property
    def left(self) -> int:
        """Chunks still wanted."""
        return len(self._wanted)

    def wants_any_of(self, available: set[int]) -> bool:
        """Whether a source with these chunks may still be of use."""
        return not self._wanted.isdisjoint(available)

    def take(self, available: set[int], mine: set[int], count: int, hedge: float) -> range:
        """The next run of chunks to ask a source for: what nobody was asked for, else what another source has owed for
        `hedge` seconds. Empty if there is nothing. `mine`: what this source itself owes already."""
        run: list[int] = []
        for index in self._pending:
            if run and (index != run[-1] + 1 or len(run) == count):
                break
            if index in available:
                run.append(index)
        if not run:
            late = trio.current_time() - hedge
            overdue = sorted(i for i, times in self._asked.items() if len(times) == 1 and times[0] <= late)
            run = [i for i in overdue if i in available and i not in mine][:1]
        taken = set(run)
        self._pending = [i for i in self._pending if i not in taken]
        for index in run:
            self._asked.setdefault(index, []).append(trio.current_time())
        return range(run[0], run[-1] + 1) if run else range(0)

    def give_back(self, index: int) -> None:
        """A source will not deliver this chunk."""
        times = self._asked.get(index)
        if times is None:
            return
        times.pop()
        if not times:
            del self._asked[index]
            self._pending = sorted({*self._pending, index})
        self._notify()

    def done(self, index: int) -> None:
        """A chunk is on disk."""
        self._wanted.discard(index)
        self._asked.pop(index, None)
        if index in self._pending:
            self._pending.remove(index)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_changed(self, timeout: float) -> None:
        """Until a chunk is done or given back, at most `timeout` seconds."""
        with trio.move_on_after(timeout):
            await self._changed.wait()


class Lane:
    """One source of one pull.

    Raises, from `run`: BadFrame or ContentCorrupt (the source lies), trio.TooSlowError (it stalls), OSError and trio's
    stream errors (it is gone), and whatever the target raises for reasons of its own (QuotaExceeded,
    ContentUnavailable).
    """

    def __init__(self, pull: Pull, stream: Stream, limits: Limits, offload: Offload) -> None:
        self._pull = pull
        self._stream = stream
        self._limits = limits
        self._offload = offload
        self._reader = FrameReader(stream, MAX_ANSWER)
        self._available: set[int] = set()
        self._owed: deque[int] = deque()
        self._unwritten: set[int] = set()
        self._failure: Exception | None = None
        self.delivered = 0
        self.received = 0

    async def run(self) -> bool:
        """Pull until nothing is left that this source has. False if it had none of what is wanted."""
        await self._ask_what_is_there()
        if not self._pull.wants_any_of(self._available):
            return False
        # Reading never waits for the disk: a source whose reader pauses would be cut off by the connection below.
        send, receive = trio.open_memory_channel[tuple[int, bytes]](self._limits.window)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, receive, nursery.cancel_scope)
                async with send:
                    try:
                        await self._read(send)
                    except Exception as error:  # carried out of the nursery, which would wrap it in a group
                        self._failure = self._failure or error
        finally:
            for index in [*self._owed, *self._unwritten]:
                self._pull.give_back(index)
        if self._failure is not None:
            raise self._failure
        return True

    async def _ask_what_is_there(self) -> None:
        await self._send(frame(Kind.HAVE, self._pull.target.object))
        kind, body = await self._next()
        if kind is Kind.ABSENT and index_of(body) == NOTHING:
            return
        bitmap = body[4:]
        if kind is not Kind.HELD or index_of(body) != self._pull.total or len(bitmap) != -(-self._pull.total // 8):
            raise BadFrame(
                f"{kind.name} of {len(body)} bytes does not say which of {self._pull.total} chunks are there"
            )
        self._available = {i for i in range(self._pull.total) if bitmap[i // 8] >> i % 8 & 1}

    async def _read(self, send: trio.MemorySendChannel[tuple[int, bytes]]) -> None:
        while self._pull.wants_any_of(self._available):
            await self._request()
            if not self._owed:
                await self._pull.wait_changed(self._limits.hedge)
                continue
            kind, body = await self._next()
            index = index_of(body)
            if index != self._owed[0] or kind not in (Kind.CHUNK, Kind.ABSENT):
                raise BadFrame(f"{kind.name} {index} where chunk {self._owed[0]} was asked for")
            self._owed.popleft()
            if kind is Kind.ABSENT:
                self._available.discard(index)
                self._pull.give_back(index)
            else:
                self._unwritten.add(index)
                await send.send((index, body[4:]))

    async def _request(self) -> None:
        while (free := self._limits.window - len(self._owed) - len(self._unwritten)) > 0:
            mine = {*self._owed, *self._unwritten}
            run = self._pull.take(self._available, mine, min(free, self._limits.run), self._limits.hedge)
            if not run:
                return
            self._owed.extend(run)
            await self._send(chunks_request(self._pull.target.object, run.start, len(run)))

    async def _write(self, receive: trio.MemoryReceiveChannel[tuple[int, bytes]], scope: trio.CancelScope) -> None:
        async with receive:
            async for index, data in receive:
                try:
                    await self._offload(self._pull.target.write_chunk, index, data)
                except Exception as error:  # carried out of the nursery, as above
                    self._failure = ContentCorrupt(str(error)) if isinstance(error, ValueError) else error
                    scope.cancel()
                    return
                self._unwritten.discard(index)
                self.delivered += 1
                self.received += len(data)
                self._pull.done(index)

    async def _send(self, data: bytes) -> None:
        with trio.fail_after(self._limits.stall):
            await self._stream.send_all(data)

    async def _next(self) -> tuple[Kind, bytes]:
        with trio.fail_after(self._limits.stall):
            answer = await self._reader.read()
        if answer is None:
            raise ConnectionError("closed the stream")
        return answer
