"""The serving side of the content exchange: answers the streams that members open (frames.py)."""

import logging
from collections import Counter

import trio

from swarmp2p.content.frames import (
    LEAVES_PER_FRAME,
    MAX_REQUEST,
    NOTHING,
    BadFrame,
    FrameReader,
    Kind,
    frame,
    number,
    parse_request,
)
from swarmp2p.content.interface import ContentStore, Stream
from swarmp2p.content.offload import BROKEN, Offload, close_stream, name_of, threads
from swarmp2p.content.unixfs import HASH_SIZE
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import Address, Digest

_log = logging.getLogger(__name__)
_READ_AHEAD = 4
"""Chunks read from disk in one go: a megabyte, so that hopping to a thread costs little."""


class Server:
    """Serves whatever the store holds, whole or in parts, to whoever has a stream: admitting only members is the
    network's part.

    Args:
        store: read in worker threads.
        idle_timeout: seconds that a stream may be silent between two requests.
        send_timeout: seconds that the other side may take to accept a megabyte.
        streams_per_peer: more streams than this from one peer are closed at once.
        offload: how blocking calls run; tests with a fake clock run them inline.
    """

    def __init__(
        self,
        store: ContentStore,
        *,
        idle_timeout: float = 120.0,
        send_timeout: float = 60.0,
        streams_per_peer: int = 32,
        offload: Offload | None = None,
    ) -> None:
        self._store = store
        self._idle_timeout = idle_timeout
        self._send_timeout = send_timeout
        self._streams_per_peer = streams_per_peer
        self._offload = offload or threads(8)
        self._streams: Counter[Address] = Counter()

    async def serve(self, stream: Stream, peer: Address) -> None:
        """Answer one inbound stream until it ends. Never raises for what the peer does: garbage, silence and a broken
        stream end this stream only, with a line in the log. The stream is closed on return."""
        self._streams[peer] += 1
        try:
            if self._streams[peer] > self._streams_per_peer:
                raise BadFrame(f"more than {self._streams_per_peer} streams at once")
            await self._answer_all(stream)
        except BadFrame as error:
            _log.warning("refused a content stream of %s: %s", name_of(peer), error)
        except trio.TooSlowError:
            _log.info("closed a content stream of %s that was idle or stuck", name_of(peer))
        except BROKEN as error:
            _log.debug("content stream of %s broke: %s", name_of(peer), error)
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]
            await close_stream(stream)

    async def _answer_all(self, stream: Stream) -> None:
        reader = FrameReader(stream, MAX_REQUEST)
        while True:
            with trio.fail_after(self._idle_timeout):
                request = await reader.read()
            if request is None:
                return
            kind, body = request
            name, first, count = parse_request(kind, body)
            if kind is Kind.LEAVES:
                await self._send_leaf_list(stream, name)
            elif kind is Kind.HAVE:
                await self._send_held(stream, name)
            else:
                for at in range(first, first + count, _READ_AHEAD):
                    await self._send_chunks(stream, name, range(at, min(at + _READ_AHEAD, first + count)))

    async def _send(self, stream: Stream, *frames: bytes) -> None:
        with trio.fail_after(self._send_timeout):
            for data in frames:
                await stream.send_all(data)

    async def _send_leaf_list(self, stream: Stream, name: Digest) -> None:
        leaf_list = await self._offload(self._store.leaf_list, name)
        if leaf_list is None:
            await self._send(stream, frame(Kind.ABSENT, number(NOTHING)))
            return
        total = number(len(leaf_list) // HASH_SIZE)
        step = LEAVES_PER_FRAME * HASH_SIZE
        for at in range(0, len(leaf_list), step):
            await self._send(stream, frame(Kind.LIST, total, leaf_list[at : at + step]))

    async def _send_held(self, stream: Stream, name: Digest) -> None:
        held, leaf_list = await self._offload(self._held, name)
        if held is None or leaf_list is None:
            await self._send(stream, frame(Kind.ABSENT, number(NOTHING)))
        else:
            await self._send(stream, frame(Kind.HELD, number(len(leaf_list) // HASH_SIZE), held))

    def _held(self, name: Digest) -> tuple[bytes | None, bytes | None]:
        return self._store.held(name), self._store.leaf_list(name)

    async def _send_chunks(self, stream: Stream, name: Digest, indexes: range) -> None:
        await self._send(stream, *await self._offload(self._chunk_frames, name, indexes))

    def _chunk_frames(self, name: Digest, indexes: range) -> list[bytes]:
        """The answers for these chunks; blocking. A chunk that cannot be read, for whatever reason, is absent."""
        frames = []
        for index in indexes:
            try:
                frames.append(frame(Kind.CHUNK, number(index), self._store.read_chunk(name, index)))
            except (ContentUnavailable, ContentCorrupt):
                frames.append(frame(Kind.ABSENT, number(index)))
            except OSError as error:
                _log.error("cannot read chunk %d of %s: %s", index, name.hex(), error)
                frames.append(frame(Kind.ABSENT, number(index)))
        return frames
