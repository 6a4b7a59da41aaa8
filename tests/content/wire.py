"""Peers of the content exchange joined by memory streams, and sources that misbehave."""

from collections.abc import Awaitable, Callable, Mapping

import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair

from swarmp2p.content.interface import Stream
from swarmp2p.core.types import Address

ORIGIN, OTHER, THIRD = (bytes([i]) * 20 for i in (1, 2, 3))

Serve = Callable[[Stream, Address], Awaitable[None]]


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes that differ from chunk to chunk, quickly made and the same everywhere."""
    block = b"".join(((i * 2654435761 + seed) & 0xFFFFFFFF).to_bytes(4, "little") for i in range(1021))
    return (block * (size // len(block) + 1))[:size]


class End:
    """One end of a memory stream, as `Stream` states it."""

    def __init__(self, stream: trio.StapledStream[MemorySendStream, MemoryReceiveStream]) -> None:
        self._stream = stream

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive_some(self, max_bytes: int) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


def pair() -> tuple[End, End]:
    """Two ends, joined."""
    ours, theirs = memory_stream_pair()
    return End(ours), End(theirs)


class Memory:
    """A `Carrier` to peers in this process; counts the streams opened to each."""

    def __init__(self, nursery: trio.Nursery, peers: Mapping[Address, Serve], me: Address = b"\0" * 20) -> None:
        self._nursery = nursery
        self.peers = dict(peers)
        self.opened: list[Address] = []
        self._me = me

    async def open(self, peer: Address) -> Stream:
        serve = self.peers.get(peer)
        if serve is None:
            raise ConnectionRefusedError("nobody there")
        self.opened.append(peer)
        ours, theirs = pair()
        self._nursery.start_soon(serve, theirs, self._me)
        return ours

    def reachable(self) -> list[Address]:
        return sorted(self.peers)


class Tampering:
    """A stream whose outgoing frames pass through a function; None ends the stream."""

    def __init__(self, stream: Stream, change: Callable[[bytes], bytes | None]) -> None:
        self._stream = stream
        self._change = change

    async def send_all(self, data: bytes) -> None:
        changed = self._change(data)
        if changed is None:
            await self._stream.aclose()
            raise trio.BrokenResourceError("died on purpose")
        await self._stream.send_all(changed)

    async def receive_some(self, max_bytes: int) -> bytes:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


def tampered(serve: Serve, change: Callable[[bytes], bytes | None]) -> Serve:
    """A server whose answers are changed on the way."""

    async def serve_changed(stream: Stream, peer: Address) -> None:
        await serve(Tampering(stream, change), peer)

    return serve_changed


async def silent(stream: Stream, peer: Address) -> None:
    """A source that takes requests and never answers."""
    while await stream.receive_some(1000):
        continue
