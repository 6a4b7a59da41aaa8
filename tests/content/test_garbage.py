"""What arrives at the port, from either side, is limited and refused; the store and the other streams do not notice."""

import contextlib
import logging
from collections.abc import Iterator

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmp2p.content.exchange import Fetcher, Limits, Server
from swarmp2p.content.frames import (
    MAX_ANSWER,
    MAX_REQUEST,
    MAX_RUN,
    BadFrame,
    FrameReader,
    Kind,
    chunks_request,
    frame,
    number,
    parse_request,
)
from swarmp2p.content.interface import Stream
from swarmp2p.content.offload import inline
from swarmp2p.content.unixfs import hash_bytes
from swarmp2p.core.errors import ContentUnavailable
from swarmp2p.core.types import CHUNK_SIZE, Address
from swarmp2p.testing.memory_content import MemoryStore
from tests.content.wire import ORIGIN, Memory, pair, pattern

DATA = pattern(2 * CHUNK_SIZE + 5)
FILE = hash_bytes(DATA)


@pytest.fixture(scope="module")
def store() -> Iterator[MemoryStore]:
    made = MemoryStore()
    made.put(DATA)
    yield made
    made.close()


def requests() -> st.SearchStrategy[bytes]:
    """Bytes of a client: real requests, bent ones, and noise, in any order."""
    names = st.sampled_from([FILE.digest, bytes(32)])
    real = st.one_of(
        st.builds(lambda n: frame(Kind.HAVE, n), names),
        st.builds(lambda n: frame(Kind.LEAVES, n), names),
        st.builds(chunks_request, names, st.integers(0, 4), st.integers(0, MAX_RUN + 1)),
    )
    bent = st.builds(
        lambda r, at, v: r[: at % len(r)] + bytes([v]) + r[at % len(r) + 1 :], real, st.integers(0), st.integers(0, 255)
    )
    cut = st.builds(lambda r, at: r[: at % len(r)], real, st.integers(0))
    return st.lists(st.one_of(real, bent, cut, st.binary(max_size=60)), max_size=6).map(b"".join)


async def read_everything(stream: Stream) -> bytes:
    out = bytearray()
    while data := await stream.receive_some(1 << 20):
        out += data
    return bytes(out)


@settings(deadline=None, max_examples=150)
@given(sent=requests(), piece=st.integers(1, 50))
def test_garbage_ends_its_own_stream_only(store: MemoryStore, sent: bytes, piece: int) -> None:
    async def main() -> None:
        server = Server(store, offload=inline)
        ours, theirs = pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, theirs, ORIGIN)

            async def write() -> None:
                try:
                    for at in range(0, len(sent), piece):
                        await ours.send_all(sent[at : at + piece])
                    await ours.send_eof()
                except trio.BrokenResourceError:
                    return

            nursery.start_soon(write)
            answers = await read_everything(ours)
        # All that came back are whole frames of the protocol.
        ours, theirs = pair()
        await theirs.send_all(answers)
        await theirs.send_eof()
        reader = FrameReader(ours, MAX_ANSWER)
        while (answer := await reader.read()) is not None:
            assert answer[0] >= Kind.LIST

    trio.run(main)
    assert store.read(FILE.digest) == DATA


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_garbage_from_a_source_is_a_refusal_and_nothing_gets_in(data: st.DataObject) -> None:
    answers = st.one_of(
        st.binary(max_size=40),
        st.just(frame(Kind.ABSENT, number(0xFFFFFFFF))),
        st.just(frame(Kind.LIST, number(3), FILE.leaf_list)),
        st.builds(lambda t, b: frame(Kind.LIST, number(t), b), st.integers(0, 4), st.binary(max_size=96)),
        st.just(frame(Kind.HELD, number(3), b"\x07")),
        st.builds(lambda t, b: frame(Kind.HELD, number(t), b), st.integers(0, 4), st.binary(max_size=2)),
        st.builds(
            lambda i: frame(Kind.CHUNK, number(i), DATA[i * CHUNK_SIZE : (i + 1) * CHUNK_SIZE]), st.integers(0, 2)
        ),
        st.builds(lambda i, b: frame(Kind.CHUNK, number(i), b), st.integers(0, 3), st.binary(max_size=9)),
        st.builds(lambda i: frame(Kind.ABSENT, number(i)), st.integers(0, 3)),
    )
    script = data.draw(st.lists(answers, max_size=6))

    async def source(stream: Stream, peer: Address) -> None:
        try:
            await stream.receive_some(MAX_REQUEST + 4)
            for answer in script:
                await stream.send_all(answer)
        except trio.BrokenResourceError:
            pass
        await stream.aclose()

    async def main() -> None:
        mine = MemoryStore()
        try:
            async with trio.open_nursery() as nursery:
                fetcher = Fetcher(mine, Memory(nursery, {ORIGIN: source}), limits=Limits(stall=5), offload=inline)
                with contextlib.suppress(ContentUnavailable):
                    await fetcher.fetch_file(FILE.digest, FILE.size)
                assert not mine.has(FILE.digest) or mine.read(FILE.digest) == DATA
        finally:
            mine.close()

    logging.disable(logging.WARNING)  # a line for each refusal, as it should be
    try:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        logging.disable(logging.NOTSET)


