"""Bitswap between stores in this process; Kubo and Helia are in interop/."""

import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
import trio.testing

from swarmp2p.content.bitswap import Bitswap, BitswapLimits, open_bitswap
from swarmp2p.content.bitswap_fetch import BitswapFetcher
from swarmp2p.content.bitswap_messages import (
    DAG_PB,
    MAX_MESSAGE,
    MAX_WANTLIST,
    RAW,
    Message,
    MessageReader,
    Want,
    cid_bytes,
    encode,
)
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.exchange.offload import inline
from swarmp2p.content.interface import ContentStore, Stream
from swarmp2p.content.unixfs import HASH_SIZE, cid, hash_bytes, root, varint
from swarmp2p.core.errors import ConfigError, ContentCorrupt, ContentUnavailable, PeerUnreachable, QuotaExceeded
from swarmp2p.core.types import CHUNK_SIZE, Digest
from swarmp2p.testing.memory_content import MemoryStore
from tests.content.wire import End, pair, pattern

SIZE = 5 * CHUNK_SIZE + 3
LIMIT = 100.0
WIDE = 180
"""Chunks: more than one node's links, so that the tree has three levels."""


Memory = Callable[[], MemoryStore]


@pytest.fixture
def memory() -> Iterator[Memory]:
    """Makes stores, and closes them."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(MemoryStore()))


class Web:
    """Nodes in this process: a stream to one is served by its Bitswap."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.nodes: dict[str, Bitswap] = {}
        self.inboxes: dict[str, list[End]] = {}

    def network(self, me: str) -> "Network":
        return Network(self, me)

    async def open(self, me: str, peer: str) -> Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = pair()
        if peer in self.inboxes:
            self.inboxes[peer].append(theirs)
        elif peer in self.nodes:
            self._nursery.start_soon(self.nodes[peer].serve, theirs, me)
        else:
            raise PeerUnreachable(f"{peer} is not connected.")
        return ours


class Network:
    """What one node sees of it: a `BitswapNetwork`."""

    def __init__(self, web: Web, me: str) -> None:
        self._web, self._me = web, me

    async def open(self, peer: str) -> Stream:
        return await self._web.open(self._me, peer)


@asynccontextmanager
async def web(
    *stores: ContentStore, limits: BitswapLimits | None = None, only: Collection[Digest] | None = None
) -> AsyncIterator[tuple[Web, list[Bitswap]]]:
    """Nodes named "0", "1", … on these stores."""
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            made = Web(nursery)
            for number, store in enumerate(stores):
                made.nodes[str(number)] = await stack.enter_async_context(
                    open_bitswap(
                        store, made.network(str(number)), may_have=lambda peer: only, limits=limits, offload=inline
                    )
                )
            yield made, list(made.nodes.values())
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE, CHUNK_SIZE + 1, SIZE, WIDE * CHUNK_SIZE - 7])
async def test_a_file_is_fetched_by_its_cid(memory: Memory, size: int, autojump_clock: trio.testing.MockClock) -> None:
    source, sink = memory(), memory()
    data = pattern(size)
    hashed = source.put(data)
    async with web(source, sink) as (_, nodes):
        fetcher = BitswapFetcher(nodes[1], sink, offload=inline)
        assert await fetcher.fetch(cid(hashed.digest, size), ["0"]) == hashed
        assert await fetcher.fetch(str(cid(hashed.digest, size)), ["0"]) == hashed, "and again"
    assert sink.read(hashed.digest) == data


