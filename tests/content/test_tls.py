"""The content exchange over TLS: who gets in, what is kept, and what happens when either side goes."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable

import pytest
import trio

from swarmp2p.content.exchange import Endpoint, Fetcher, Limits, Listener, Pins, Server, ServerLimits, TlsLinks
from swarmp2p.content.exchange.secure import SecureSocket, TlsError
from swarmp2p.content.unixfs import hash_bytes
from swarmp2p.core.errors import ContentUnavailable, PortInUse
from swarmp2p.core.types import CHUNK_SIZE, Address
from swarmp2p.identity import Key
from swarmp2p.network.certificate import certified_member, issue_certificate
from tests.content.tls import LOCAL, REFUSED, Member, Nowhere
from tests.content.wire import Memory, Serve, pattern

DATA = pattern(40 * CHUNK_SIZE + 1000)


Join = Callable[..., Member]


def test_a_certificate_is_its_members_and_nobody_elses() -> None:
    key = Key.from_seed("a")
    certificate, _ = issue_certificate(key.secret)
    assert certified_member(certificate) == key.address
    other, _ = issue_certificate(Key.from_seed("b").secret)
    assert certified_member(other) != key.address
    for at in range(0, len(certificate), 7):
        bent = certificate[:at] + bytes([certificate[at] ^ 1]) + certificate[at + 1 :]
        assert certified_member(bent) in (None, key.address)
    assert certified_member(b"") is None


async def test_a_file_comes_over_tls_and_connections_are_kept(join: Join) -> None:
    origin, mine = join("origin"), join("mine")
    file = origin.put(DATA)
    links = mine.links_to(origin)
    fetcher = Fetcher(mine.store, Nowhere(origin), direct=links)
    await fetcher.fetch_file(file.digest, file.size)
    assert mine.store.read(file.digest) == DATA
    first = await links.connect(origin.address)
    assert first is not None
    await first.release(reusable=True)
    again = await links.connect(origin.address)
    assert again is first
    await again.release(reusable=False)
    assert mine.greeted == [origin.address]
    links.close()


async def test_several_sources_and_a_network_stream_side_by_side(join: Join, nursery: trio.Nursery) -> None:
    one, two, mine = join("one"), join("two"), join("mine")
    file = one.put(DATA)
    half = two.store.begin(file.digest, file.size, file.leaf_list)
    for index in range(0, 41, 2):
        half.write_chunk(index, DATA[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
    streams: dict[Address, Serve] = {one.address: Server(one.store).serve, two.address: Server(two.store).serve}
    links = mine.links_to(one, two)
    one.listener.close()  # so that one can be had over a stream alone
    fetcher = Fetcher(mine.store, Memory(nursery, streams), direct=links, limits=Limits(run=2, window=4))
    await fetcher.fetch_file(file.digest, file.size)
    assert mine.store.read(file.digest) == DATA
    assert fetcher.received[one.address] > 0
    assert fetcher.received[two.address] > 0
    links.close()


async def test_who_cannot_be_dialled_is_reached_over_the_network_and_not_dialled_at_once_again(
    join: Join, nursery: trio.Nursery
) -> None:
    origin, mine = join("origin"), join("mine")
    file = origin.put(DATA)
    links = mine.links_to(origin, listening=False)
    carrier = Memory(nursery, {origin.address: Server(origin.store).serve})
    await Fetcher(mine.store, carrier, direct=links).fetch_file(file.digest, file.size)
    assert mine.store.read(file.digest) == DATA
    assert mine.greeted == [origin.address]


async def test_a_restarted_member_is_found_again(join: Join) -> None:
    origin, mine = join("origin"), join("mine")
    file = origin.put(DATA)
    links = mine.links_to(origin)
    fetcher = Fetcher(mine.store, Nowhere(origin), direct=links)
    leaf_list = await fetcher.fetch_leaf_list(file.digest, file.size)
    origin.listener.close()
    origin.start()
    part = mine.store.begin(file.digest, file.size, leaf_list)
    await fetcher.fetch_chunks(part.target(0, leaf_list, file.digest))
    assert part.missing() == []
    assert mine.greeted == [origin.address] * 2
    links.close()


async def test_whoever_lets_nobody_in_is_reached_over_the_network(join: Join, nursery: trio.Nursery) -> None:
    origin, mine = join("origin"), join("mine")
    file = origin.put(DATA)

    async def greet(peer: Address) -> Endpoint:
        return origin.endpoint  # and origin pins nothing

    links = TlsLinks(mine.pins, greet)
    fetcher = Fetcher(
        mine.store,
        Memory(nursery, {origin.address: Server(origin.store).serve}),
        direct=links,
        limits=Limits(hedge=0.1),
    )
    for _ in range(2):
        with pytest.raises(ContentUnavailable):
            await fetcher.fetch_leaf_list(file.digest, file.size)
    await fetcher.fetch_file(file.digest, file.size)
    assert mine.store.read(file.digest) == DATA
    links.close()


async def test_who_cannot_be_dialled_is_tried_again_soon_and_then_less_and_less(join: Join) -> None:
    """At the start of a swarm the other one may only not have seen yet that this member is one."""
    other, mine = join("other"), join("mine")
    now, tries = 100.0, 0
    lets_in = False

    async def greet(peer: Address) -> Endpoint | None:
        nonlocal tries
        tries += 1
        other.pins.pin(mine.address, mine.certificate)
        return other.endpoint if lets_in else None

    links = TlsLinks(mine.pins, greet, clock=lambda: now)
    waits = []
    for _ in range(9):
        before, since = tries, now
        while tries == before:
            assert await links.connect(other.address) is None
            now += 0.5
        waits.append(now - since)
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    lets_in, now = True, now + 60
    link = await links.connect(other.address)
    assert link is not None
    await link.release(reusable=True)
    other.listener.close()
    lets_in = False
    assert await links.connect(other.address) is None
    before, now = tries, now + 1
    assert await links.connect(other.address) is None
    assert tries == before + 1, "after a success the pauses begin anew"
    links.close()


async def test_who_forgot_our_certificate_is_greeted_again(join: Join) -> None:
    """It took us for no member for a while, say, because its view of the chain was older than ours."""
    origin, mine = join("origin"), join("mine")
    file = origin.put(DATA)
    links = mine.links_to(origin)
    fetcher = Fetcher(mine.store, Nowhere(origin), direct=links)
    leaf_list = await fetcher.fetch_leaf_list(file.digest, file.size)
    origin.pins.keep([])
    origin.listener.keep(frozenset())
    links.close()
    links = mine.links_to(origin)
    links.learn(origin.address, origin.endpoint)
    fetcher = Fetcher(mine.store, Nowhere(origin), direct=links)
    part = mine.store.begin(file.digest, file.size, leaf_list)
    target = part.target(0, leaf_list, file.digest)
    with pytest.raises(ContentUnavailable):
        await fetcher.fetch_chunks(target)
    await fetcher.fetch_chunks(target)
    assert part.missing() == []
    links.close()


def dial(member: Member, chain: bytes, trusts: bytes) -> bytes:
    """What a client with this certificate gets: raises when it is refused."""
    pins = Pins(chain)
    pins.pin(member.address, trusts)
    raw = socket.create_connection((LOCAL, member.listener.port), 5)
    with pins.secure(raw, server=False, timeout=10) as secure:
        secure.send_all(b"GET /swarmp2p/1/" + bytes(64).replace(b"\0", b"0") + b"/held HTTP/1.1\r\nHost: x\r\n\r\n", 10)
        return secure.receive(10)


def test_only_pinned_members_get_in(join: Join) -> None:
    origin = join("origin")
    friend, stranger = Key.from_seed("friend"), Key.from_seed("stranger")
    certificate, chain = issue_certificate(friend.secret)
    origin.pins.pin(friend.address, certificate)
    assert dial(origin, chain, origin.certificate).startswith(b"HTTP/1.1 404")
    _, another = issue_certificate(friend.secret)  # the friend's, but not the one that it showed
    for refused in (another, issue_certificate(stranger.secret)[1]):
        with pytest.raises(OSError, match=r"(?i)unknown ca|alert|reset|EOF"):
            dial(origin, refused, origin.certificate)
    with pytest.raises(TlsError, match="certificate verify failed"):
        dial(origin, chain, certificate)  # and we talk to nobody else in the member's place


def test_all_of_many_members_get_in_whatever_their_certificates_are_called(join: Join) -> None:
    """The names in them are all the same: who is let in must not hang on them."""
    origin = join("origin")
    chains = []
    for number in range(5):
        friend = Key.from_seed(f"friend {number}")
        certificate, chain = issue_certificate(friend.secret)
        origin.pins.pin(friend.address, certificate)
        chains.append(chain)
    for chain in chains:
        assert dial(origin, chain, origin.certificate).startswith(b"HTTP/1.1 404")


def test_who_is_no_member_any_more_is_cut_off(join: Join) -> None:
    origin = join("origin")
    friend = Key.from_seed("friend")
    certificate, chain = issue_certificate(friend.secret)
    origin.pins.pin(friend.address, certificate)
    pins = Pins(chain)
    pins.pin(origin.address, origin.certificate)
    raw = socket.create_connection((LOCAL, origin.listener.port), 5)
    with pins.secure(raw, server=False, timeout=10) as secure:
        secure.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 10)
        assert secure.receive(10).startswith(b"HTTP/1.1 400")
        origin.pins.keep([])
        origin.listener.keep(frozenset())
        with contextlib.suppress(OSError):
            assert secure.receive(10) == b""
    with pytest.raises(OSError, match=r"(?i)unknown ca|alert|reset|EOF"):
        dial(origin, chain, origin.certificate)


def test_more_connections_than_allowed_are_closed_and_the_others_go_on(join: Join) -> None:
    origin = join("origin", limits=ServerLimits(connections_per_peer=2))
    friend = Key.from_seed("friend")
    certificate, chain = issue_certificate(friend.secret)
    origin.pins.pin(friend.address, certificate)
    pins = Pins(chain)
    pins.pin(origin.address, origin.certificate)

    def connect() -> SecureSocket:
        raw = socket.create_connection((LOCAL, origin.listener.port), 5)
        return pins.secure(raw, server=False, timeout=10)

    def answers(secure: SecureSocket) -> bool:
        with contextlib.suppress(OSError):
            secure.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 10)
            return secure.receive(10).startswith(b"HTTP/1.1 400")
        return False

    held = [connect(), connect()]
    assert all(answers(each) for each in held)
    with connect() as third:
        assert not answers(third)
    assert all(answers(each) for each in held)
    held.pop().close()
    # The listener notices the end of a connection by itself, at a time of its own.
    for _ in range(1000):
        with connect() as third:
            if answers(third):
                break
    else:
        pytest.fail("the place of a closed connection is not given to another")
    held.pop().close()


def test_garbage_and_silence_at_the_port_harm_nobody(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    origin = join("origin")
    friend = Key.from_seed("friend")
    certificate, chain = issue_certificate(friend.secret)
    origin.pins.pin(friend.address, certificate)
    silent = socket.create_connection((LOCAL, origin.listener.port), 5)
    with socket.create_connection((LOCAL, origin.listener.port), 5) as noisy:
        noisy.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        with contextlib.suppress(OSError):
            while noisy.recv(1000):
                continue
    with caplog.at_level(logging.WARNING):
        assert dial(origin, chain, origin.certificate).startswith(b"HTTP/1.1 404")
    assert not caplog.records
    silent.close()


async def test_cancelling_a_fetch_ends_its_thread_and_keeps_what_came(join: Join) -> None:
    origin, mine = join("origin"), join("mine")
    file = origin.put(DATA)
    links = mine.links_to(origin)
    came = trio.Event()
    token = trio.lowlevel.current_trio_token()

    fetcher = Fetcher(mine.store, Nowhere(origin), direct=links)
    leaf_list = await fetcher.fetch_leaf_list(file.digest, file.size)
    part = mine.store.begin(file.digest, file.size, leaf_list)
    target = part.target(0, leaf_list, file.digest)
    gate = threading.Event()

    class Gated:
        object = target.object
        leaf_list = target.leaf_list
        missing = staticmethod(target.missing)

        @staticmethod
        def write_chunk(index: int, data: bytes | memoryview) -> None:
            target.write_chunk(index, data)
            if index == 4:
                token.run_sync_soon(came.set)
                gate.wait(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetcher.fetch_chunks, Gated)
        await came.wait()
        nursery.cancel_scope.cancel()
    gate.set()
    assert set(range(5)).isdisjoint(part.missing())
    await fetcher.fetch_chunks(target)
    assert part.missing() == []
    links.close()


async def test_the_port_in_use_is_named(join: Join) -> None:
    origin = join("origin")
    with pytest.raises(PortInUse, match=f"{LOCAL} port {origin.listener.port} is in use"):
        Listener((LOCAL,), origin.listener.port, origin.pins)


async def test_nothing_to_be_had_is_an_error_that_names_who_was_asked(join: Join) -> None:
    origin, mine = join("origin"), join("mine")
    links = mine.links_to(origin)
    with pytest.raises(ContentUnavailable, match=f"0x{origin.address.hex()}: does not have it"):
        await Fetcher(mine.store, Nowhere(origin), direct=links).fetch_file(hash_bytes(DATA).digest, len(DATA))
    links.close()


async def test_a_message_is_taken_refused_or_does_not_get_there(join: Join) -> None:
    other, mine = join("other"), join("mine")
    links = mine.links_to(other)
    sent = [b"\0", bytes(range(256)) * 128, REFUSED, b"again"]
    taken = [await links.tell(other.address, "round", message, 5.0) for message in sent]
    assert taken == [True, True, False, True]
    assert other.heard == [(mine.address, "round", message) for message in sent]
    file = other.put(DATA)  # the connection is of use for other things as before
    fetcher = Fetcher(mine.store, Nowhere(other), direct=links)
    await fetcher.fetch_file(file.digest, file.size)
    assert mine.greeted == [other.address]
    other.listener.close()
    assert await links.tell(other.address, "round", b"gone", 5.0) is None
    links.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /swarmp2p/1/messages/round HTTP/1.1\r\nHost: x\r\nContent-Length: 32769\r\n\r\n",
        b"POST /swarmp2p/1/messages/round HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /swarmp2p/1/messages/Round HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
        b"PUT /swarmp2p/1/messages/round HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    ],
)
def test_what_is_no_message_ends_the_connection(join: Join, request_: bytes) -> None:
    other, mine = join("other"), join("mine")
    other.pins.pin(mine.address, mine.certificate)
    mine.pins.pin(other.address, other.certificate)
    raw = socket.create_connection((LOCAL, other.listener.port))
    with mine.pins.secure(raw, server=False, timeout=10) as secure:
        secure.send_all(request_, 10)
        assert secure.receive(10) == b""
    assert other.heard == []
