import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.exchange import Fetcher, Limits, Server
from swarmp2p.content.interface import ContentStore, Stream
from swarmp2p.content.unixfs import HASH_SIZE, Hashed, hash_bytes
from swarmp2p.core.errors import ContentUnavailable, QuotaExceeded
from swarmp2p.core.types import CHUNK_SIZE, Address, Digest
from tests.content.wire import ORIGIN, OTHER, THIRD, Memory, Serve, pattern, silent, tampered

DATA = pattern(9 * CHUNK_SIZE + 1000)
QUICK = Limits(hedge=0.1, window=4, run=2)
Make = Callable[[str], EmbeddedStore]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda name: EmbeddedStore(tmp_path / name)


def holder(store: ContentStore, data: bytes = DATA) -> tuple[Serve, Hashed]:
    return Server(store).serve, store.put(data)


def partial_holder(store: ContentStore, indexes: list[int]) -> Serve:
    hashed = hash_bytes(DATA)
    part = store.begin(hashed.digest, hashed.size, hashed.leaf_list)
    for i in indexes:
        part.write_chunk(i, DATA[i * CHUNK_SIZE : (i + 1) * CHUNK_SIZE])
    return Server(store).serve


def rot(store: EmbeddedStore, digest: Digest, index: int) -> None:
    """Change a chunk on the disk."""
    with store.path(digest).open("r+b") as raw:
        raw.seek(index * CHUNK_SIZE)
        raw.write(b"rot")


def sent_chunk(data: bytes) -> bool:
    return not data.startswith(b"HTTP/") and len(data) >= 1000


def sent_leaf_list(data: bytes) -> bool:
    return len(data) == HASH_SIZE * 10


async def test_a_file_comes_whole_and_is_asked_for_once(make: Make, nursery: trio.Nursery) -> None:
    serve, file = holder(make("origin"))
    mine, carrier = make("mine"), Memory(nursery, {ORIGIN: serve})
    fetcher = Fetcher(mine, carrier, limits=QUICK)
    async with trio.open_nursery() as waiters:
        for _ in range(5):
            waiters.start_soon(fetcher.fetch_file, file.digest, file.size)
    assert mine.read(file.digest) == DATA
    assert carrier.opened == [ORIGIN, ORIGIN]  # leaf list, chunks
    await fetcher.fetch_file(file.digest, file.size)
    assert len(carrier.opened) == 2


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE, CHUNK_SIZE + 1])
async def test_small_files(make: Make, nursery: trio.Nursery, size: int) -> None:
    serve, file = holder(make("origin"), pattern(size))
    mine = make("mine")
    await Fetcher(mine, Memory(nursery, {ORIGIN: serve})).fetch_file(file.digest, size)
    assert mine.read(file.digest) == pattern(size)


async def test_nobody_else_is_asked_when_the_first_has_all(make: Make, nursery: trio.Nursery) -> None:
    serve, file = holder(make("origin"))
    other, _ = holder(make("other"))
    mine, carrier = make("mine"), Memory(nursery, {ORIGIN: serve, OTHER: other})
    fetcher = Fetcher(mine, carrier, limits=Limits(hedge=60, spread=60))
    await fetcher.fetch_file(file.digest, file.size, prefer=[ORIGIN])
    assert mine.read(file.digest) == DATA
    assert carrier.opened == [ORIGIN, ORIGIN]  # for the leaf list, and for the chunks


async def test_who_should_have_all_and_has_not_is_no_hindrance(make: Make, nursery: trio.Nursery) -> None:
    serve, file = holder(make("origin"))
    part = partial_holder(make("other"), [0, 5])
    mine, carrier = make("mine"), Memory(nursery, {ORIGIN: serve, OTHER: part})
    fetcher = Fetcher(mine, carrier, limits=Limits(hedge=60, spread=60))
    await fetcher.fetch_file(file.digest, file.size, prefer=[OTHER])
    assert mine.read(file.digest) == DATA
    assert fetcher.received[ORIGIN] > 0
    assert fetcher.received[OTHER] > 0
    assert fetcher.distrusted() == set()


