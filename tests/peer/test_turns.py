"""Transfers take turns where links are fast, and go on beside each other where they are slow, or stuck."""

from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.peer.turns import FAST, LAST, TELLING_FAST, TELLING_SLOW, Turns, place_after

PATIENCE = 0.5


class Line:
    """What comes over the links, at a rate, in chunks."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.came = 0
        self.log: list[str] = []

    async def transfer(
        self, name: str, place: int, chunks: int = 8, rate: float = 2 * FAST, last: bool = False
    ) -> None:
        async with self.turns.turn(place, chunks, lambda: self.came, PATIENCE, last=last):
            self.log.append(f"{name} begins")
            for _ in range(chunks):
                await trio.sleep(CHUNK_SIZE / rate)
                self.came += 1
            self.log.append(f"{name} ends")


@pytest.fixture
def line(autojump_clock: MockClock) -> Line:
    return Line()


async def test_one_after_the_other_from_the_next_place_on(line: Line) -> None:
    async with trio.open_nursery() as nursery:
        for name, place in (("three", 3), ("one", 1), ("two", 2)):
            nursery.start_soon(line.transfer, name, place)
            await trio.testing.wait_all_tasks_blocked()
    assert line.log == [f"{name} {what}" for name in ("one", "two", "three") for what in ("begins", "ends")]
    assert line.turns.fast


@pytest.mark.parametrize("place", [1, 2])
async def test_who_is_cancelled_on_the_way_to_a_turn_does_not_keep_it(line: Line, place: int) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await line.transfer("cancelled", place)
    with trio.fail_after(10):
        await line.transfer("next", 1)
    assert line.log == ["next begins", "next ends"]


async def test_who_is_due_first_is_not_waited_for_long(line: Line) -> None:
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.transfer, "two", 2)
        await trio.sleep(1)
        nursery.start_soon(line.transfer, "one", 1)
    assert line.log[0] == "two begins"
    assert trio.current_time() < begun + 2


async def test_on_slow_links_all_members_go_on_at_once(line: Line) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(line.transfer, "first", 1, rate=FAST / 2))
        await trio.testing.wait_all_tasks_blocked()
        for place in (2, 3, 4):
            nursery.start_soon(partial(line.transfer, f"at {place}", place, rate=FAST / 8))
    assert not line.turns.fast
    assert line.log[:2] == ["first begins", "first ends"]
    assert sorted(line.log[2:5]) == ["at 2 begins", "at 3 begins", "at 4 begins"]


async def test_on_slow_links_transfers_of_one_member_take_turns_and_what_is_waited_for_goes_first(line: Line) -> None:
    slow = partial(line.transfer, rate=FAST / 8)
    await slow("first", 1)
    async with trio.open_nursery() as nursery:
        for name, place, last in (("a", 2, False), ("slice of a", 2, True), ("more of a", 2, False), ("b", 3, True)):
            nursery.start_soon(partial(slow, name, place, last=last))
            await trio.testing.wait_all_tasks_blocked()
    assert line.log[2:4] == ["a begins", "b begins"]
    order = [each for each in line.log if each.endswith("of a begins")]
    assert order == ["more of a begins", "slice of a begins"]
    assert line.log.index("a ends") < line.log.index("more of a begins")
    assert line.log.index("more of a ends") < line.log.index("slice of a begins")


async def test_a_buffer_that_is_emptied_does_not_make_links_fast(line: Line) -> None:
    await line.transfer("slow", 1, rate=FAST / 8)
    assert not line.turns.fast
    await line.transfer("burst", 1, chunks=TELLING_FAST - 1, rate=100 * FAST)
    assert not line.turns.fast
    await line.transfer("fast", 1, chunks=TELLING_FAST)
    assert line.turns.fast


async def test_a_transfer_that_does_not_move_loses_its_turn_but_goes_on(line: Line) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(line.transfer, "stuck", 1, chunks=1, rate=CHUNK_SIZE / 10))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(line.transfer, "next", 2)
    assert line.log == ["stuck begins", "next begins", "next ends", "stuck ends"]


async def test_a_few_chunks_tell_nothing_of_the_links(line: Line) -> None:
    await line.transfer("short", 1, chunks=TELLING_SLOW - 1, rate=FAST / 100)
    assert line.turns.fast


async def test_who_is_cancelled_leaves_the_others_their_turns(line: Line) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.transfer, "one", 1)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as doomed:
            doomed.start_soon(line.transfer, "two", 2)
            await trio.testing.wait_all_tasks_blocked()
            doomed.cancel_scope.cancel()
        nursery.start_soon(line.transfer, "three", 3)
    assert line.log == ["one begins", "one ends", "three begins", "three ends"]
    await line.transfer("four", 1)
    assert line.log[-1] == "four ends"


def test_places_go_around_the_circle() -> None:
    assert [place_after(2, other, 4) for other in (3, 0, 1)] == [1, 2, 3]
    assert place_after(None, 1, 4) == place_after(1, None, 4) == place_after(None, None, 0) == LAST
