"""py-libp2p's streams in the shape of trio's: whole writes, one kind of error."""

import contextlib
from collections.abc import Iterator
from typing import Any

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.stream.exceptions import StreamClosed, StreamEOF
from libp2p.network.stream.net_stream import NetStream

PIECE = 64 * 1024
"""Bytes that one write of py-libp2p sends whole; larger ones can be mixed with another task's (notes of 0.8.1)."""


WINDOW_POLL = 0.005
"""Seconds between two looks at a window that is used up: py-libp2p announces no grants."""


class Libp2pStream:
    """Implements `interface.Stream`."""

    def __init__(self, stream: NetStream) -> None:
        self._stream = stream
        self._writing = trio.Lock()
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it."""
        async with self._writing:
            rest = memoryview(data).cast("B")
            while rest:
                with self._translated():
                    size = min(PIECE, await self._room())
                    await self._stream.write(bytes(rest[:size]))
                rest = rest[size:]

    async def _room(self) -> int:
        """Wait until the other side grants bytes, however long: py-libp2p itself resets a stream whose reader pauses
        for 5 seconds, which a full disk or a long computation can make an honest one do."""
        muxed: Any = self._stream.muxed_stream
        while muxed.send_window <= 0 and not muxed.send_closed and not muxed.closed and not self._closed:
            await trio.sleep(WINDOW_POLL)
        return max(1, int(muxed.send_window))

    async def send_eof(self) -> None:
        """Close the writing direction."""
        async with self._writing:
            with self._translated():
                await self._stream.close_write()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Between 1 and `max_bytes` bytes, or b"" at the end."""
        if self._closed:
            raise trio.ClosedResourceError("this stream is closed")
        try:
            with self._translated():
                return bytes(await self._stream.read(max_bytes or PIECE))
        except _EndOfStreamError:
            return b""

    async def aclose(self) -> None:
        """Close both directions; a stream that cannot be closed in order, or not in time, is reset."""
        if self._closed:
            return
        self._closed = True
        gone = contextlib.suppress(BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)
        with trio.CancelScope(shield=True), trio.move_on_after(1.0) as patience, gone:
            await self._stream.close()
        if patience.cancelled_caught:
            with trio.CancelScope(shield=True), trio.move_on_after(1.0), gone:
                await self._stream.reset()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        if self._closed:
            raise trio.ClosedResourceError("this stream is closed")
        try:
            yield
        except StreamEOF:
            raise _EndOfStreamError from None
        except StreamClosed as error:
            raise trio.BrokenResourceError(f"the stream is closed: {error}") from error
        except (BaseLibp2pError, OSError, EOFError) as error:
            raise trio.BrokenResourceError(f"{type(error).__name__}: {error}") from error


class _EndOfStreamError(trio.BrokenResourceError):
    """The other side has written its last."""