async def test_a_fetch_goes_on_where_an_earlier_one_ended(memory: Memory, tmp_path: Path) -> None:
    source, sink = memory(), EmbeddedStore(tmp_path)
    data = pattern(SIZE)
    hashed = source.put(data)
    part = sink.begin(hashed.digest, SIZE, hashed.leaf_list)
    for index in (0, 2, 5):
        part.write_chunk(index, data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
    async with web(source, sink) as (_, nodes):
        await BitswapFetcher(nodes[1], sink, offload=inline).fetch(cid(hashed.digest, SIZE), ["0"])
        block_bytes = sum(map(len, root(hashed.leaf_list, SIZE).nodes.values()))
        assert nodes[0].sent == 3 * CHUNK_SIZE + block_bytes
    assert sink.read(hashed.digest) == data
    sink.close()


async def test_nodes_that_have_parts_are_joined(memory: Memory, autojump_clock: trio.testing.MockClock) -> None:
    data = pattern(SIZE)
    hashed = hash_bytes(data)
    whole, half, sink = memory(), memory(), memory()
    whole.put(data)
    part = half.begin(hashed.digest, SIZE, hashed.leaf_list)
    for index in (0, 1):
        part.write_chunk(index, data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
    async with web(half, whole, sink) as (_, nodes):
        await BitswapFetcher(nodes[2], sink, offload=inline).fetch(cid(hashed.digest, SIZE), ["0", "gone", "1"])
    assert sink.read(hashed.digest) == data


async def test_a_node_that_dies_in_the_middle_is_replaced(
    memory: Memory, autojump_clock: trio.testing.MockClock
) -> None:
    """It goes without a word after some chunks; what it owed comes from the other."""
    data = pattern(40 * CHUNK_SIZE)
    mortal, other, sink = memory(), memory(), memory()
    hashed = mortal.put(data)
    other.put(data)
    life = trio.CancelScope()
    read, served = mortal.read_chunk, 0

    def read_and_die(name: Digest, index: int) -> bytes:
        nonlocal served
        served += 1
        if served == 5:
            life.cancel()
        return read(name, index)

    mortal.read_chunk = read_and_die  # type: ignore[method-assign]
    limits = BitswapLimits(batch=CHUNK_SIZE)
    async with web(other, sink, limits=limits) as (made, nodes), trio.open_nursery() as nursery:

        async def live(task_status: trio.TaskStatus[None]) -> None:
            with life:
                async with open_bitswap(mortal, made.network("m"), limits=limits, offload=inline) as node:
                    made.nodes["m"] = node
                    task_status.started()
                    await trio.sleep_forever()

        await nursery.start(live)
        await BitswapFetcher(nodes[1], sink, offload=inline).fetch(cid(hashed.digest, len(data)), ["m", "0"])
        assert served == 5
        assert made.nodes["m"].sent < 6 * CHUNK_SIZE
        assert nodes[0].sent >= 35 * CHUNK_SIZE
    assert sink.read(hashed.digest) == data


async def test_what_nobody_has_is_unavailable(memory: Memory, autojump_clock: trio.testing.MockClock) -> None:
    hashed = hash_bytes(pattern(SIZE))
    async with web(memory(), memory()) as (_, nodes):
        fetcher = BitswapFetcher(nodes[1], memory(), offload=inline)
        with pytest.raises(ContentUnavailable, match="does not have it"):
            await fetcher.fetch(cid(hashed.digest, SIZE), ["0"])
        with pytest.raises(ContentUnavailable, match="No IPFS node"):
            await fetcher.fetch(cid(hashed.digest, SIZE), [])
        with pytest.raises(ConfigError):
            await fetcher.fetch("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n", ["0"])


async def test_a_silent_node_is_given_up(memory: Memory, autojump_clock: trio.testing.MockClock) -> None:
    hashed = hash_bytes(pattern(SIZE))
    async with web(memory(), limits=BitswapLimits(linger=60.0)) as (made, nodes):
        made.inboxes["silent"] = []
        with pytest.raises(ContentUnavailable, match="in time"):
            await BitswapFetcher(nodes[0], memory(), offload=inline).fetch(cid(hashed.digest, SIZE), ["silent"])
        reader = MessageReader(made.inboxes["silent"][0])
        root_cid = cid_bytes(DAG_PB, hashed.digest)
        assert await reader.read() == Message((Want(root_cid),))
        assert await reader.read() == Message((Want(root_cid, cancel=True),)), "and is told that it is not wanted"


async def test_a_file_of_another_profile_is_refused(memory: Memory, autojump_clock: trio.testing.MockClock) -> None:
    """Its tree says that it has a byte more than its leaves."""

    data = pattern(SIZE)
    nodes = root(hash_bytes(data).leaf_list, SIZE).nodes
    (block,) = nodes.values()
    bent = block.replace(varint(SIZE), varint(SIZE - 1))
    assert len(bent) == len(block)
    assert bent != block
    digest = hashlib.sha256(bent).digest()
    source, sink = memory(), memory()
    source.put(data)
    async with web(source, sink) as (made, running):
        made.nodes["0"]._blocks._nodes[digest].append((digest, bent))
        with pytest.raises(ContentCorrupt, match="another profile"):
            await BitswapFetcher(running[1], sink, offload=inline).fetch(cid(digest, SIZE), ["0"])
    assert sink.digests() == set()


async def test_a_file_that_is_too_large_is_not_fetched(memory: Memory, autojump_clock: trio.testing.MockClock) -> None:
    source, sink = memory(), memory()
    hashed = source.put(pattern(SIZE))
    async with web(source, sink) as (_, nodes):
        with pytest.raises(QuotaExceeded, match="at most"):
            await BitswapFetcher(nodes[1], sink, offload=inline).fetch(
                cid(hashed.digest, SIZE), ["0"], max_size=SIZE - 1
            )


class Talk:
    """A node that a test plays by hand, named "test", against node "0"."""

    def __init__(self, made: Web, nursery: trio.Nursery) -> None:
        self._made, self._nursery = made, nursery
        made.inboxes["test"] = []
        self._reader: MessageReader | None = None
        self.stream = self.new_stream()

    def new_stream(self) -> End:
        ours, theirs = pair()
        self._nursery.start_soon(self._made.nodes["0"].serve, theirs, "test")
        return ours

    async def say(self, message: Message) -> None:
        await self.stream.send_all(encode(message))

    async def hear(self) -> Message:
        while not self._made.inboxes["test"]:
            await trio.testing.wait_all_tasks_blocked()
        if self._reader is None:
            self._reader = MessageReader(self._made.inboxes["test"][0])
        message = await self._reader.read()
        assert message is not None
        return message


@asynccontextmanager
async def talk(
    store: ContentStore, limits: BitswapLimits | None = None, only: Collection[Digest] | None = None
) -> AsyncIterator[Talk]:
    async with web(store, limits=limits, only=only) as (made, _), trio.open_nursery() as nursery:
        yield Talk(made, nursery)
        nursery.cancel_scope.cancel()


async def test_blocks_are_answered_by_cid_of_either_version_and_presences_by_what_is_held(memory: Memory) -> None:
    store = memory()
    data = pattern(SIZE)
    hashed = store.put(data)
    node = cid_bytes(DAG_PB, hashed.digest)
    leaf = cid_bytes(RAW, hashed.leaf_list[:HASH_SIZE])
    absent, blake = cid_bytes(RAW, bytes(32)), bytes([1, RAW, 0x1E, 32]) + bytes(32)
    async with talk(store) as other:
        await other.say(
            Message(
                (
                    Want(node, have=True, priority=9),
                    Want(absent, have=True, priority=8),
                    Want(absent[:1] + absent[1:], priority=7),
                    Want(blake, priority=6),
                    Want(cid_bytes(RAW, bytes([9]) * 32), dont_have=False, priority=5),
                    Want(leaf, priority=4),
                    Want(bytes([0x12, 32]) + hashed.digest, priority=3),
                )
            )
        )
        heard = await other.hear()
        assert dict(heard.presences) == {node: True, absent: False, blake: False}
        assert heard.blocks == (
            (leaf[:-HASH_SIZE], data[:CHUNK_SIZE]),
            (bytes([0, DAG_PB, 0x12, 32]), root(hashed.leaf_list, SIZE).nodes[hashed.digest]),
        )


async def test_files_come_grow_become_whole_and_go(memory: Memory) -> None:
    store = memory()
    data = pattern(2 * CHUNK_SIZE)
    hashed = hash_bytes(data)
    first, second = (cid_bytes(RAW, hashed.leaf_list[at : at + HASH_SIZE]) for at in (0, HASH_SIZE))
    node = cid_bytes(DAG_PB, hashed.digest)

    async with talk(store) as other:

        async def held() -> list[bool]:
            await other.say(Message(tuple(Want(each, have=True) for each in (first, second, node))))
            found = dict((await other.hear()).presences)
            return [found[each] for each in (first, second, node)]

        assert await held() == [False, False, False]
        part = store.begin(hashed.digest, hashed.size, hashed.leaf_list)
        assert await held() == [False, False, False]
        part.write_chunk(0, data[:CHUNK_SIZE])
        assert await held() == [True, False, False]
        part.write_chunk(1, data[CHUNK_SIZE:])
        part.finish(hashed.digest)
        assert await held() == [True, True, True]
        store.collect(())
        assert await held() == [False, False, False]


async def test_the_leaf_list_of_a_slice_is_a_block_too(memory: Memory) -> None:
    store = memory()
    part = store.assemble("a", 2 * CHUNK_SIZE)
    part.write_chunk(0, bytes(CHUNK_SIZE))
    name = part.seal_slice(0, 1)
    async with talk(store) as other:
        await other.say(Message((Want(cid_bytes(RAW, name)),)))
        assert [data for _, data in (await other.hear()).blocks] == [store.leaf_list(name)]


async def test_a_stranger_gets_blocks_of_what_it_may_have_and_no_others(memory: Memory) -> None:
    store = memory()
    public, private = pattern(SIZE, 1), pattern(SIZE, 2)
    shown, hidden = store.put(public), store.put(private)
    part = store.assemble("a", CHUNK_SIZE)
    part.write_chunk(0, pattern(CHUNK_SIZE, 3))
    slice_ = part.seal_slice(0, 1)
    names = [hidden.digest, hidden.leaf_list[:HASH_SIZE], slice_]
    async with talk(store, only={shown.digest}) as other:
        wants = [Want(cid_bytes(RAW, name), have=have, priority=5) for name in names for have in (False, True)]
        for want in [*wants, Want(cid_bytes(RAW, shown.leaf_list[:HASH_SIZE]))]:
            await other.say(Message((want,)))
            heard = await other.hear()
            assert heard.presences == (((want.cid, False),) if want.priority == 5 else ())
        assert [data for _, data in heard.blocks] == [public[:CHUNK_SIZE]]


async def test_a_cancelled_want_is_not_answered(memory: Memory) -> None:
    store = memory()
    hashed = store.put(pattern(SIZE))
    leaves = [cid_bytes(RAW, hashed.leaf_list[i * HASH_SIZE : (i + 1) * HASH_SIZE]) for i in range(3)]
    async with talk(store) as other:
        await other.say(Message((Want(leaves[0]), Want(leaves[1]), Want(leaves[0], cancel=True))))
        assert [prefix for prefix, _ in (await other.hear()).blocks] == [leaves[1][:-HASH_SIZE]]
        await other.say(Message((Want(leaves[2]),), full=True))
        assert len((await other.hear()).blocks) == 1


async def test_unasked_blocks_are_not_kept_and_end_the_stream_in_the_end(memory: Memory) -> None:
    store = memory()
    block = bytes(CHUNK_SIZE)
    async with talk(store, BitswapLimits(unasked=3 * CHUNK_SIZE)) as other:
        prefix = cid_bytes(RAW, b"")
        for _ in range(4):
            await other.say(Message(blocks=((prefix, block),)))
        assert await other.stream.receive_some(1) == b"", "closed by the other side"
    assert store.digests() == set()


async def test_a_block_that_was_asked_for_is_taken_whatever_its_sender_calls_it(memory: Memory) -> None:
    """It is its hash that counts."""
    block = pattern(CHUNK_SIZE)
    wanted = cid_bytes(RAW, hashlib.sha256(block).digest())
    async with web(memory()) as (made, nodes), trio.open_nursery() as nursery:
        other = Talk(made, nursery)
        got: list[bytes] = []

        async def ask() -> None:
            got.append(await nodes[0].ask("test", wanted))

        async with trio.open_nursery() as asking:
            asking.start_soon(ask)
            assert await other.hear() == Message((Want(wanted),))
            await other.say(Message(blocks=((b"odd", pattern(CHUNK_SIZE, 1)), (b"odd", block))))
        assert got == [block]
        nursery.cancel_scope.cancel()


async def test_one_that_was_asked_may_send_large_messages_but_not_larger_than_the_protocol_allows(
    memory: Memory,
) -> None:
    block = pattern(2 * CHUNK_SIZE)
    wanted = cid_bytes(RAW, hashlib.sha256(block).digest())
    async with web(memory()) as (made, nodes), trio.open_nursery() as nursery:
        other = Talk(made, nursery)
        got: list[bytes] = []

        async def ask() -> None:
            got.append(await nodes[0].ask("test", wanted))

        async with trio.open_nursery() as asking:
            asking.start_soon(ask)
            await other.hear()
            await other.say(Message(blocks=((wanted[:-HASH_SIZE], block),) + ((b"", bytes(CHUNK_SIZE)),) * 2))
        assert got == [block]
        await other.stream.send_all(varint(MAX_MESSAGE + 1))
        assert await other.stream.receive_some(1) == b""
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "garbage",
    [
        varint(MAX_WANTLIST + 1),  # of one that was asked for nothing
        b"\xff" * 11,
        b"\x03\x0a\x05\x01",  # a field that ends beyond its message
        b"\x02\x0a\x7f",
        b"\x01\x0f",  # wire type 7
        b"\x06\x0a\x04\x0a\x02\x10\x01",  # a want without a CID
        b"\x02\x22\x00",  # a presence without a CID
    ],
)
async def test_garbage_ends_its_stream_only(memory: Memory, garbage: bytes) -> None:
    store = memory()
    hashed = store.put(pattern(SIZE))
    async with talk(store) as other:
        bad = other.new_stream()
        await bad.send_all(garbage)
        assert await bad.receive_some(1) == b""
        await other.say(Message((Want(cid_bytes(DAG_PB, hashed.digest)),)))
        assert len((await other.hear()).blocks) == 1


async def test_limits_of_a_peer(memory: Memory) -> None:
    store = memory()
    hashed = store.put(pattern(SIZE))
    async with talk(store, BitswapLimits(streams=2, wants=2)) as other:
        second = other.new_stream()
        await trio.testing.wait_all_tasks_blocked()
        third = other.new_stream()
        assert await third.receive_some(1) == b"", "a third stream is closed at once"
        wants = tuple(Want(cid_bytes(RAW, bytes([i]) * 32), have=True) for i in range(5))
        await other.say(Message(wants))
        assert len((await other.hear()).presences) == 2, "wants beyond the limit are not taken in"
        await second.aclose()
    async with web(store, limits=BitswapLimits(peers=1)) as (made, _), trio.open_nursery() as nursery:
        first = Talk(made, nursery)
        await first.say(Message((Want(cid_bytes(DAG_PB, hashed.digest)),)))
        await first.hear()
        ours, theirs = pair()
        await made.nodes["0"].serve(theirs, "one too many")
        assert await ours.receive_some(1) == b""
        nursery.cancel_scope.cancel()


async def test_a_peer_with_many_wants_does_not_keep_another_waiting(memory: Memory) -> None:
    """Each turn is a message; the second peer's only want comes before the first peer's last one."""
    store = memory()
    data = pattern(40 * CHUNK_SIZE)
    hashed = store.put(data)
    order: list[str] = []

    class Counting(Network):
        async def open(self, peer: str) -> Stream:
            stream = await super().open(peer)

            class Counted:
                async def send_all(self, data: bytes) -> None:
                    order.append(peer)
                    await stream.send_all(data)

                async def receive_some(self, max_bytes: int) -> bytes:
                    return await stream.receive_some(max_bytes)

                async def aclose(self) -> None:
                    await stream.aclose()

            return Counted()

    async with trio.open_nursery() as nursery:
        made = Web(nursery)
        made.inboxes = {"greedy": [], "modest": []}
        async with open_bitswap(store, Counting(made, "0"), offload=inline) as node:
            streams = {}
            for name in made.inboxes:
                streams[name], theirs = pair()
                nursery.start_soon(node.serve, theirs, name)
            leaves = [cid_bytes(RAW, hashed.leaf_list[i * HASH_SIZE : (i + 1) * HASH_SIZE]) for i in range(40)]
            await streams["greedy"].send_all(encode(Message(tuple(Want(leaf) for leaf in leaves))))
            await streams["modest"].send_all(encode(Message((Want(leaves[0]),))))
            await trio.testing.wait_all_tasks_blocked(0.05)
        assert order.count("greedy") == 10
        assert order.index("modest") <= 2
        nursery.cancel_scope.cancel()
