"""A network of geth nodes that make blocks in turn: the checks of every chain, killed nodes, a swarm's contract.

With six nodes each has five peers, which is when geth looks at once whether it lags behind, and not every 10 s only.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
import trio

from swarmp2p.control.contract import SwarmContract, deploy
from swarmp2p.control.faucet import ENOUGH
from swarmp2p.control.geth import GethNetwork, find_geth, run_geth
from swarmp2p.control.geth_node import GethNode
from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import ChainUnreachable, ConfigError
from swarmp2p.core.types import Phase, ReportFlag
from swarmp2p.identity import Key
from swarmp2p.testing.chain_checks import check_chain
from tests.control.swarm_on_chain import Swarm, Wall, config

CONFIRMATIONS = 3
"""Blocks on top of one after which four validators do not replace it: floor(4 / 2) + 1."""
PATIENCE = 30.0
"""Seconds within which what is awaited has to come, on a machine with other work."""


def missing_geth() -> bool:
    try:
        find_geth()
    except ConfigError:
        return True
    return False


pytestmark = pytest.mark.skipif(missing_geth(), reason="geth is not built: run tools/geth")


@asynccontextmanager
async def network(folder: Path) -> AsyncIterator[GethNetwork]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(run_geth, folder, validators=4, rpc_nodes=2))
        nursery.cancel_scope.cancel()


async def height(node: GethNode) -> int:
    async with RpcClient([node.url]) as rpc:
        return await rpc.block_number()


async def reach(number: int, *nodes: GethNode) -> None:
    """Wait until these nodes have the block of this number, all within PATIENCE."""
    with trio.fail_after(PATIENCE):
        for node in nodes:
            async with RpcClient([node.url]) as rpc:
                while await rpc.wait_for_block(number - 1, PATIENCE) < number:
                    pass


async def one_block(number: int, *nodes: GethNode) -> None:
    """All these nodes have the same block there."""
    hashes = set()
    for node in nodes:
        async with RpcClient([node.url]) as rpc:
            hashes.add((await rpc.call("eth_getBlockByNumber", hex(number), False))["hash"])
    assert len(hashes) == 1, f"block {number} is not the same everywhere"


async def signs_again(node: GethNode, since: int) -> None:
    """Wait until a validator has made a block above `since`."""
    assert node.signer is not None
    with trio.fail_after(PATIENCE):
        while True:
            since += 1
            await reach(since, node)
            if await node.ask("clique_getSigner", hex(since)) == "0x" + node.signer.hex():
                return


async def test_geth_conforms_and_makes_a_block_each_second(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        first = await height(net.rpc_nodes[0])
        await check_chain(net.urls[0], net.chain_id, purse=net.purse)
        async with RpcClient([net.urls[0]]) as rpc:
            for method in ("admin_peers", "miner_stop", "clique_discard", "personal_listAccounts", "debug_setHead"):
                with pytest.raises(NodeError, match="does not exist"):
                    await rpc.call(method)
            last = await rpc.block_number()
            blocks = await rpc.batch([("eth_getBlockByNumber", [hex(n), False]) for n in range(first, last + 1)])
        times = [int(block["timestamp"], 16) for block in blocks]
        assert len(times) > 8
        assert median(after - before for before, after in pairwise(times)) == 1


async def test_the_chain_outlives_killed_nodes(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        start = await height(net.nodes[0])
        await reach(start + CONFIRMATIONS, *net.nodes)
        await one_block(start, *net.nodes)

        for victim in (net.validators[0], net.rpc_nodes[0]):
            others = [node for node in net.nodes if node is not victim]
            await net.kill(victim)
            assert victim.pid is None
            killed_at = await height(others[0])
            await reach(killed_at + 4, *others)
            await net.start(victim)
            head = await height(others[0])
            await reach(head + CONFIRMATIONS, *net.nodes)
            await one_block(head, *net.nodes)
            if victim.signer is not None:
                await signs_again(victim, head)


async def test_a_swarm_lives_on_it_while_a_node_dies(tmp_path: Path) -> None:
    """A round of two members, who talk to nodes that make no blocks; one of these is killed in between."""
    keys = [Key.from_seed(f"geth {number}") for number in range(2)]
    async with network(tmp_path) as net, RpcClient(net.urls, chain_id=net.chain_id) as rpc:
        for key in keys:
            assert await net.fund(key.address)
            assert not await net.fund(key.address)
        settings = config([keys[0].address])
        address = await deploy(rpc, keys[0].secret, settings)
        contracts = [SwarmContract(rpc, address, key.secret) for key in keys]
        domain = await contracts[0].domain()
        swarm = Swarm(rpc, Wall(time.time()), keys, settings, address, domain, net.chain_id)
        await _both(partial(swarm.enrol, member, contract) for member, contract in enumerate(contracts))
        await net.kill(net.rpc_nodes[0])
        await _both(
            partial(contract.submit_update, 1, bytes([member + 1]) * 32, 10, 0, ReportFlag(0))
            for member, contract in enumerate(contracts)
        )
        view = await contracts[0].state()
        assert view.phase is Phase.MERGING
        merged = b"\x09" * 32
        slices = [bytes([number]) * 32 for number in range(view.k)]
        receipt = await contracts[1].finalize(1, 0, merged, slices, swarm.attest(view, merged, slices, [0, 1]))
        await reach(receipt.block_number, *net.validators)
        async with RpcClient([net.validators[3].url]) as other:
            view = await SwarmContract(other, address, keys[0].secret).state()
        assert (view.round, view.head) == (2, merged)


async def _both(actions: Iterable[Callable[[], Awaitable[object]]]) -> None:
    async with trio.open_nursery() as nursery:
        for action in actions:
            nursery.start_soon(action)


def test_command_keeps_the_chain_over_restarts(tmp_path: Path) -> None:
    account = Key.from_seed("geth command").address
    command = [
        sys.executable, "-m", "swarmp2p", "chain", "--validators", "4", "--home", str(tmp_path), "--port", "0",
        "--fund", f"0x{account.hex()}", "--json",
    ]  # fmt: skip
    reached = 0
    for ending, code in ((signal.SIGINT, 130), (signal.SIGTERM, 0)):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            assert len(said["urls"]) == len(said["validators"]) == 4
            assert said["purse"] == str(tmp_path / "purse")
            height_now, balance = trio.run(_look, said["urls"], account)
            process.send_signal(ending)
            assert process.wait(PATIENCE) == code
        with pytest.raises(ChainUnreachable):
            trio.run(_look, said["urls"], account)
        assert balance == ENOUGH
        assert height_now > reached
        reached = height_now


async def _look(urls: list[str], account: bytes) -> tuple[int, int]:
    async with RpcClient(urls) as rpc:
        balance = await rpc.call("eth_getBalance", "0x" + account.hex(), "latest")
        return await rpc.block_number(), int(balance, 16)
