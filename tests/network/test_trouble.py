"""What breaks a host of py-libp2p as it comes: each was seen before it was mended (see hardening.py)."""

import logging
import random
import socket
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.pubsub.pb import rpc_pb2
from libp2p.tools.anyio_service import Service

from swarmp2p.core.types import Address
from swarmp2p.identity import Key
from swarmp2p.network.gossip import HEARTBEAT
from swarmp2p.network.hardening import AFTERGLOW, SILENCE, contained_service, notice_silence
from swarmp2p.network.host import Libp2pHost, open_host
from swarmp2p.network.interface import Stream
from swarmp2p.network.peer_ids import peer_id_of
from tests.network.test_host import SEED, TOPIC, converse, echo, hosts, key


async def reconnect(a: Libp2pHost, b: Libp2pHost) -> None:
    """Cut b's connections and wait until it has dialled again."""
    a.set_members(frozenset())
    await a.wait_disconnected(b.address)
    await b.wait_disconnected(a.address)
    a.set_members(None)
    await b.wait_connected([a.address])
    await a.wait_connected([b.address])


async def test_every_address_of_a_member_is_tried() -> None:
    async with open_host(key("a").secret) as a, open_host(key("b").secret) as b:
        where, _, peer = a.multiaddrs()[0].rpartition("/p2p/")
        nowhere = f"/ip4/127.0.0.2/tcp/{where.rpartition('/')[2]}/p2p/{peer}"
        for order in ([nowhere, a.multiaddrs()[0]], [a.multiaddrs()[0], nowhere]):
            b.know(order)
            with trio.fail_after(10):
                await b.wait_connected([a.address])
            b.forget(a.address)
            a.set_members(frozenset())
            await b.wait_disconnected(a.address)
            a.set_members(None)


async def test_why_a_dial_fails_is_said() -> None:
    async with open_host(key("a").secret) as a, open_host(key("b").secret) as b:
        b.know([a.multiaddrs()[0].replace("127.0.0.1", "127.0.0.3")])
        with trio.fail_after(10):
            while not (problem := b.status().targets[0].problem):
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert "refused" in problem.lower() or "connect" in problem.lower()


async def test_incoming_connections_give_their_permit_back() -> None:
    async with hosts(2) as (a, b):
        for _ in range(4):
            await reconnect(a, b)
        permits = a._network._inbound_limiter
        with trio.fail_after(AFTERGLOW + 10):
            while permits.borrowed_tokens > 1:
                await trio.testing.wait_all_tasks_blocked(0.05)


async def test_cancelled_writes_cost_their_own_stream_only() -> None:
    print("seed", SEED)
    chance = random.Random(SEED)
    async with hosts(2) as (a, b):
        a.handle("/test/echo", echo)
        witness = await b.open_stream(a.address, "/test/echo")  # lives as long as the connection does
        for _ in range(25):
            with trio.move_on_after(chance.uniform(0.001, 0.03)):
                await converse(b, a.address, bytes(8 << 20))
        await witness.send_all(b"still the same connection")
        assert await witness.receive_some(100) == b"still the same connection"


async def test_a_reader_that_pauses_long_loses_nothing() -> None:
    async with hosts(2) as (a, b):
        heard: list[int] = []
        done = trio.Event()

        async def hesitate(stream: Stream, _: Address) -> None:
            await trio.sleep(5.5)  # the fault is one of real time: py-libp2p gives up after 5 seconds
            while data := await stream.receive_some(65_536):
                heard.append(len(data))
            done.set()

        a.handle("/test/slow", hesitate)
        stream = await b.open_stream(a.address, "/test/slow")
        await stream.send_all(bytes(3 << 20))
        await stream.send_eof()
        await done.wait()
        assert sum(heard) == 3 << 20


async def test_an_exception_in_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_host(key("a").secret):
            raise KeyError("mine")


