"""What a peer keeps for audits beyond what the protocol needs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from swarmp2p.core.config import Knobs
from swarmp2p.core.history import Merged, Updated
from swarmp2p.core.types import Digest
from swarmp2p.testing.memory_swarm import MEMORY_KNOBS, MemorySwarm, open_memory_swarm
from tests.peer.test_swarm import Average

ROUNDS = 8
NAMES = ("alice", "bob")


async def run(swarm: MemorySwarm, restart_after: int) -> None:
    """Both members to the end; bob leaves once and comes back."""

    async def take_part(name: str, number: float, until: int = ROUNDS) -> None:
        with trio.CancelScope() as scope:
            async with swarm.peer(name, Average(number)) as peer:
                async for round_ in peer.rounds():
                    if round_.number == until < ROUNDS:
                        scope.cancel()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_part, "alice", 1.0)
            await take_part("bob", 4.0, restart_after)
            await take_part("bob", 4.0)


def updates(swarm: MemorySwarm) -> dict[int, set[Digest]]:
    """The updates of each round."""
    found: dict[int, set[Digest]] = {}
    for record in swarm.chain.evidence().records:
        if isinstance(record, Updated):
            found.setdefault(record.round, set()).add(record.digest)
    return found


@pytest.mark.parametrize(("keep_rounds", "kept_from"), [(0, ROUNDS + 1), (2, ROUNDS - 2), (ROUNDS, 1)])
async def test_updates_stay_for_so_many_rounds_longer(tmp_path: Path, keep_rounds: int, kept_from: int) -> None:
    await check_kept(tmp_path, replace(MEMORY_KNOBS, keep_rounds=keep_rounds), lambda _: kept_from)


@pytest.mark.parametrize("confirmations", [8, 1000])
async def test_updates_stay_for_so_many_blocks_longer(tmp_path: Path, confirmations: int) -> None:
    """A round of two members takes three or four blocks here, and more when a machine is busy."""

    def kept_from(swarm: MemorySwarm) -> int:
        merged = {each.round: each.block_number for each in swarm.chain.evidence().records if isinstance(each, Merged)}
        # An update is wanted until its round is merged. After the last merge come the reports.
        return next(r for r in range(1, ROUNDS + 1) if merged[r] > merged[ROUNDS] + len(NAMES) - confirmations)

    await check_kept(tmp_path, replace(MEMORY_KNOBS, confirmations=confirmations), kept_from)


async def check_kept(tmp_path: Path, knobs: Knobs, first_kept: Callable[[MemorySwarm], int]) -> None:
    start: dict[str, Any] = {"mean": np.zeros(3, np.float32)}
    async with open_memory_swarm(start, NAMES, rounds=ROUNDS, folder=tmp_path, seed=3, knobs=knobs) as swarm:
        await run(swarm, restart_after=2)
        held, kept_from = swarm.stores["bob"].digests(), first_kept(swarm)
        for round_, digests in updates(swarm).items():
            if round_ >= kept_from:
                assert digests <= held, round_
            elif round_ < kept_from - 2:  # what is not needed any more goes with one of the next rounds
                assert not digests & held, round_
