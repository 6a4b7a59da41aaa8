"""Messages go straight to members that can be dialled, and by gossip only where that leaves somebody out."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from swarmp2p.core.types import Address
from swarmp2p.identity import Key
from swarmp2p.network.interface import topic_name
from swarmp2p.peer.context import Context
from swarmp2p.peer.delivery import FEW, PATIENCE, Delivery
from tests.core import builders

HANGS = "hangs"
Answer = bool | None | str


class Others:
    """Members and how each answers what it is told; what was told and gossiped."""

    def __init__(self, *answers: Answer) -> None:
        self.keys = [Key.from_seed(f"member {number}") for number in range(len(answers) + 1)]
        self.answers = {key.address: answer for key, answer in zip(self.keys[1:], answers, strict=True)}
        self.told: list[tuple[Address, str, bytes]] = []
        self.gossip: list[tuple[str, bytes]] = []
        members = tuple(builders.member(index, address=key.address) for index, key in enumerate(self.keys))
        context = SimpleNamespace(
            view=replace(builders.collecting(), members=members), store=SimpleNamespace(me=self.keys[0].address),
            clock=lambda: 0.0, host=SimpleNamespace(publish=self._publish),
            tls=SimpleNamespace(links=SimpleNamespace(tell=self._tell), hear=None),
            manifest=SimpleNamespace(chain_id=1, contract=bytes(20)),
        )  # fmt: skip
        self.delivery = Delivery(cast(Context, context))

    async def _tell(self, peer: Address, topic: str, message: bytes, timeout: float) -> bool | None:
        self.told.append((peer, topic, message))
        await trio.sleep(timeout * 2 if self.answers[peer] == HANGS else 0)
        answer = self.answers[peer]
        return answer if isinstance(answer, bool) else None

    async def _publish(self, topic: str, message: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.gossip.append((topic, message))


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(PATIENCE)
    await trio.testing.wait_all_tasks_blocked()


async def test_no_gossip_when_everybody_took_it(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    others = Others(True, True)
    nursery.start_soon(others.delivery.run)
    for _ in range(2):  # the second time, nobody needs it
        others.delivery.send("round", b"claim")
        await settled()
    assert sorted(others.told) == sorted((key.address, "round", b"claim") for key in others.keys[1:])
    assert others.gossip == []


@pytest.mark.parametrize("answer", [None, False, HANGS])
async def test_gossip_for_whom_it_does_not_reach_and_again_until_it_does(
    nursery: trio.Nursery, autojump_clock: MockClock, answer: Answer
) -> None:
    others = Others(True, answer)
    nursery.start_soon(others.delivery.run)
    others.delivery.send("round", b"claim")
    await settled()
    assert others.gossip == [(topic_name(1, bytes(20), "round"), b"claim")]
    others.told.clear()
    others.answers[others.keys[2].address] = True
    others.delivery.send("round", b"claim")
    await settled()
    assert others.told == [(others.keys[2].address, "round", b"claim")]
    assert len(others.gossip) == 1


@pytest.mark.parametrize("answer", [True, False, None, HANGS])
async def test_who_is_in_no_hurry_is_told_the_next_time_or_at_once_if_others_cannot_be(
    nursery: trio.Nursery, autojump_clock: MockClock, answer: Answer
) -> None:
    others = Others(True, True, answer)
    nursery.start_soon(others.delivery.run)
    _, late, *first = (key.address for key in others.keys)
    others.delivery.send("round", b"attestation", first)
    await settled()
    await settled()
    assert (late in {member for member, _, _ in others.told}) == (answer is not True)
    assert bool(others.gossip) == (answer is not True)
    others.told.clear()
    others.delivery.send("round", b"attestation")
    await settled()
    assert {member for member, _, _ in others.told} == ({late} if answer is True else {first[1]})


async def test_a_nudge_is_told_each_time_and_a_refusal_is_an_answer(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    others = Others(True, False)
    nursery.start_soon(others.delivery.run)
    for _ in range(2):
        others.delivery.nudge("round", b"hint")
        await settled()
    assert len(others.told) == 4
    assert others.gossip == []
    others.answers[others.keys[2].address] = None
    others.delivery.nudge("round", b"hint")
    others.delivery.tell_directly("updates", b"soon")
    await settled()
    assert others.gossip == [(topic_name(1, bytes(20), "round"), b"hint")]


async def test_a_large_swarm_gossips(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    others = Others(*[True] * (FEW + 1))
    nursery.start_soon(others.delivery.run)
    others.delivery.send("round", b"claim")
    others.delivery.tell_directly("updates", b"soon")
    await settled()
    assert others.told == []
    assert others.gossip == [(topic_name(1, bytes(20), "round"), b"claim")]
