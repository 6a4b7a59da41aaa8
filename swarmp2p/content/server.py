"""Serves objects of a store to other members."""

import logging

import trio

from swarmp2p.content.framing import (
    BROKEN,
    EndOfRequests,
    Kind,
    Request,
    receive_request,
    send_frame,
)
from swarmp2p.content.interface import ContentStore, Stream
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import Address

_log = logging.getLogger(__name__)

IDLE_TIMEOUT = 60.0
"""Seconds that a client may say nothing."""
SEND_TIMEOUT = 30.0
"""Seconds to get one frame of at most 256 KiB (or a leaf list) rid of: slower is a stalled client."""
MAX_STREAMS = 64
"""Streams served at once, and of one member a quarter of these."""


class Server:
    """Answers requests; `serve` handles one incoming stream."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._streams: dict[Address, int] = {}

    async def serve(self, stream: Stream, peer: Address) -> None:
        """Until the client ends, goes silent, or sends what is no request. Closes the stream."""
        mine = self._streams.get(peer, 0)
        if mine >= MAX_STREAMS // 4 or sum(self._streams.values()) >= MAX_STREAMS:
            _log.info("refused a content stream of 0x%s: too many", peer.hex())
            await stream.aclose()
            return
        self._streams[peer] = mine + 1
        try:
            while True:
                with trio.fail_after(IDLE_TIMEOUT):
                    request = await receive_request(stream)
                await self._answer(stream, request)
        except EndOfRequests:
            pass
        except (ContentCorrupt, trio.TooSlowError, *BROKEN) as error:
            _log.info("ended a content stream of 0x%s: %s", peer.hex(), error or "too slow")
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]
            await stream.aclose()

    async def _answer(self, stream: Stream, request: Request) -> None:
        if request.kind is Kind.CHUNKS:
            for index in range(request.first, request.first + request.count):
                data = await self._chunk(request.name, index)
                with trio.fail_after(SEND_TIMEOUT):
                    await send_frame(stream, data)
                if data is None:
                    return
            return
        look_up = self._store.leaf_list if request.kind is Kind.LEAVES else self._store.held
        found = await trio.to_thread.run_sync(look_up, request.name)
        with trio.fail_after(SEND_TIMEOUT):
            await send_frame(stream, found)

    async def _chunk(self, name: bytes, index: int) -> bytes | None:
        try:
            return await trio.to_thread.run_sync(self._store.read_chunk, name, index)
        except ContentUnavailable:
            return None
        except ContentCorrupt as error:
            _log.warning("%s", error)
            return None
