"""The four layers, and what stands in for each: this is all that swapping one takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from examples.own_layers.content_store import SqliteStore
from examples.own_layers.policy import SquareRootShares, compiled
from swarmp2p.content.interface import ContentStore
from swarmp2p.control.anvil import run_anvil
from swarmp2p.control.rpc import RpcClient
from swarmp2p.control.treasury import deploy_policy
from swarmp2p.identity import Key
from swarmp2p.network.interface import OpenHost
from swarmp2p.rewards.policy import RewardPolicy
from swarmp2p.testing.memory_network import open_memory_network

EMBEDDED, ANVIL, OWN, MEMORY = "embedded", "anvil", "own", "memory"


@asynccontextmanager
async def open_chain(name: str, folder: Path) -> AsyncIterator[str]:
    """The URL of a chain's node: the manifest takes any.

    Args:
        name: "embedded", "anvil", or the URL of a node that runs already.
    """
    if name not in (EMBEDDED, ANVIL):
        yield name
        return
    async with trio.open_nursery() as nursery:
        if name == EMBEDDED:
            from swarmp2p.control.chain.server import serve_chain  # of the extra "chain", which others do not need

            endpoint = await nursery.start(partial(serve_chain, port=0, folder=folder))
        else:
            endpoint = await nursery.start(run_anvil)
        yield endpoint.url
        nursery.cancel_scope.cancel()


async def choose_policy(name: str, rpc: RpcClient, founder: Key) -> tuple[str, RewardPolicy | None]:
    """What `[rewards] policy` says, and the twin to foretell with, if the package has none; "own" is deployed first."""
    if name != OWN:
        return name, None
    address = await deploy_policy(rpc, founder.secret, compiled())
    return "0x" + address.hex(), SquareRootShares()


def open_store(name: str, folder: Path) -> ContentStore | None:
    """A store for `SwarmPeer.open(content=…)`, to be closed at the end; None for the embedded one."""
    return SqliteStore(folder / "own-content") if name == OWN else None


@asynccontextmanager
async def open_network(name: str) -> AsyncIterator[OpenHost | None]:
    """What opens hosts, for `SwarmPeer.open(network=…)`; None for libp2p."""
    if name != MEMORY:
        yield None
        return
    async with open_memory_network() as network:
        yield network.open_host