@given(st.sampled_from([Kind.LEAVES, Kind.HAVE, Kind.CHUNKS, Kind.LIST]), st.binary(max_size=MAX_REQUEST))
def test_requests_parse_or_are_refused(kind: Kind, body: bytes) -> None:
    try:
        name, first, count = parse_request(kind, body)
    except BadFrame:
        return
    assert len(name) == 32
    assert count <= MAX_RUN
    assert first + count <= 1 << 20


async def test_refusals_are_logged_with_the_peer(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(store)
    for sent, says in [
        (b"GET / HTTP/1.1\r\n\r\n", "where at most"),
        (frame(Kind.CHUNK, bytes(4)), "not a request"),
        (b"\0\0\0\x01\x63", "unknown type 99"),
        (chunks_request(FILE.digest, 0, MAX_RUN + 1), "65 chunks"),
    ]:
        ours, theirs = pair()
        await ours.send_all(sent)
        await ours.send_eof()
        await server.serve(theirs, ORIGIN)
        assert says in caplog.records[-1].getMessage()
        assert f"0x{ORIGIN.hex()}" in caplog.records[-1].getMessage()


async def test_too_many_streams_of_one_peer_are_refused(store: MemoryStore, nursery: trio.Nursery) -> None:
    server = Server(store, streams_per_peer=2)
    ends = []
    for _ in range(2):
        ours, theirs = pair()
        ends.append(ours)
        nursery.start_soon(server.serve, theirs, ORIGIN)
    await trio.testing.wait_all_tasks_blocked()
    ours, theirs = pair()
    await server.serve(theirs, ORIGIN)
    assert await ours.receive_some(10) == b""
    await ends[0].send_all(frame(Kind.HAVE, FILE.digest))
    assert await ends[0].receive_some(100)
    nursery.cancel_scope.cancel()


async def test_a_silent_or_stuck_client_is_let_go(autojump_clock: trio.testing.MockClock, store: MemoryStore) -> None:
    start = trio.current_time()
    _ours, theirs = pair()
    await Server(store, idle_timeout=50, offload=inline).serve(theirs, ORIGIN)
    assert trio.current_time() - start == pytest.approx(50)

    class Stuck:
        def __init__(self) -> None:
            self.requests = [chunks_request(FILE.digest, 0, 3)]
            self.closed = False

        async def send_all(self, data: bytes) -> None:
            await trio.sleep_forever()

        async def receive_some(self, max_bytes: int) -> bytes:
            return self.requests.pop() if self.requests else b""

        async def aclose(self) -> None:
            self.closed = True

    stuck, before = Stuck(), trio.current_time()
    await Server(store, send_timeout=30, offload=inline).serve(stuck, ORIGIN)
    assert stuck.closed
    assert trio.current_time() - before == pytest.approx(30)
