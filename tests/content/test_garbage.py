"""What arrives at the port, from either side, is limited and refused; the store and the other streams do not notice."""

import contextlib
import logging
from collections.abc import Iterator

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmp2p.content.exchange import Fetcher, Limits, Server, ServerLimits
from swarmp2p.content.exchange.effects import BadMessage
from swarmp2p.content.exchange.offload import inline
from swarmp2p.content.exchange.requests import MAX_CHUNKS, MAX_HEAD, MAX_RUN, Incoming, Outgoing, What
from swarmp2p.content.interface import Stream
from swarmp2p.content.unixfs import cid, hash_bytes
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


CID = str(cid(FILE.digest, FILE.size))


def ask(what: What, name: bytes = FILE.digest, run: range = range(0)) -> bytes:
    return Outgoing(name, what, run).head


def get(target: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


def requests() -> st.SearchStrategy[bytes]:
    """Bytes of a client: real requests, bent ones, and noise, in any order."""
    names = st.sampled_from([FILE.digest, bytes(32)])
    runs = st.builds(lambda first, count: range(first, first + count), st.integers(0, 4), st.integers(1, MAX_RUN + 1))
    real = st.one_of(
        st.builds(ask, st.sampled_from([What.HELD, What.LEAVES]), names),
        st.builds(ask, st.just(What.CHUNKS), names, runs),
        st.builds(
            get,
            st.sampled_from([f"/ipfs/{CID}{query}" for query in ("", "?format=raw", "?format=car", "?format=tar")]),
            st.sampled_from(["Range: bytes=5-9", "Range: bytes=9-5", "Range: bytes=-5", "Accept: text/html"]),
        ),
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
        assert not answers or answers.startswith(b"HTTP/1.1 ")
        # Whoever asks afterwards is served.
        ours, theirs = pair()
        await ours.send_all(ask(What.HELD))
        await ours.send_eof()
        await server.serve(theirs, ORIGIN)
        assert (await read_everything(ours)).endswith(b"\r\n\r\n\x07")

    trio.run(main)
    assert store.read(FILE.digest) == DATA


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_garbage_from_a_source_is_a_refusal_and_nothing_gets_in(data: st.DataObject) -> None:
    def answer(status: int, fields: list[str], body: bytes) -> bytes:
        return "\r\n".join([f"HTTP/1.1 {status} x", *fields, "", ""]).encode() + body

    lengths = st.one_of(st.integers(0, 100), st.just(10**11))
    chunks = st.builds(lambda f, last, t: f"Content-Range: chunks {f}-{last}/{t}", *[st.integers(0, 4)] * 3)
    answers = st.one_of(
        st.binary(max_size=40),
        st.just(answer(404, ["Content-Length: 0"], b"")),
        st.just(answer(200, ["Content-Length: 96", "Swarmp2p-Chunks: 3"], FILE.leaf_list)),
        st.just(answer(200, ["Content-Length: 1", "Swarmp2p-Chunks: 3"], b"\x07")),
        st.just(answer(206, [f"Content-Length: {len(DATA)}", "Content-Range: chunks 0-2/3"], DATA)),
        st.just(answer(206, [f"Content-Length: {CHUNK_SIZE}", "Content-Range: chunks 0-0/3"], bytes(CHUNK_SIZE))),
        st.builds(
            lambda status, length, said, body: answer(status, [f"Content-Length: {length}", said], body),
            st.sampled_from([200, 206, 302, 404, 500]),
            lengths,
            st.one_of(chunks, st.integers(0, 9).map(lambda n: f"Swarmp2p-Chunks: {n}")),
            st.binary(max_size=96),
        ),
        st.just(answer(200, ["Transfer-Encoding: chunked"], b"5\r\nabcde\r\n0\r\n\r\n")),
        st.just(b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD),
    )
    script = data.draw(st.lists(answers, max_size=6))

    async def source(stream: Stream, peer: Address) -> None:
        try:
            await stream.receive_some(MAX_HEAD)
            for each in script:
                await stream.send_all(each)
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


@given(st.one_of(requests(), st.binary(max_size=MAX_HEAD)))
def test_requests_are_understood_or_refused(head: bytes) -> None:
    try:
        request = Incoming(head).understood()
    except BadMessage:
        return
    if request is not None and request.what is What.CHUNKS:
        assert len(request.name) == 32
        assert request.last is not None
        assert request.first <= request.last < min(MAX_CHUNKS, request.first + MAX_RUN)


async def test_refusals_are_logged_with_the_peer(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(store)
    for sent, says in [
        (b"\x16\x03\x01\x00\xf8\x01\r\n\r\n", "not HTTP/1.1"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", "with a body"),
        (b"GET /" + b"x" * MAX_HEAD, f"more than {MAX_HEAD} bytes"),
    ]:
        ours, theirs = pair()
        await ours.send_all(sent)
        await ours.send_eof()
        await server.serve(theirs, ORIGIN)
        assert says in caplog.records[-1].getMessage()
        assert f"0x{ORIGIN.hex()}" in caplog.records[-1].getMessage()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (get("/swarmp2p/1/" + "00" * 32 + "/held"), 404),
        (get("/swarmp2p/1/" + "00" * 31 + "/held"), 400),
        (get("/swarmp2p/2/" + "00" * 32 + "/held"), 400),
        (get("/swarmp2p/1/" + FILE.digest.hex() + "/chunks"), 400),
        (ask(What.CHUNKS, run=range(MAX_RUN + 1)), 400),
        (ask(What.CHUNKS, run=range(3, 4)), 404),
        (get("/ipfs/bafy1111111111"), 400),
        (get("/ipns/example.org"), 400),
        (get("/"), 400),
        (get(f"/ipfs/{CID}", f"Range: bytes={FILE.size}-"), 416),
    ],
)
async def test_what_is_not_understood_or_not_here_has_its_status(store: MemoryStore, sent: bytes, status: int) -> None:
    ours, theirs = pair()
    await ours.send_all(sent)
    await ours.send_eof()
    await Server(store).serve(theirs, ORIGIN)
    assert (await read_everything(ours)).startswith(f"HTTP/1.1 {status} ".encode())


async def test_too_many_streams_of_one_peer_are_refused(store: MemoryStore, nursery: trio.Nursery) -> None:
    server = Server(store, limits=ServerLimits(connections_per_peer=2))
    ends = []
    for _ in range(2):
        ours, theirs = pair()
        ends.append(ours)
        nursery.start_soon(server.serve, theirs, ORIGIN)
    await trio.testing.wait_all_tasks_blocked()
    ours, theirs = pair()
    await server.serve(theirs, ORIGIN)
    assert await ours.receive_some(10) == b""
    await ends[0].send_all(ask(What.HELD))
    assert await ends[0].receive_some(100)
    nursery.cancel_scope.cancel()


async def test_a_silent_or_stuck_client_is_let_go(autojump_clock: trio.testing.MockClock, store: MemoryStore) -> None:
    start = trio.current_time()
    _ours, theirs = pair()
    await Server(store, limits=ServerLimits(idle=50), offload=inline).serve(theirs, ORIGIN)
    assert trio.current_time() - start == pytest.approx(50)

    class Stuck:
        def __init__(self) -> None:
            self.requests = [ask(What.CHUNKS, run=range(3))]
            self.closed = False

        async def send_all(self, data: bytes) -> None:
            await trio.sleep_forever()

        async def receive_some(self, max_bytes: int) -> bytes:
            return self.requests.pop() if self.requests else b""

        async def aclose(self) -> None:
            self.closed = True

    stuck, before = Stuck(), trio.current_time()
    await Server(store, limits=ServerLimits(send=30), offload=inline).serve(stuck, ORIGIN)
    assert stuck.closed
    assert trio.current_time() - before == pytest.approx(30)
