"""Nodes that are no members: what they get, and that it is nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from swarmp2p.content.unixfs import cid
from swarmp2p.core.errors import ConfigError, ContentUnavailable, PeerUnreachable
from swarmp2p.core.types import CHUNK_SIZE, Address
from swarmp2p.network.host import Libp2pHost, open_host
from swarmp2p.network.interface import Stream
from swarmp2p.peer.ipfs import open_ipfs
from swarmp2p.testing.memory_content import MemoryStore
from tests.content.wire import pattern
from tests.network.test_host import TOPIC, echo, key

OPEN, CLOSED = "/test/open", "/test/echo"


@asynccontextmanager
async def host(name: str) -> AsyncIterator[Libp2pHost]:
    async with open_host(key(name).secret) as opened:
        yield opened


@asynccontextmanager
async def members() -> AsyncIterator[tuple[Libp2pHost, Libp2pHost]]:
    """Two members, connected; the first serves an open and a closed protocol."""
    with trio.fail_after(60):
        async with host("a") as a, host("b") as b:
            for one in (a, b):
                one.set_members(frozenset({a.address, b.address}))
            b.know(a.multiaddrs())
            await a.wait_connected([b.address])
            await b.wait_connected([a.address])

            async def greet(stream: Stream, peer_id: str) -> None:
                await stream.send_all(f"hello {peer_id}".encode())

            a.neighbours.handle(OPEN, greet)
            a.handle(CLOSED, echo)
            yield a, b


async def heard(stream: Stream) -> bytes:
    """All that comes, until the end or a reset."""
    data = b""
    try:
        while piece := await stream.receive_some(1000):
            data += piece
    except trio.BrokenResourceError:
        return data
    return data


async def test_a_stranger_is_let_in_only_where_visitors_are_and_as_many_as_there_may_be() -> None:
    async with members() as (a, _), host("s") as s, host("t") as t:
        for stranger in (s, t):
            with pytest.raises(PeerUnreachable):
                await stranger.neighbours.visit(a.multiaddrs()[0])
        assert a.status().refused >= 2
        a.neighbours.admit_visitors(1)
        await s.neighbours.visit(a.multiaddrs()[0])
        stream = await s.neighbours.open_stream(a.peer_id, OPEN)
        assert await heard(stream) == f"hello {s.peer_id}".encode()
        assert s.peer_id in a.neighbours.connected()
        assert s.address not in a.connected()
        with pytest.raises(PeerUnreachable):
            await t.neighbours.visit(a.multiaddrs()[0])


async def test_when_a_visitor_leaves_another_may_come() -> None:
    async with members() as (a, _), host("t") as t:
        a.neighbours.admit_visitors(1)
        async with host("s") as s:
            await s.neighbours.visit(a.multiaddrs()[0])
            await heard(await s.neighbours.open_stream(a.peer_id, OPEN))
        await a.wait_disconnected(s.address)
        await t.neighbours.visit(a.multiaddrs()[0])
        assert await heard(await t.neighbours.open_stream(a.peer_id, OPEN)) == f"hello {t.peer_id}".encode()


async def test_a_visitor_gets_no_protocol_of_members() -> None:
    async with members() as (a, b), host("s") as s:
        served: list[Address] = []

        async def serve(stream: Stream, peer: Address) -> None:
            served.append(peer)
            await stream.send_all(b"for members")

        a.handle(CLOSED, serve)
        a.neighbours.admit_visitors(1)
        await s.neighbours.visit(a.multiaddrs()[0])
        stream = await s.neighbours.open_stream(a.peer_id, CLOSED)
        assert await heard(stream) == b""
        assert await heard(await b.open_stream(a.address, CLOSED)) == b"for members"
        assert served == [b.address]
        with pytest.raises(PeerUnreachable):
            await a.open_stream(s.address, OPEN)


async def test_a_visitor_neither_hears_nor_is_heard_in_gossip() -> None:
    async with members() as (a, b), host("s") as s:
        inboxes = {one: one.subscribe(TOPIC, lambda author, data: True) for one in (a, b, s)}
        await a.wait_subscribers(TOPIC, [b.address])
        await b.wait_subscribers(TOPIC, [a.address])
        a.neighbours.admit_visitors(1)
        await s.neighbours.visit(a.multiaddrs()[0])
        await heard(await s.neighbours.open_stream(a.peer_id, OPEN))
        await s.publish(TOPIC, b"from a stranger")
        await b.publish(TOPIC, b"from a member")
        assert await inboxes[a].receive() == (b.address, b"from a member")
        await a.publish(TOPIC, b"for members")
        assert await inboxes[b].receive() == (a.address, b"for members")
        # An echo later, whatever had been on its way would be here.
        await heard(await s.neighbours.open_stream(a.peer_id, OPEN))
        for one in inboxes.values():
            with pytest.raises(trio.WouldBlock):
                one.receive_nowait()


async def test_a_visitor_that_becomes_a_member_hears_gossip() -> None:
    async with members() as (a, b), host("s") as s:
        inbox = s.subscribe(TOPIC, lambda author, data: True)
        a.neighbours.admit_visitors(1)
        await s.neighbours.visit(a.multiaddrs()[0])
        a.set_members(frozenset({a.address, b.address, s.address}))
        await a.wait_connected([s.address])
        await a.wait_subscribers(TOPIC, [s.address])
        await a.publish(TOPIC, b"welcome")
        assert await inbox.receive() == (a.address, b"welcome")


async def test_addresses_that_are_none() -> None:
    async with host("a") as a:
        for text in ("", "/ip4/127.0.0.1/tcp/1", f"/p2p/{a.peer_id}", "somewhere"):
            with pytest.raises(ConfigError):
                await a.neighbours.visit(text)


async def test_members_fetch_anything_and_visitors_what_is_public(tmp_path: Path) -> None:
    """Over Bitswap: the same peer, asked for the same files by a member and by a stranger."""
    source = MemoryStore()
    size = 3 * CHUNK_SIZE + 1
    shown, hidden = (source.put(pattern(size, seed)) for seed in (1, 2))
    async with members() as (a, b), host("s") as s, open_ipfs(a, source, visitors=1, public=lambda: {shown.digest}):
        for asking, files in ((b, [shown, hidden]), (s, [shown])):
            sink = MemoryStore()
            async with open_ipfs(asking, sink, visitors=0, public=frozenset) as link:
                assert link is not None
                for file in files:
                    await link.fetch(cid(file.digest, size), a.multiaddrs()[0])
                    assert sink.read(file.digest) == source.read(file.digest)
                if asking is s:
                    with pytest.raises(ContentUnavailable, match="does not have it"):
                        await link.fetch(cid(hidden.digest, size), a.multiaddrs()[0])
            sink.close()
    source.close()
