"""Blocks that are reorganised away with what a round depends on: the peers recover by themselves.

anvil_reorg replaces blocks by empty ones at the same height; the transactions are in no pool either, which is worse than
what nodes of a network do, who put them back.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from interop.swarm_on_anvil import needs_anvil, open_anvil_swarm
from swarmp2p.control.anvil import BLOCK_TIME
from swarmp2p.core.types import Phase
from swarmp2p.testing.chain_swarm import KNOBS, NAMES, ChainSwarm, check_ended

pytestmark = needs_anvil
ROUNDS, HIT = 5, 3
"""Merged rounds in all, and the round in which it happens."""


async def _until_applied(swarm: ChainSwarm, round_: int) -> None:
    """Until the learner of every member has been given the head of a round."""
    for name in NAMES:
        await swarm.peers[name].wait_for_round(round_ - 1)


@pytest.mark.parametrize("shorter", [False, True])
async def test_submissions_are_reorganised_away(tmp_path: Path, shorter: bool) -> None:
    """Shorter: the blocks are gone without others in their place, on a chain that makes none without transactions."""
    block_time = None if shorter else BLOCK_TIME
    async with open_anvil_swarm(tmp_path, rounds=ROUNDS, block_time=block_time) as swarm:
        slow = swarm.learners["dave"]
        slow.hold_at = HIT
        with trio.fail_after(90):
            async with swarm.running():
                await swarm.until(lambda view: view.round == HIT and view.count == 3)
                await swarm.reorganise(await swarm.block_of("Updated", HIT), shorter=shorter)
                begun = trio.current_time()
                await swarm.until(lambda view: view.round == HIT and view.count == 3)
                print(f"submissions back after {trio.current_time() - begun:.2f} s")
                slow.go_on.set()
            await check_ended(swarm, ROUNDS)


@pytest.mark.parametrize("event", ["Sealed", "Updated"])
async def test_a_seal_is_reorganised_away(tmp_path: Path, event: str) -> None:
    """Alone, or with all submissions of the round."""
    async with open_anvil_swarm(tmp_path, rounds=ROUNDS) as swarm:
        swarm.shut[HIT] = trio.Event()
        with trio.fail_after(90):
            async with swarm.running():
                await swarm.until(lambda view: view.round == HIT and view.phase is Phase.MERGING)
                await swarm.reorganise(await swarm.block_of(event, HIT))
                begun = trio.current_time()
                await swarm.until(lambda view: view.round == HIT and view.phase is Phase.MERGING)
                print(f"sealed again after {trio.current_time() - begun:.2f} s")
                swarm.shut[HIT].set()
            await check_ended(swarm, ROUNDS)


@pytest.mark.parametrize("event", ["Merged", "Sealed", "Updated"])
async def test_a_finalize_is_reorganised_away(tmp_path: Path, event: str) -> None:
    """Alone, with the seal, or with all submissions of the round too; by then all have trained on what it merged."""
    knobs = replace(KNOBS, confirmations=1000)
    async with open_anvil_swarm(tmp_path, rounds=ROUNDS, knobs=knobs) as swarm:
        for learner in swarm.learners.values():
            learner.hold_at = HIT + 1
        with trio.fail_after(90):
            async with swarm.running():
                await swarm.until(lambda view: view.round == HIT + 1)
                await _until_applied(swarm, HIT)
                await swarm.reorganise(await swarm.block_of(event, HIT))
                begun = trio.current_time()
                for learner in swarm.learners.values():
                    learner.go_on.set()
                await swarm.until(lambda view: view.round == HIT + 1)
                print(f"finalized again after {trio.current_time() - begun:.2f} s")
            await check_ended(swarm, ROUNDS)
