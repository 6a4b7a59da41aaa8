"""Slices are taken from their leaders while these merge them; what a leader makes up on the way does no harm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from swarmp2p import SwarmPeer
from swarmp2p.content.exchange import Fetcher, LiveObject
from swarmp2p.content.interface import Part
from swarmp2p.core.types import CHUNK_SIZE, Phase
from swarmp2p.core.view import View
from swarmp2p.peer.driver import Driver
from swarmp2p.peer.following import Key
from swarmp2p.peer.merging import Merging
from swarmp2p.testing.local_swarm import LocalSwarm, local_swarm
from tests.peer.test_swarm import Average

pytestmark = [  # py-libp2p leaves sockets and streams of an ended host to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SIZE = 6 * CHUNK_SIZE // 4
MEMBERS = {"alice": 1.0, "bob": 3.0, "carol": 8.0}


class Wide(Average):
    """Seven chunks, so that each of three leaders has some."""

    def __init__(self, number: float) -> None:
        super().__init__(number, SIZE)

    def get_weights(self) -> Mapping[str, Any]:
        return {"mean": self.mean.copy()}


async def heads_of(swarm: LocalSwarm) -> set[str]:
    """All members to the end; their heads."""
    heads: set[str] = set()

    async def take_part(name: str, number: float) -> None:
        async with SwarmPeer.open(swarm.manifest, learner=Wide(number), weight=10, **swarm.options(name)) as peer:
            async for _ in peer.rounds():
                pass
            heads.add(str(peer.head))
            model = await peer.export(swarm.folder / f"{name}.safetensors", "head")
            assert model.stat().st_size > SIZE * 4

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for name, number in MEMBERS.items():
                nursery.start_soon(take_part, name, number)
    return heads


@pytest.mark.parametrize("f", [0, 1])
def test_slices_come_while_they_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, f: int) -> None:
    followed: list[int] = []
    follow = Fetcher.follow

    async def counted(self: Fetcher, *args: Any) -> int:
        here = await follow(self, *args)
        followed.append(here)
        return here

    monkeypatch.setattr(Fetcher, "follow", counted)
    with local_swarm({"mean": np.zeros(SIZE, np.float32)}, list(MEMBERS), rounds=2, f=f, folder=tmp_path) as swarm:
        assert len(trio.run(heads_of, swarm)) == 1
    assert sum(followed) > 0


def test_a_leader_that_makes_chunks_up_on_the_way_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It claims what it merged, or nobody would claim with it; and sent something else before."""
    publish = Merging._publish
    invented: list[int] = []

    def invents(self: Merging, key: Key, part: Part, chunks: range, own: set[int]) -> LiveObject:
        making = publish(self, key, part, chunks, own)
        read = making._read

        def made_up(index: int) -> bytes | None:
            data = read(index)
            if data is None or index % 2:
                return data
            invented.append(index)
            return bytes(len(data))

        making._read = made_up
        return making

    monkeypatch.setattr(Merging, "_publish", invents)
    with local_swarm({"mean": np.zeros(SIZE, np.float32)}, list(MEMBERS), rounds=2, f=0, folder=tmp_path) as swarm:
        assert len(trio.run(heads_of, swarm)) == 1
    assert invented


def test_a_round_is_over_before_its_slices_are_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The leaf lists are enough to sign; those who follow go on after the round, and come by the head."""
    publish, take_view = Merging._publish, Driver._take_view
    makings: list[LiveObject] = []
    held_back: list[int] = []

    def late(self: Merging, key: Key, part: Part, chunks: range, own: set[int]) -> LiveObject:
        making = publish(self, key, part, chunks, own)
        read, round_ = making._read, self._ctx.view.round

        def after_the_round(index: int) -> bytes | None:
            view = self._ctx.view
            if view.phase is Phase.MERGING and view.round == round_:
                held_back.append(index)
                return None
            return read(index)

        making._read = after_the_round
        makings.append(making)
        return making

    def look_again(self: Driver, view: View) -> None:
        take_view(self, view)
        for making in makings:
            making.advance()

    monkeypatch.setattr(Merging, "_publish", late)
    monkeypatch.setattr(Driver, "_take_view", look_again)
    with local_swarm({"mean": np.zeros(SIZE, np.float32)}, list(MEMBERS), rounds=2, f=0, folder=tmp_path) as swarm:
        assert len(trio.run(heads_of, swarm)) == 1
    assert held_back
