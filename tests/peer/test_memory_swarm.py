"""Whole peers on the contract's model, a network and content in memory: what networks and neighbours do to them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from multiformats import CID

from swarmp2p import SwarmPeer
from swarmp2p.content.exchange import CONTENT_PROTOCOL, Server
from swarmp2p.content.interface import ContentStore
from swarmp2p.core.types import CHUNK_SIZE, Digest
from swarmp2p.testing.memory_content import MemoryStore
from swarmp2p.testing.memory_swarm import MemorySwarm, open_memory_swarm, run_all
from tests.peer.test_swarm import Average

SEED = 20_261_127
NAMES = ("alice", "bob", "carol", "dave")
SMALL = 3
FOUR_CHUNKS = 4 * CHUNK_SIZE // 4 - 64
"""Elements of a float32 model of four chunks, so that four leaders have a slice each."""


def start(size: int) -> dict[str, Any]:
    return {"mean": np.zeros(size, np.float32)}


def learners(size: int = SMALL, names: Sequence[str] = NAMES) -> dict[str, Average]:
    return {name: Average(float(number), size) for number, name in enumerate(names, 1)}


def check_agreed(swarm: MemorySwarm, heads: dict[str, str], members: int = len(NAMES)) -> None:
    """All peers have ended, with the contract's head."""
    assert len(heads) == members
    head = swarm.chain.model.state().head
    assert {bytes(CID.decode(text).raw_digest) for text in heads.values()} == {head}


@pytest.mark.parametrize(("size", "k"), [(SMALL, 1), (FOUR_CHUNKS, 1), (FOUR_CHUNKS, 4)])
async def test_peers_merge_until_the_swarm_stops(tmp_path: Path, size: int, k: int) -> None:
    async with open_memory_swarm(start(size), NAMES, rounds=4, folder=tmp_path, seed=SEED, k_max=k) as swarm:
        with trio.fail_after(60):
            heads = await run_all(swarm, learners(size))
        check_agreed(swarm, heads)


async def test_one_leader_and_four_make_the_same_models(tmp_path: Path) -> None:
    heads = set()
    for k in (1, 4):
        folder = tmp_path / str(k)
        async with open_memory_swarm(
            start(FOUR_CHUNKS), NAMES, rounds=3, folder=folder, seed=SEED, k_max=k, grace=60
        ) as swarm:
            with trio.fail_after(60):
                heads |= set((await run_all(swarm, learners(FOUR_CHUNKS))).values())
    assert len(heads) == 1


async def test_messages_that_are_lost_and_late_delay_a_round_but_stop_nothing(tmp_path: Path) -> None:
    async with open_memory_swarm(start(SMALL), NAMES, rounds=6, folder=tmp_path, seed=SEED) as swarm:
        swarm.network.loss, swarm.network.delay = 0.5, (0.0, 0.05)
        with trio.fail_after(60):
            heads = await run_all(swarm, learners())
        check_agreed(swarm, heads)


async def test_a_member_that_was_cut_off_is_missed_for_a_while_and_comes_back(tmp_path: Path) -> None:
    heads: dict[str, str] = {}
    applied: dict[str, list[int]] = {name: [] for name in NAMES}

    async with open_memory_swarm(start(SMALL), NAMES, rounds=12, folder=tmp_path, seed=SEED, grace=1) as swarm:

        async def run(name: str) -> None:
            async with swarm.peer(name, learners()[name]) as peer:
                async for round_ in peer.rounds():
                    applied[name].append(round_.number)
                    if name == "alice" and round_.number == 2:
                        swarm.cut_off("dave")
                    if name == "alice" and round_.number == 4:
                        swarm.network.heal()
                heads[name] = str(peer.head)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for name in NAMES:
                    nursery.start_soon(run, name)
        check_agreed(swarm, heads)
        assert applied["alice"] == list(range(1, 13))
        assert applied["dave"][-1] == 12


async def test_peers_that_are_cancelled_at_any_step_stall_nobody(tmp_path: Path) -> None:
    """Every member but the first is cancelled at each of its steps in turn, and opened again at once."""
    heads: dict[str, str] = {}
    cancelled: list[tuple[str, str]] = []

    async with open_memory_swarm(start(FOUR_CHUNKS), NAMES, rounds=20, folder=tmp_path, seed=SEED) as swarm:

        async def once(name: str) -> None:
            def cancel(step: str, _round: int, _rank: int | None) -> None:
                if name != NAMES[0] and (name, step) not in cancelled:
                    cancelled.append((name, step))
                    scope.cancel()

            with trio.CancelScope() as scope:
                async with swarm.peer(name, learners(FOUR_CHUNKS)[name], on_step=cancel) as peer:
                    async for _ in peer.rounds():
                        pass
                    heads[name] = str(peer.head)

        async def run(name: str) -> None:
            while name not in heads:
                await once(name)

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for name in NAMES:
                    nursery.start_soon(run, name)
        check_agreed(swarm, heads)
    assert {"train", "publish", "submit", "fetch", "claim", "attest", "apply"} <= {step for _, step in cancelled}


class Rotten(MemoryStore):
    """Has what it says, and sends other bytes."""

    def __init__(self, store: ContentStore) -> None:
        self.__dict__ = store.__dict__

    def read_chunk(self, name: Digest, index: int) -> bytes:
        return bytes(len(super().read_chunk(name, index)))


async def test_a_neighbour_that_serves_rubbish_is_passed_over(tmp_path: Path) -> None:
    """Its own updates cannot be had, so they are left out; its slices are taken from who recomputed them."""
    heads: dict[str, str] = {}

    async with open_memory_swarm(start(FOUR_CHUNKS), NAMES, rounds=3, folder=tmp_path, seed=SEED) as swarm:

        async def run(name: str) -> None:
            async with swarm.peer(name, learners(FOUR_CHUNKS)[name]) as peer:
                if name == "dave":
                    host = swarm.network.hosts[swarm.keys[name].address]
                    host.handle(CONTENT_PROTOCOL, Server(Rotten(swarm.stores[name])).serve)
                async for _ in peer.rounds():
                    pass
                heads[name] = str(peer.head)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for name in NAMES:
                    nursery.start_soon(run, name)
        check_agreed(swarm, heads)
        dave = swarm.chain.model.state().member(swarm.keys["dave"].address)
        assert dave is not None
        assert not any(result.included >> dave.index & 1 for result in swarm.chain.model.results.values())


async def test_export_and_status_tell_of_a_peer(tmp_path: Path) -> None:
    async with open_memory_swarm(start(SMALL), NAMES[:2], rounds=2, folder=tmp_path, seed=SEED) as swarm:
        made = learners(names=NAMES[:2])

        async def other() -> None:
            await run_all(swarm, made, ["bob"])

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery, swarm.peer("alice", made["alice"]) as peer:
                assert waits_for(peer) == {key.address for key in swarm.keys.values()} - {swarm.keys["bob"].address}
                nursery.start_soon(other)
                async for _ in peer.rounds():
                    pass
                assert peer.status().phase == "stopped"
                exported = await peer.export(tmp_path / "best.safetensors")
        assert exported.stat().st_size == swarm.manifest.size


def waits_for(peer: SwarmPeer) -> set[bytes]:
    return {bytes.fromhex(address[2:]) for address in peer.status().waits_for}
