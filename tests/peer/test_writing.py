"""Updates are taken while they are written; what a member makes up on the way does no harm."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.exchange import Live
from swarmp2p.content.unixfs import hash_bytes
from swarmp2p.core.errors import ContentUnavailable, InvalidUpdate
from swarmp2p.core.types import CHUNK_SIZE, Digest
from swarmp2p.peer.turns import Turns
from swarmp2p.peer.writing import Room, Taking, Writing, writing_name
from swarmp2p.testing.local_swarm import local_swarm
from tests.peer.test_following import MEMBERS, SIZE, heads_of

pytestmark = [  # py-libp2p leaves sockets and streams of an ended host to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DATA = b"".join(bytes([number]) * CHUNK_SIZE for number in (1, 2, 3)) + b"end"
FILE = hash_bytes(DATA)
NAME = writing_name(1, bytes(32), bytes(20))


def chunk(index: int) -> bytes:
    return DATA[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]


def write(path: Path, writing: Writing, order: list[int]) -> None:
    """As `write_watched` does."""
    with path.open("w+b", buffering=0) as file:
        writing.begin(file)
        for index in order:
            writing.next(index)
            file.seek(index * CHUNK_SIZE)
            file.write(chunk(index))


def test_others_have_what_is_written_and_nothing_else(tmp_path: Path) -> None:
    live, begun = Live(), threading.Event()
    writing = Writing(live, NAME, len(DATA), begun.set)
    assert live.get(NAME) is None
    with writing:
        write(tmp_path / "update", writing, [2, 3, 0])
        assert begun.is_set()
        made = live.get(NAME)
        assert made is not None
        assert not made.gives_way
        assert [made.chunk(index, 0) for index in range(4)] == [None, None, chunk(2), chunk(3)]
        (tmp_path / "update").rename(tmp_path / "elsewhere")
    assert [made.chunk(index, 0) for index in range(4)] == [chunk(0), None, chunk(2), chunk(3)]
    writing.close()
    assert live.get(NAME) is None
    assert made.chunk(0, 0) is None


def test_an_update_that_is_refused_while_it_is_written_is_not_to_be_had(tmp_path: Path) -> None:
    live = Live()
    writing = Writing(live, NAME, len(DATA), lambda: None)

    def refused() -> None:
        with writing:
            write(tmp_path / "update", writing, [0, 1])
            raise InvalidUpdate("inf")

    with pytest.raises(InvalidUpdate):
        refused()
    assert live.get(NAME) is None


class Taken:
    """A taking into a store, and what it told."""

    def __init__(self, folder: Path, room: Room | None = None) -> None:
        self.store, self.came = EmbeddedStore(folder), list[tuple[Digest, int, int]]()
        self.room = room or Room()
        self.taking = Taking(self.room, lambda *what: self.came.append(what))

    def prove(self) -> None:
        part = self.store.begin(FILE.digest, FILE.size, FILE.leaf_list)
        self.taking.prove(part.target(0, FILE.leaf_list, FILE.digest))

    def missing(self) -> list[int]:
        return self.store.begin(FILE.digest, FILE.size, FILE.leaf_list).missing()


def test_what_came_early_is_stored_once_it_is_proven(tmp_path: Path) -> None:
    taken = Taken(tmp_path, Room(2 * CHUNK_SIZE))
    taken.taking.take(0, memoryview(chunk(0)))
    taken.taking.take(1, memoryview(chunk(2)))  # made up
    assert taken.came == []
    assert taken.store.used() == 0
    taken.prove()
    assert taken.came == [(FILE.digest, 0, CHUNK_SIZE)]
    assert taken.room.take(2 * CHUNK_SIZE), "nothing is kept any more"
    taken.taking.take(3, memoryview(chunk(3)))
    taken.taking.take(2, memoryview(chunk(1)))  # made up
    assert taken.came[1:] == [(FILE.digest, 3, 3)]
    assert taken.missing() == [1, 2]


def test_what_there_is_no_room_for_waits(tmp_path: Path) -> None:
    taken = Taken(tmp_path, Room(CHUNK_SIZE))
    taken.taking.take(0, memoryview(chunk(0)))
    waiting = threading.Thread(target=taken.taking.take, args=(1, memoryview(chunk(1))))
    waiting.start()
    taken.prove()
    waiting.join()
    assert sorted(index for _, index, _ in taken.came) == [0, 1]


def test_what_nobody_wants_any_more_is_dropped(tmp_path: Path) -> None:
    taken = Taken(tmp_path, Room(CHUNK_SIZE))
    taken.taking.take(0, memoryview(chunk(0)))
    failures: list[BaseException] = []

    def take() -> None:
        try:
            taken.taking.take(1, memoryview(chunk(1)))
        except ContentUnavailable as error:
            failures.append(error)

    waiting = threading.Thread(target=take)
    waiting.start()
    taken.taking.drop()
    waiting.join()
    assert len(failures) == 1
    taken.prove()
    assert taken.came == []
    assert taken.room.take(CHUNK_SIZE)


async def test_who_waits_for_a_taking_that_stands_still_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    taking = Taking(Room(), lambda *_: None)
    await taking.settled(1.0)
    assert trio.current_time() < 2
    assert taking.scope.cancel_called


@pytest.fixture
def slow_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turns, "fast", property(lambda self: False, lambda self, value: None), raising=False)


@pytest.mark.usefixtures("slow_links")
@pytest.mark.parametrize(("f", "honest"), [(0, True), (1, True), (0, False)])
def test_updates_come_while_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, f: int, honest: bool
) -> None:
    """Those of a member that sends something else meanwhile are fetched again."""
    taken: list[int] = []
    take, read = Taking.take, Writing._read

    def counted(self: Taking, index: int, data: memoryview) -> None:
        taken.append(index)
        take(self, index, data)

    def made_up(self: Any, index: int) -> bytes | None:
        data = read(self, index)
        return data if data is None or index % 2 else bytes(len(data))

    monkeypatch.setattr(Taking, "take", counted)
    if not honest:
        monkeypatch.setattr(Writing, "_read", made_up)
    with local_swarm({"mean": np.zeros(SIZE, np.float32)}, list(MEMBERS), rounds=2, f=f, folder=tmp_path) as swarm:
        assert len(trio.run(heads_of, swarm)) == 1
    assert taken