async def test_partial_sources_make_a_whole_between_them(make: Make, nursery: trio.Nursery) -> None:
    sources = {
        ORIGIN: partial_holder(make("a"), [0, 2, 4, 6, 8]),
        OTHER: partial_holder(make("b"), [1, 3, 5]),
        THIRD: partial_holder(make("c"), [7, 9]),
    }
    mine, file = make("mine"), hash_bytes(DATA)
    await Fetcher(mine, Memory(nursery, sources), limits=QUICK).fetch_file(file.digest, file.size)
    assert mine.read(file.digest) == DATA


async def test_a_range_of_a_partial_file_is_served_on(make: Make, nursery: trio.Nursery) -> None:
    serve, file = holder(make("origin"))
    middle, mine = make("middle"), make("mine")
    fetcher = Fetcher(middle, Memory(nursery, {ORIGIN: serve}), limits=QUICK)
    leaf_list = await fetcher.fetch_leaf_list(file.digest, file.size)
    part = middle.begin(file.digest, file.size, leaf_list)
    await fetcher.fetch_chunks(part.target(0, leaf_list, file.digest), 3, 5)
    assert part.missing() == [0, 1, 2, 5, 6, 7, 8, 9]

    onward = Fetcher(mine, Memory(nursery, {OTHER: Server(middle).serve}), limits=QUICK)
    got = mine.begin(file.digest, file.size, await onward.fetch_leaf_list(file.digest, file.size))
    target = got.target(0, leaf_list, file.digest)
    await onward.fetch_chunks(target, 3, 5)
    assert got.read_chunk(4) == DATA[4 * CHUNK_SIZE : 5 * CHUNK_SIZE]
    with pytest.raises(ContentUnavailable, match=f"1 chunks of {file.digest.hex()}.*0x{OTHER.hex()}"):
        await onward.fetch_chunks(target, 5, 6)


async def test_a_slice_is_fetched_into_an_assembly_while_that_of_the_source_grows(
    make: Make, nursery: trio.Nursery
) -> None:
    theirs, mine = make("theirs"), make("mine")
    source = theirs.assemble("r1", len(DATA))
    for i in range(4, 7):
        source.write_chunk(i, DATA[i * CHUNK_SIZE : (i + 1) * CHUNK_SIZE])
    name = source.seal_slice(4, 7)
    fetcher = Fetcher(mine, Memory(nursery, {ORIGIN: Server(theirs).serve}), limits=QUICK)
    leaf_list = await fetcher.fetch_leaf_list(name)
    part = mine.assemble("r1", len(DATA))
    await fetcher.fetch_chunks(part.target(4, leaf_list, name))
    assert part.missing() == [0, 1, 2, 3, 7, 8, 9]
    assert part.read_chunk(6) == source.read_chunk(6)
    assert mine.held(name) == b"\x07"


async def test_a_source_that_dies_in_mid_file(make: Make, nursery: trio.Nursery) -> None:
    serve, file = holder(make("origin"))
    other, _ = holder(make("other"))
    chunks = 0

    def die(data: bytes) -> bytes | None:
        nonlocal chunks
        chunks += sent_chunk(data)
        return None if chunks > 3 else data

    mine = make("mine")
    carrier = Memory(nursery, {ORIGIN: tampered(serve, die), OTHER: other})
    fetcher = Fetcher(mine, carrier, limits=Limits(window=4, run=2, sources=1))
    await fetcher.fetch_file(file.digest, file.size, prefer=[ORIGIN])
    assert mine.read(file.digest) == DATA
    assert carrier.opened[:2] == [ORIGIN, ORIGIN]
    assert carrier.opened[-1] == OTHER


async def test_a_source_that_is_killed_within_a_frame_is_no_liar(make: Make, nursery: trio.Nursery) -> None:
    """It will be back, and then nobody else may have what it published."""
    serve, file = holder(make("origin"))
    killed = False

    def kill(data: bytes) -> bytes | None:
        nonlocal killed
        if killed or not sent_chunk(data):
            return None if killed else data
        killed = True
        return data[:1000]

    mine = make("mine")
    carrier = Memory(nursery, {ORIGIN: tampered(serve, kill)})
    fetcher = Fetcher(mine, carrier, limits=QUICK)
    with pytest.raises(ContentUnavailable, match="ended within a body"):
        await fetcher.fetch_file(file.digest, file.size)
    assert fetcher.distrusted() == set()
    carrier.peers[ORIGIN] = serve
    await fetcher.fetch_file(file.digest, file.size)
    assert mine.read(file.digest) == DATA


