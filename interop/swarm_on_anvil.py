"""Whole peers on an anvil of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmp2p.control.anvil import BLOCK_TIME, find_anvil, run_anvil
from swarmp2p.core.errors import ConfigError
from swarmp2p.testing.chain_swarm import ChainSwarm, open_chain_swarm


def _missing() -> bool:
    try:
        find_anvil()
    except ConfigError:
        return True
    return False


needs_anvil = pytest.mark.skipif(_missing(), reason="anvil is not installed: run `npm ci` in contracts/")


@asynccontextmanager
async def open_anvil_swarm(
    folder: Path, *, block_time: float | None = BLOCK_TIME, free_gas: bool = False, **settings: Any
) -> AsyncIterator[ChainSwarm]:
    """A founded swarm; see `run_anvil` and `open_chain_swarm` for the arguments."""
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(partial(run_anvil, block_time=block_time, free_gas=free_gas))
        async with open_chain_swarm(endpoint.url, folder, free_gas=free_gas, **settings) as swarm:
            yield swarm
        nursery.cancel_scope.cancel()
