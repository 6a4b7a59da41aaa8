"""Anvil, another implementation of Ethereum, has to pass the checks that the embedded chain passes, and to carry a swarm
whether or not it makes empty blocks and wants money."""

from pathlib import Path

import pytest
import trio

from interop.swarm_on_anvil import needs_anvil, open_anvil_swarm
from swarmp2p.control.anvil import BLOCK_TIME, run_anvil
from swarmp2p.core.types import Phase
from swarmp2p.testing.chain_checks import check_chain
from swarmp2p.testing.chain_swarm import NAMES, check_ended

pytestmark = needs_anvil
ROUNDS = 12


async def test_anvil_conforms() -> None:
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(run_anvil)
        await check_chain(endpoint.url, endpoint.chain_id)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("free_gas", [False, True])
async def test_a_swarm_with_and_without_fees(tmp_path: Path, free_gas: bool) -> None:
    """How many requests that takes is printed: polling is to stay cheap."""
    async with open_anvil_swarm(tmp_path, rounds=ROUNDS, free_gas=free_gas) as swarm:
        begun = trio.current_time()
        with trio.fail_after(90):
            async with swarm.running():
                pass
        await check_ended(swarm, ROUNDS)
        spent = [await swarm.balance_spent(name) for name in NAMES]
        assert not any(spent) if free_gas else all(spent)
        for name, transport in swarm.transports.items():
            per_round = {method: round(n / ROUNDS, 1) for method, n in sorted(transport.counts.items())}
            print(name, f"{sum(transport.counts.values()) / ROUNDS:.0f} requests a round", per_round)
        print(f"{(trio.current_time() - begun) / ROUNDS:.2f} s a round")


@pytest.mark.parametrize("block_time", [None, BLOCK_TIME])
async def test_deadlines_pass_without_blocks(tmp_path: Path, block_time: float | None) -> None:
    """One member sends nothing, and for a while nobody does: the time of the latest block stands still, and the others
    have to extend the round by their own clocks. So, too, with an interval."""
    settings = {"collect_timeout": 3, "grace": 1}
    async with open_anvil_swarm(tmp_path, rounds=4, block_time=block_time, **settings) as swarm:
        missing = swarm.learners["dave"]
        missing.hold_at = 2
        with trio.fail_after(60):
            async with swarm.running():
                await swarm.until(lambda view: view.round == 2 and view.count == 3)
                begun = trio.current_time()
                await swarm.until(lambda view: view.phase is Phase.MERGING or view.round == 3)
                print(f"went on without one member after {trio.current_time() - begun:.1f} s")
                missing.go_on.set()
            await check_ended(swarm, 4)
