"""The libp2p host on loopback: gossip, streams, the gate, and strangers who send garbage."""

import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio
from multiaddr import Multiaddr

from swarmp2p.core.errors import ConfigError, PeerUnreachable, PortInUse
from swarmp2p.core.types import Address
from swarmp2p.identity import Key
from swarmp2p.network.host import Libp2pHost, open_host
from swarmp2p.network.interface import Stream
from swarmp2p.network.peer_ids import address_of_peer, peer_id_of
from swarmp2p.testing.network_checks import check_host

TOPIC = "/swarmp2p/1/1/0x00/test"
SEED = 20_261_126


def key(name: str) -> Key:
    return Key.from_seed(f"host test {name}")


@asynccontextmanager
async def hosts(count: int) -> AsyncIterator[list[Libp2pHost]]:
    """Hosts that know the first one, each connected to it."""
    with trio.fail_after(60):
        async with AsyncExitStack() as stack:
            made = [await stack.enter_async_context(open_host(key(str(i)).secret)) for i in range(count)]
            for host in made[1:]:
                host.know(made[0].multiaddrs())
            await made[0].wait_connected([host.address for host in made[1:]])
            for host in made[1:]:
                await host.wait_connected([made[0].address])
            yield made


async def echo(stream: Stream, _: Address) -> None:
    while data := await stream.receive_some(65_536):
        await stream.send_all(data)


async def converse(host: Libp2pHost, peer: Address, data: bytes) -> bytes:
    """What an echo at the other end makes of it."""
    stream = await host.open_stream(peer, "/test/echo")
    received = bytearray()

    async def send() -> None:
        await stream.send_all(data)
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while piece := await stream.receive_some(65_536):
            received += piece
    await stream.aclose()
    return bytes(received)


async def test_it_does_what_a_host_has_to() -> None:
    await check_host(open_host)


async def test_gossip_reaches_all_with_its_author() -> None:
    async with hosts(3) as (a, b, c):
        inboxes = {host: host.subscribe(TOPIC, lambda author, data: data != b"refuse me") for host in (a, b, c)}
        await a.wait_subscribers(TOPIC, [b.address, c.address])
        await b.wait_subscribers(TOPIC, [a.address])
        await b.publish(TOPIC, b"hello")
        assert await inboxes[a].receive() == (b.address, b"hello")
        assert await inboxes[c].receive() == (b.address, b"hello")
        await c.wait_subscribers(TOPIC, [a.address])
        await c.publish(TOPIC, b"refuse me")
        await c.publish(TOPIC, b"and then this")
        assert await inboxes[a].receive() == (c.address, b"and then this")
        with pytest.raises(ValueError, match="above the limit"):
            await a.publish(TOPIC, bytes(40_000))


async def test_large_streams_both_ways_at_once_arrive_whole() -> None:
    print("seed", SEED)
    data = [random.Random(SEED + i).randbytes(4 << 20) for i in range(2)]
    async with hosts(2) as (a, b):
        a.handle("/test/echo", echo)
        b.handle("/test/echo", echo)
        answers: dict[int, bytes] = {}

        async def talk(number: int, host: Libp2pHost, peer: Address) -> None:
            answers[number] = await converse(host, peer, data[number])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, 0, a, b.address)
            nursery.start_soon(talk, 1, b, a.address)
        assert [answers[0], answers[1]] == data


async def test_a_handler_that_fails_ends_only_its_stream() -> None:
    async with hosts(2) as (a, b):
        a.handle("/test/echo", echo)

        async def fail(stream: Stream, _: Address) -> None:
            raise RuntimeError("a bug")

        a.handle("/test/bug", fail)
        stream = await b.open_stream(a.address, "/test/bug")
        with suppress(trio.BrokenResourceError):
            assert await stream.receive_some(1) == b""
        await stream.aclose()
        assert await converse(b, a.address, b"still there?") == b"still there?"
        with pytest.raises(PeerUnreachable):
            await b.open_stream(a.address, "/test/unknown")
        with pytest.raises(PeerUnreachable, match="not connected"):
            await b.open_stream(bytes(20), "/test/echo")