async def test_a_peer_that_restarts_is_found_again_at_once() -> None:
    secret = Key.from_seed("restarts").secret
    with trio.fail_after(30):
        async with open_host(key("b").secret) as b:
            async with open_host(secret) as a:
                where = a.multiaddrs()[0].rpartition("/p2p/")[0]
                b.know(a.multiaddrs())
                await b.wait_connected([a.address])
            await b.wait_disconnected(a.address)
            began = trio.current_time()
            async with open_host(secret, [where]) as again:
                again.handle("/test/echo", echo)
                await b.wait_connected([again.address])
                print(f"reconnected after {trio.current_time() - began:.2f} s")
                assert await converse(b, again.address, b"hello again") == b"hello again"


async def test_a_host_that_is_cancelled_says_goodbye() -> None:
    """Else the others keep connections that nobody reads, and prefer them to the ones that it opens when it is back."""
    async with open_host(key("a").secret) as a:
        b_address = key("b").address
        for _ in range(8):
            with trio.fail_after(10), trio.CancelScope() as scope:
                async with open_host(key("b").secret) as b:
                    b.know(a.multiaddrs())
                    await a.wait_connected([b_address])
                    await b.wait_connected([a.address])
                    scope.cancel()
                    await trio.sleep_forever()
            with trio.fail_after(5):
                await a.wait_disconnected(b_address)


async def test_the_system_watches_for_machines_that_went_silent() -> None:
    class Upgrader:
        async def upgrade_security(self, raw_conn: Any) -> Any:
            return raw_conn

    upgrader = Upgrader()
    notice_silence(upgrader)
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    stream = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    async with listener, stream:
        await upgrader.upgrade_security(RawConnection(TrioTCPStream(stream), initiator=True))
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name, value in SILENCE.items():
            if hasattr(socket, name):
                assert stream.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value


async def test_a_background_task_that_fails_takes_nothing_with_it() -> None:
    beats: list[int] = []
    second = trio.Event()

    class Fragile(Service):
        async def run(self) -> None:
            self.manager.run_task(self.fail)
            self.manager.run_daemon_task(self.beat)
            await self.manager.wait_finished()

        async def fail(self) -> None:
            raise LookupError("a bug")

        async def beat(self) -> None:
            beats.append(1)
            if len(beats) == 1:
                raise LookupError("a bug in a daemon")
            second.set()
            await trio.sleep_forever()

    with trio.fail_after(10):
        async with contained_service(Fragile()):
            await second.wait()


async def test_a_star_of_many_peers_loses_no_message() -> None:
    async with hosts(14) as peers:
        hub, *leaves = peers
        inboxes = [host.subscribe(TOPIC, lambda author, data: True) for host in peers]
        await hub.wait_subscribers(TOPIC, [leaf.address for leaf in leaves])
        for leaf in leaves:
            await leaf.wait_subscribers(TOPIC, [hub.address])
        await trio.sleep(2.5 * HEARTBEAT)  # gossipsub prunes links at its heartbeats, which have no event
        await leaves[0].publish(TOPIC, b"from a leaf")
        with trio.fail_after(10):
            for host, inbox in zip(peers, inboxes, strict=True):
                if host is not leaves[0]:
                    assert await inbox.receive() == (leaves[0].address, b"from a leaf")


async def test_what_a_stranger_signed_is_not_passed_on() -> None:
    async with open_host(key("a").secret) as a:
        stranger, member = key("stranger"), key("member")
        check = a._gossip._checked(lambda author, data: True)
        a.set_members(frozenset([member.address]))
        forwarder = peer_id_of(member.public)
        for author, accepted in ((stranger, False), (member, True)):
            message = rpc_pb2.Message(from_id=peer_id_of(author.public).to_bytes(), data=b"x", topicIDs=[TOPIC])
            assert check(forwarder, message) is accepted
        assert stranger.address not in a._gossip._rates


async def test_the_programs_logging_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    configured: list[object] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **options: configured.append(options))
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    async with hosts(2) as (a, b):
        await reconnect(a, b)
    assert not configured