@pytest.mark.parametrize("bent", [sent_chunk, sent_leaf_list])
async def test_a_lying_source_is_found_out_logged_and_not_asked_again(
    make: Make, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, bent: Callable[[bytes], bool]
) -> None:
    serve, file = holder(make("origin"))
    honest, _ = holder(make("other"))

    def lie(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if bent(data) else data

    mine = make("mine")
    carrier = Memory(nursery, {ORIGIN: tampered(serve, lie), OTHER: honest})
    fetcher = Fetcher(mine, carrier, limits=QUICK)
    with caplog.at_level(logging.WARNING):
        await fetcher.fetch_file(file.digest, file.size, prefer=[ORIGIN])
    assert mine.read(file.digest) == DATA
    assert fetcher.distrusted() == {ORIGIN}
    assert f"0x{ORIGIN.hex()} sent wrong content" in caplog.text
    carrier.peers.pop(OTHER)
    with pytest.raises(ContentUnavailable, match="nobody"):
        await fetcher.fetch_file(hash_bytes(b"more").digest, 4)


async def test_silent_dead_and_ignorant_sources_are_named(make: Make, nursery: trio.Nursery) -> None:
    mine = make("mine")
    peers = {ORIGIN: silent, OTHER: Server(make("other")).serve}
    fetcher = Fetcher(mine, Memory(nursery, peers), limits=Limits(stall=0.5, hedge=0.1))
    with pytest.raises(ContentUnavailable) as caught:
        await fetcher.fetch_file(hash_bytes(DATA).digest, len(DATA), prefer=[THIRD])
    text = str(caught.value)
    assert f"0x{THIRD.hex()}: nobody there" in text
    assert f"0x{ORIGIN.hex()}: no answer within 0.5 s" in text
    assert f"0x{OTHER.hex()}: does not have it" in text


async def test_a_stalled_source_does_not_hold_up_what_another_has(make: Make, nursery: trio.Nursery) -> None:
    serve, file = holder(make("origin"))
    other, _ = holder(make("other"))
    stuck = trio.Event()

    async def stall(stream: Stream, peer: Address) -> None:
        class Stalls:
            chunks = 0

            async def send_all(self, data: bytes) -> None:
                if sent_chunk(data):
                    stuck.set()
                    await trio.sleep_forever()
                await stream.send_all(data)

            async def receive_some(self, max_bytes: int) -> bytes:
                return await stream.receive_some(max_bytes)

            async def aclose(self) -> None:
                await stream.aclose()

        await serve(Stalls(), peer)

    mine = make("mine")
    fetcher = Fetcher(
        mine,
        Memory(nursery, {ORIGIN: stall, OTHER: other}),
        limits=Limits(stall=60, hedge=0.05, window=4, run=2),
    )
    with trio.fail_after(10):
        await fetcher.fetch_file(file.digest, file.size, prefer=[ORIGIN])
    assert stuck.is_set()
    assert mine.read(file.digest) == DATA
    nursery.cancel_scope.cancel()


async def test_cancelling_keeps_what_came_and_others_carry_on(make: Make, nursery: trio.Nursery) -> None:
    serve, file = holder(make("origin"))
    mine = make("mine")
    half, chunks = trio.Event(), 0

    def count(data: bytes) -> bytes:
        nonlocal chunks
        chunks += sent_chunk(data)
        if chunks == 4:
            half.set()
        return data

    fetcher = Fetcher(mine, Memory(nursery, {ORIGIN: tampered(serve, count)}), limits=QUICK)
    async with trio.open_nursery() as waiters:
        scope = trio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await fetcher.fetch_file(file.digest, file.size)

        waiters.start_soon(cancelled)
        await trio.testing.wait_all_tasks_blocked()
        waiters.start_soon(fetcher.fetch_file, file.digest, file.size)
        await half.wait()
        scope.cancel()
    assert mine.read(file.digest) == DATA


async def test_a_restarted_peer_does_not_fetch_again_what_it_has(tmp_path: Path, nursery: trio.Nursery) -> None:
    serve, file = holder(EmbeddedStore(tmp_path / "origin"))
    first = EmbeddedStore(tmp_path / "mine")
    fetcher = Fetcher(first, Memory(nursery, {ORIGIN: serve}), limits=QUICK)
    leaf_list = await fetcher.fetch_leaf_list(file.digest, file.size)
    await fetcher.fetch_chunks(first.begin(file.digest, file.size, leaf_list).target(0, leaf_list, file.digest), 0, 6)

    sent: list[bytes] = []

    def note(data: bytes) -> bytes:
        if sent_chunk(data):
            sent.append(data)
        return data

    again = EmbeddedStore(tmp_path / "mine")  # the first one is left as a killed process leaves it
    fetcher = Fetcher(again, Memory(nursery, {ORIGIN: tampered(serve, note)}), limits=QUICK)
    await fetcher.fetch_file(file.digest, file.size)
    assert again.read(file.digest) == DATA
    assert sorted(sent) == sorted(DATA[i * CHUNK_SIZE : (i + 1) * CHUNK_SIZE] for i in (6, 7, 8, 9))


async def test_no_room_ends_the_fetch_with_the_reason(tmp_path: Path, nursery: trio.Nursery) -> None:
    serve, file = holder(EmbeddedStore(tmp_path / "origin"))
    mine = EmbeddedStore(tmp_path / "mine", quota=3 * CHUNK_SIZE)
    fetcher = Fetcher(mine, Memory(nursery, {ORIGIN: serve}), limits=QUICK)
    with pytest.raises(QuotaExceeded, match="quota"):
        await fetcher.fetch_file(file.digest, file.size)
    assert not mine.has(file.digest)
    assert mine.used() <= 3 * CHUNK_SIZE


async def test_a_rotten_chunk_is_not_served_and_is_fetched_again(make: Make, nursery: trio.Nursery) -> None:
    serve, file = holder(make("origin"))
    rotten = make("rotten")
    rotten.put(DATA)
    rot(rotten, file.digest, 3)
    rotten = make("rotten")  # another process, begun after the disk had rotted
    mine = make("mine")
    peers = {ORIGIN: Server(rotten).serve}
    fetcher = Fetcher(mine, Memory(nursery, peers), limits=QUICK)
    with pytest.raises(ContentUnavailable, match="1 chunks"):
        await fetcher.fetch_file(file.digest, file.size)
    assert fetcher.distrusted() == set()
    assert not rotten.has(file.digest)
    await Fetcher(rotten, Memory(nursery, {ORIGIN: serve}), limits=QUICK).fetch_file(file.digest, file.size)
    await fetcher.fetch_file(file.digest, file.size)
    assert mine.read(file.digest) == rotten.read(file.digest) == DATA


async def test_a_chunk_that_rots_while_it_is_served_makes_no_liar(make: Make, nursery: trio.Nursery) -> None:
    """It was hashed when it came in, and is not hashed at each request; but when somebody finds it wrong."""
    serve, file = holder(make("origin"))
    rotten = make("rotten")
    rotten.put(DATA)
    rot(rotten, file.digest, 3)
    mine = make("mine")
    fetcher = Fetcher(mine, Memory(nursery, {OTHER: Server(rotten).serve}), limits=QUICK)
    with pytest.raises(ContentUnavailable, match="1 chunks"):
        await fetcher.fetch_file(file.digest, file.size)
    assert fetcher.distrusted() == set()
    assert not rotten.has(file.digest)
    assert rotten.begin(file.digest, file.size, file.leaf_list).missing() == [3]
    fetcher = Fetcher(mine, Memory(nursery, {OTHER: Server(rotten).serve, ORIGIN: serve}), limits=QUICK)
    await fetcher.fetch_file(file.digest, file.size)
    assert mine.read(file.digest) == DATA
