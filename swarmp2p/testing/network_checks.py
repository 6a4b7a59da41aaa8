"""What every implementation of the network's surface has to do; run on the libp2p host and on the one in memory."""

from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

import trio

from swarmp2p.core.errors import ConfigError, PeerUnreachable
from swarmp2p.core.types import Address
from swarmp2p.identity import Key
from swarmp2p.network.interface import MAX_MESSAGE, Host, OpenHost, Stream

TOPIC = "/swarmp2p/1/1/0x00/check"
PATIENCE = 30.0
"""Seconds, after which a check has failed."""


async def check_host(make: OpenHost) -> None:
    """Check an implementation of `swarmp2p.network.interface.Host`.

    Args:
        make: opens a host with a 32-byte secret; all that it opens must be able to reach each other.

    Raises:
        AssertionError: it does not do what the interface says.
        trio.TooSlowError: it did not do it within PATIENCE.
    """
    for check in (_gossip, _full_inbox, _streams, _failing_handlers, _gate, _addresses):
        with trio.fail_after(PATIENCE):
            async with AsyncExitStack() as stack:
                a, b, c = [await stack.enter_async_context(make(_secret(name))) for name in "abc"]
                b.know(a.multiaddrs())
                c.know(a.multiaddrs())
                await a.wait_connected([b.address, c.address])
                await b.wait_connected([a.address])
                await c.wait_connected([a.address])
                await check(a, b, c)
    with trio.fail_after(PATIENCE):
        await _restart(make)


def _secret(name: str) -> bytes:
    return Key.from_seed(f"network check {name}").secret


async def _gossip(a: Host, b: Host, c: Host) -> None:
    def validate(author: Address, data: bytes) -> bool:
        if data == b"fail":
            raise LookupError("a validator with a bug")
        return data != b"refuse"

    inboxes = {host: host.subscribe(TOPIC, validate) for host in (a, b, c)}
    await a.wait_subscribers(TOPIC, [b.address, c.address])
    for host in (b, c):
        await host.wait_subscribers(TOPIC, [a.address])
    for author, others in ((a, (b, c)), (b, (a, c)), (c, (a, b))):
        for data in (b"refuse", b"fail", b"", b"taken", bytes(MAX_MESSAGE)):
            await author.publish(TOPIC, data)
        for host in others:
            got = {await inboxes[host].receive() for _ in range(3)}
            assert got == {(author.address, data) for data in (b"", b"taken", bytes(MAX_MESSAGE))}, "wrong messages"
    await _refuses(ValueError, a.publish, TOPIC, bytes(MAX_MESSAGE + 1))
    try:
        a.subscribe(TOPIC, validate)
    except ValueError:
        pass
    else:
        raise AssertionError("subscribed twice")


async def _full_inbox(a: Host, b: Host, c: Host) -> None:
    inbox = a.subscribe(TOPIC, lambda author, data: True, capacity=2)
    b.subscribe(TOPIC, lambda author, data: True)
    await b.wait_subscribers(TOPIC, [a.address])
    for number in range(5):
        before = a.status().dropped
        await b.publish(TOPIC, bytes([number]))
        while inbox.statistics().current_buffer_used < min(number + 1, 2) or (
            number >= 2 and a.status().dropped == before
        ):
            await trio.sleep(0.01)
    assert [(await inbox.receive())[1] for _ in range(2)] == [b"\x03", b"\x04"], "not the oldest were dropped"
    assert a.status().dropped == 3


async def _streams(a: Host, b: Host, c: Host) -> None:
    async def echo(stream: Stream, peer: Address) -> None:
        assert peer == b.address
        while data := await stream.receive_some(10_000):
            await stream.send_all(data)

    a.handle("/check/echo", echo)
    sent = bytes(range(256)) * 4_000
    stream = await b.open_stream(a.address, "/check/echo")

    async def send() -> None:
        await stream.send_all(sent)
        await stream.send_eof()

    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while piece := await stream.receive_some(70_000):
            assert len(piece) <= 70_000
            received += piece
    assert received == sent, "a stream changed what it carried"
    assert await stream.receive_some(1) == b"", "the end of a stream is not its end"
    await stream.aclose()
    await stream.aclose()
    await _refuses(trio.ClosedResourceError, stream.send_all, b"x")
    await _refuses(trio.ClosedResourceError, stream.receive_some, 1)
    await _refuses(PeerUnreachable, b.open_stream, a.address, "/check/unknown")
    await _refuses(PeerUnreachable, b.open_stream, bytes(20), "/check/echo")


async def _failing_handlers(a: Host, b: Host, c: Host) -> None:
    async def fail(stream: Stream, peer: Address) -> None:
        raise LookupError("a handler with a bug")

    async def answer(stream: Stream, peer: Address) -> None:
        await stream.send_all(peer)

    a.handle("/check/answer", fail)
    stream = await b.open_stream(a.address, "/check/answer")
    with suppress(trio.BrokenResourceError):
        assert await stream.receive_some(1) == b""
    await stream.aclose()
    a.handle("/check/answer", answer)
    for host in (b, c):
        stream = await host.open_stream(a.address, "/check/answer")
        assert await stream.receive_some(20) == host.address
        await stream.aclose()


async def _gate(a: Host, b: Host, c: Host) -> None:
    async def hold(stream: Stream, peer: Address) -> None:
        await trio.sleep_forever()

    a.handle("/check/hold", hold)
    stream = await c.open_stream(a.address, "/check/hold")
    a.set_members(frozenset([b.address]))
    await a.wait_disconnected(c.address)
    await c.wait_disconnected(a.address)
    with suppress(trio.BrokenResourceError):
        assert await stream.receive_some(1) == b"", "a stream outlived its connection"
    await stream.aclose()
    assert a.connected() == {b.address}
    await _refuses(PeerUnreachable, c.open_stream, a.address, "/check/hold")
    while not a.status().refused:
        await trio.sleep(0.01)
    a.set_members(None)
    await c.wait_connected([a.address])
    await a.wait_connected([c.address])


async def _addresses(a: Host, b: Host, c: Host) -> None:
    for multiaddr in a.multiaddrs():
        assert multiaddr.endswith(f"/p2p/{a.peer_id}")
    a.know(a.multiaddrs())
    assert not a.status().targets, "a host dials itself"
    (target,) = b.status().targets
    assert target.address == a.address
    assert target.connected
    try:
        b.know([*c.multiaddrs(), "nonsense"])
    except ConfigError as error:
        if not error.mend:
            raise AssertionError("a wrong address without its mend") from error
    else:
        raise AssertionError("nonsense is taken for an address")
    assert len(b.status().targets) == 1, "an address was added beside a wrong one"
    b.know(c.multiaddrs())
    await b.wait_connected([c.address])
    b.forget(c.address)
    assert [target.address for target in b.status().targets] == [a.address]
    assert c.address in b.connected()


async def _restart(make: OpenHost) -> None:
    """A peer that ends is noticed; one that comes back and dials is connected again."""
    async with make(_secret("a")) as a:
        for _ in range(2):
            async with make(_secret("b")) as b:
                b.know(a.multiaddrs())
                await a.wait_connected([b.address])
            await a.wait_disconnected(b.address)


async def _refuses(error: type[Exception], call: Callable[..., object], *args: object) -> None:
    try:
        await call(*args)  # type: ignore[misc]
    except error:
        return
    raise AssertionError(f"no {error.__name__}")
