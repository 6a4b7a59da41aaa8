"""A stream within one process that can break like a connection does."""

import contextlib
from collections.abc import Iterator

import trio
import trio.testing


class MemoryStream:
    """One end; implements `swarmp2p.network.interface.Stream`. Its buffer has no bound: `send_all` never waits long."""

    def __init__(self, stream: "trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]"):
        self._stream = stream
        self._writing = trio.Lock()
        self._broken = self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it."""
        async with self._writing:
            with self._translated():
                await self._stream.send_all(bytes(data))

    async def send_eof(self) -> None:
        """Say that no more will be written."""
        async with self._writing:
            with self._translated():
                await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Between 1 and `max_bytes` bytes, or b"" at the end."""
        with self._translated():
            return bytes(await self._stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        """Close both directions."""
        self._closed = True
        self._stream.send_stream.close()
        self._stream.receive_stream.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def break_off(self) -> None:
        """The connection is gone."""
        self._broken = True
        self._stream.send_stream.close()
        self._stream.receive_stream.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        if self._closed:
            raise trio.ClosedResourceError("this stream is closed")
        if self._broken:
            raise trio.BrokenResourceError("the connection is gone")
        try:
            yield
        except trio.ClosedResourceError:
            if self._closed:
                raise
            raise trio.BrokenResourceError("the connection is gone") from None


def memory_stream_pair() -> tuple[MemoryStream, MemoryStream]:
    """Both ends of a new stream."""
    one, other = trio.testing.memory_stream_pair()
    return MemoryStream(one), MemoryStream(other)