@pytest.mark.parametrize("protocol", ["/meshsub/1.2.0", "/meshsub/1.0.0", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"])
async def test_garbage_on_a_protocol_leaves_the_host_alive(protocol: str) -> None:
    print("seed", SEED)
    chance = random.Random(SEED)
    async with hosts(3) as (a, b, c):
        inbox = a.subscribe(TOPIC, lambda author, data: True)
        c.subscribe(TOPIC, lambda author, data: True)
        a.handle("/test/echo", echo)
        for garbage in (
            b"\x05hello",
            b"\xff" * 64,
            chance.randbytes(2_000),
            b"\x80\x80\x80\x80\x80\x80\x01" + bytes(99),
        ):
            try:
                stream = await b.open_stream(a.address, protocol)
                await stream.send_all(garbage)
                await stream.aclose()
            except (PeerUnreachable, trio.BrokenResourceError):
                pass
        assert await converse(c, a.address, b"alive") == b"alive"
        await c.wait_subscribers(TOPIC, [a.address])
        await c.publish(TOPIC, b"gossip too")
        assert await inbox.receive() == (c.address, b"gossip too")


async def test_garbage_on_the_port_leaves_the_host_alive() -> None:
    print("seed", SEED)
    chance = random.Random(SEED)
    async with hosts(2) as (a, b):
        a.handle("/test/echo", echo)
        port = int(str(Multiaddr(a.multiaddrs()[0]).value_for_protocol("tcp")))
        for _ in range(50):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            with suppress(trio.BrokenResourceError):
                await stream.send_all(chance.randbytes(chance.randrange(1, 300)))
            await stream.aclose()
        assert await converse(b, a.address, b"alive") == b"alive"


async def test_the_gate_refuses_strangers_and_cuts_who_was_expelled() -> None:
    async with hosts(2) as (a, b):
        member = frozenset([b.address])
        a.set_members(member)
        async with open_host(key("stranger").secret) as stranger:
            stranger.know(a.multiaddrs())
            while not a.status().refused:
                await trio.lowlevel.checkpoint()
                with trio.move_on_after(0.05):
                    await trio.sleep_forever()
            assert stranger.address not in a.connected()
        assert b.address in a.connected()
        a.set_members(frozenset())
        await a.wait_disconnected(b.address)


async def test_a_peer_that_starts_later_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    late = key("late")
    where = f"/ip4/127.0.0.1/tcp/{port}"
    with trio.fail_after(40):
        async with open_host(key("early").secret) as early:
            early.know([f"{where}/p2p/{peer_id_of(late.public)}"])
            while not early.status().targets[0].attempts:
                with trio.move_on_after(0.05):
                    await trio.sleep_forever()
            assert early.status().targets[0].problem
            async with open_host(late.secret, [where]):
                await early.wait_connected([late.address])


async def test_plaintext_is_not_spoken() -> None:
    async with hosts(2) as (a, _):
        port = int(str(Multiaddr(a.multiaddrs()[0]).value_for_protocol("tcp")))
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        for line in (b"/multistream/1.0.0\n", b"/plaintext/2.0.0\n"):
            await stream.send_all(bytes([len(line)]) + line)
        heard = b""
        while b"\n" not in heard[20:] and (piece := await stream.receive_some(100)):
            heard += piece
        assert b"/multistream/1.0.0" in heard
        assert b"plaintext" not in heard
        await stream.aclose()


async def test_bad_addresses_are_named() -> None:
    for listen in ("", "localhost:4001", "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/192.0.2.7/tcp/0"):
        with pytest.raises(ConfigError):
            async with open_host(key("x").secret, [listen]):
                raise AssertionError
    async with open_host(key("x").secret) as host:
        taken = host.multiaddrs()[0].split("/p2p/", maxsplit=1)[0]
        with pytest.raises(PortInUse, match="in use"):
            async with open_host(key("y").secret, [taken]):
                raise AssertionError
        for wrong in (
            "nonsense",
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
        ):
            with pytest.raises(ConfigError):
                host.know([wrong])


async def test_cancelling_leaves_the_host_usable() -> None:
    async with hosts(2) as (a, b):
        a.handle("/test/echo", echo)
        work: list[Callable[[], Awaitable[object]]] = [
            lambda: b.open_stream(a.address, "/test/echo"),
            lambda: b.publish(TOPIC, b"x"),
            lambda: converse(b, a.address, bytes(100_000)),
        ]
        for job in work:
            with trio.CancelScope() as scope:
                scope.cancel()
                await job()
        assert await converse(b, a.address, b"alive") == b"alive"


def test_a_peer_id_names_its_address() -> None:
    secret = key("a")
    assert address_of_peer(peer_id_of(secret.public)) == secret.address
