"""Chunks in the making: they are waited for, come in order, and prove nothing."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.exchange import Fetcher, Limits, Live, LiveObject
from swarmp2p.content.unixfs import HASH_SIZE, chunk_length, hash_bytes
from swarmp2p.core.types import CHUNK_SIZE
from tests.content.tls import Member, Nowhere
from tests.content.wire import pattern

TOTAL = 9
DATA = pattern(TOTAL * CHUNK_SIZE - 1000)
NAME = bytes(range(32))
Join = Callable[[str], Member]


def chunk(index: int) -> bytes:
    return DATA[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]


class Making:
    """A live object whose chunks become ready when a test says so."""

    def __init__(self) -> None:
        self.ready: set[int] = set()
        self.object = LiveObject(len(DATA), lambda index: chunk(index) if index in self.ready else None)

    def make(self, *indexes: int) -> None:
        self.ready.update(indexes)
        self.object.advance()


def test_what_is_ready_can_be_had() -> None:
    making = Making()
    making.make(0, 3, 8)
    assert (making.object.total, making.object.length(0), making.object.length(8)) == (9, CHUNK_SIZE, CHUNK_SIZE - 1000)
    assert [making.object.chunk(index, 0) for index in (0, 1, 3, 8)] == [chunk(0), None, chunk(3), chunk(8)]


def test_a_waiting_thread_has_a_chunk_as_soon_as_it_is_made() -> None:
    making, got = Making(), []
    thread = threading.Thread(target=lambda: got.append(making.object.chunk(0, 60)))
    thread.start()
    making.make(0)
    thread.join(30)
    assert got == [chunk(0)]


def test_a_name_can_be_waited_for_and_is_withdrawn() -> None:
    live, making, got = Live(), Making(), []
    thread = threading.Thread(target=lambda: got.append(live.get(NAME, 60)))
    thread.start()
    live.publish(NAME, making.object)
    thread.join(30)
    assert got == [making.object]
    live.withdraw(NAME)
    live.withdraw(NAME)
    assert live.get(NAME) is None


@pytest.mark.parametrize("already", [0, 4])
async def test_a_follower_takes_each_chunk_when_it_is_ready(join: Join, already: int) -> None:
    leader, mine = join("leader"), join("mine")
    making, live = Making(), leader.live
    links = mine.links_to(leader)
    fetcher = Fetcher(mine.store, Nowhere(leader), direct=links)
    part = mine.store.assemble("r1", len(DATA))
    for index in range(already):
        part.write_chunk(index, chunk(index))
    counts: list[int] = []

    def take(index: int, data: memoryview) -> None:
        part.write_chunk(index, data)
        counts.append(index)
        making.make(index + 1)  # the next one is made only now

    making.make(*range(already + 1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetcher.follow, NAME, TOTAL, leader.address, take, range(already, TOTAL))
        await trio.testing.wait_all_tasks_blocked()
        live.publish(NAME, making.object)
    assert counts == list(range(already, TOTAL))
    assert part.leaf_list(0, TOTAL) == hash_bytes(DATA).leaf_list
    links.close()


async def test_a_leader_that_stops_or_goes_leaves_what_came(join: Join) -> None:
    leader, mine = join("leader"), join("mine")
    making = Making()
    making.make(0, 1, 2)
    leader.live.publish(NAME, making.object)
    links = mine.links_to(leader)
    fetcher = Fetcher(mine.store, Nowhere(leader), direct=links, limits=Limits(stall=1.0))
    got: list[int] = []
    assert await fetcher.follow(NAME, TOTAL, leader.address, lambda index, data: got.append(index), range(TOTAL)) == 3
    leader.listener.close()
    assert (
        await fetcher.follow(NAME, TOTAL, leader.address, lambda index, data: got.append(index), range(3, TOTAL)) == 3
    )
    assert got == [0, 1, 2]
    assert fetcher.distrusted() == set()
    links.close()


@pytest.mark.parametrize("size", [1, len(DATA) - CHUNK_SIZE, len(DATA) - 1, len(DATA) + CHUNK_SIZE])
async def test_a_leader_whose_slice_has_another_size_is_a_liar(join: Join, size: int) -> None:
    leader, mine = join("leader"), join("mine")
    leader.live.publish(NAME, LiveObject(size, lambda index: bytes(chunk_length(index, size))))
    links = mine.links_to(leader)
    fetcher = Fetcher(mine.store, Nowhere(leader), direct=links)
    part = mine.store.assemble("r1", len(DATA))
    assert await fetcher.follow(NAME, TOTAL, leader.address, part.write_chunk, range(TOTAL)) < TOTAL
    assert fetcher.distrusted() == {leader.address}
    links.close()


@pytest.mark.parametrize("length", [0, 1, CHUNK_SIZE + 1])
async def test_a_chunk_of_another_length_than_said_is_not_sent(join: Join, length: int) -> None:
    leader, mine = join("leader"), join("mine")
    leader.live.publish(NAME, LiveObject(len(DATA), lambda index: bytes(length) if index == 2 else chunk(index)))
    links = mine.links_to(leader)
    fetcher = Fetcher(mine.store, Nowhere(leader), direct=links)
    got: list[int] = []
    assert await fetcher.follow(NAME, TOTAL, leader.address, lambda index, data: got.append(index), range(TOTAL)) == 2
    assert got == [0, 1]
    assert fetcher.distrusted() == set()
    links.close()


def test_what_a_leader_made_up_is_fetched_again_once_the_slice_is_claimed(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    part = store.assemble("r1", len(DATA))
    for index in range(TOTAL):
        part.write_chunk(index, chunk(index) if index != 5 else bytes(CHUNK_SIZE))
    leaf_list = hash_bytes(DATA).leaf_list
    claimed = leaf_list[3 * HASH_SIZE : 7 * HASH_SIZE]
    name = hash_bytes(claimed).leaf_list
    target = part.target(3, claimed, name)
    assert target.missing() == [2]
    assert store.held(name) == bytes([0b1011]), "what is made up is not passed on"
    target.write_chunk(2, chunk(5))
    assert target.missing() == []
    assert part.seal_slice(3, 7) == name
    store.close()
