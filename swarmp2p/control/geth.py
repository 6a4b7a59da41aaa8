"""A private Ethereum network of several geth nodes that make blocks in turn (Clique), for trying out and tests.

geth 1.13 is the last that makes blocks by Clique, and Clique stays with London rules.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import trio
from trio import TaskStatus  # type: ignore[attr-defined,unused-ignore]

from swarmp2p.control.faucet import fund
from swarmp2p.control.geth_folder import NetworkFolder, open_network_folder
from swarmp2p.control.geth_node import GethNode, Place
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.errors import ChainUnreachable, ConfigError
from swarmp2p.core.types import Address
from swarmp2p.failures import unwrapped
from swarmp2p.identity import Key, load_key
from swarmp2p.ports import free_ports, require_free

_OWN = ".tools/bin/geth"
_MEND = "Run tools/geth in a checkout, which builds geth 1.13.15, or put one of 1.13 on the PATH."
_VERSION = re.compile(r"^Version: (\d+)\.(\d+)\.", re.MULTILINE)
_TOO_NEW = (1, 14)
_PEER_TIMEOUT = 30.0
_REPEER_TIMEOUT = 5.0
_FIRST_BLOCK_TIMEOUT = 60.0
_POLL = 0.1


def find_geth(binary: str | os.PathLike[str] | None = None) -> Path:
    """The geth to run: the one given, one on the PATH, or the one that `tools/geth` built in this checkout.

    Raises:
        ConfigError: there is none, or none that makes blocks by Clique.
    """
    reasons = []
    for candidate in _candidates(binary):
        reason = _unfit(candidate)
        if reason is None:
            return candidate
        reasons.append(reason)
    if reasons:
        raise ConfigError(" ".join(reasons), _MEND)
    if binary is not None:
        raise ConfigError(f"{os.fspath(binary)} cannot be run.", "Give the path of a geth binary.")
    raise ConfigError("There is no geth.", _MEND)


def _candidates(binary: str | os.PathLike[str] | None) -> Iterator[Path]:
    if binary is not None:
        names: Sequence[str | os.PathLike[str]] = [binary]
    else:
        names = ["geth", Path(__file__).parent.parent.parent / _OWN]
    for name in names:
        found = shutil.which(name)
        if found is not None:
            yield Path(found).absolute()


def _unfit(binary: Path) -> str | None:
    """Why this binary will not do; None: it will."""
    try:
        said = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{binary} does not run: {error}."
    found = _VERSION.search(said)
    if found is None:
        return f"{binary} does not tell its version as geth does."
    if (int(found[1]), int(found[2])) >= _TOO_NEW:
        return f"{binary} is geth {found[1]}.{found[2]}, which does not make blocks by Clique any more."
    return None


class GethNetwork:
    """A running network.

    Attributes:
        validators, rpc_nodes: the nodes that make blocks, and those that make none.
        purse, purse_file: the key of an account with play money, and where it is kept.
    """

    def __init__(
        self,
        folder: NetworkFolder,
        validators: Sequence[GethNode],
        rpc_nodes: Sequence[GethNode],
        nursery: trio.Nursery,
    ) -> None:
        self.chain_id = folder.chain_id
        self.purse_file = folder.purse
        self.purse: Key = load_key(folder.purse)
        self.validators = tuple(validators)
        self.rpc_nodes = tuple(rpc_nodes)
        self._nursery = nursery
        self._funding = trio.Lock()

    @property
    def nodes(self) -> tuple[GethNode, ...]:
        """All of them, those first that are for users: a swarm.toml lists them in this order."""
        return self.rpc_nodes + self.validators

    @property
    def urls(self) -> tuple[str, ...]:
        """Their JSON-RPC endpoints."""
        return tuple(node.url for node in self.nodes)

    async def fund(self, address: Address) -> bool:
        """Fill an account up from the purse; returns False if it has enough already. See `faucet.fund`."""
        async with self._funding, RpcClient(self.urls, chain_id=self.chain_id) as rpc:
            return await fund(rpc, address, self.purse)

    async def kill(self, node: GethNode) -> None:
        """End a node by SIGKILL."""
        await node.kill()

    async def start(self, node: GethNode) -> None:
        """Start a node that was killed: same folder, same ports, the same peers. It may still have to catch up.

        Raises:
            ChainUnreachable: it does not start.
        """
        await self._nursery.start(node.run)
        others = [other for other in self.nodes if other is not node and other.pid is not None]
        for other in others:
            await node.ask("admin_addPeer", other.enode)
        # A validator that is alone would make blocks that nobody takes. With no peer to be had it starts all the same.
        with trio.move_on_after(_REPEER_TIMEOUT):
            await _peered(node, len(others))
        await _mine(node)

    async def bring_up(self) -> None:
        """Start all nodes, which have their genesis, and wait for the first block in each."""
        await _each(self.nodes, lambda node: self._nursery.start(node.run))
        # One of each two asks the other. If both did, both connections could be taken for the second one and dropped.
        for number, node in enumerate(self.nodes):
            for other in self.nodes[:number]:
                await node.ask("admin_addPeer", other.enode)
        with trio.move_on_after(_PEER_TIMEOUT) as waiting:
            await _each(self.nodes, lambda node: _peered(node, len(self.nodes) - 1))
        if waiting.cancelled_caught:
            raise ChainUnreachable(f"geth nodes do not find each other in {_PEER_TIMEOUT:.0f} s.", "Try again.")
        await _each(self.validators, _mine)
        with trio.move_on_after(_FIRST_BLOCK_TIMEOUT) as waiting:
            await _each(self.nodes, _next_block)
        if waiting.cancelled_caught:
            raise ChainUnreachable(f"No block in {_FIRST_BLOCK_TIMEOUT:.0f} s.", "See the logs of the validators.")


async def run_geth(
    folder: Path,
    *,
    validators: int = 4,
    rpc_nodes: int = 0,
    chain_id: int | None = None,
    period: int = 1,
    host: str = "127.0.0.1",
    port: int = 0,
    binary: str | os.PathLike[str] | None = None,
    task_status: TaskStatus[GethNetwork] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a network of geth nodes until cancelled. All its nodes are processes on this machine.

    Args:
        folder: where its keys and its chain are kept over restarts.
        validators: nodes that make blocks; more than half of them have to run.
        rpc_nodes: further nodes that make none.
        chain_id: of a new network.
        period: seconds between blocks.
        host: address on which each node serves JSON-RPC.
        port: of the first one, RPC nodes before validators, the others follow; 0 takes free ones.
        task_status: started with a GethNetwork once each node has a block.

    Raises:
        ConfigError, PortInUse: see the message. ChainUnreachable: a node does not start, or ends by itself.
    """
    geth = await trio.to_thread.run_sync(find_geth, binary)
    place = await trio.to_thread.run_sync(
        partial(
            open_network_folder, folder, validators=validators, rpc_nodes=rpc_nodes, chain_id=chain_id, period=period
        )
    )
    count = validators + rpc_nodes
    if port + count > 65536:
        raise ConfigError(f"There are not {count} ports from {port} on.", "Give a lower port, or 0 for free ones.")
    ports = free_ports(2 * count)
    if port:
        ports[:count] = range(port, port + count)
    require_free(ports[:count], host)
    # The path of a socket is limited to some hundred bytes, and the folder's may be longer.
    with tempfile.TemporaryDirectory(prefix="geth-") as sockets:
        nodes = [
            GethNode(geth, place, each, Place(host, ports[number], ports[count + number], Path(sockets, str(number))))
            for number, each in enumerate(place.rpc_nodes + place.validators)
        ]
        with unwrapped():
            await _each(nodes, GethNode.init)
            async with trio.open_nursery() as nursery:
                network = GethNetwork(place, nodes[rpc_nodes:], nodes[:rpc_nodes], nursery)
                await network.bring_up()
                task_status.started(network)


async def _each(nodes: Sequence[GethNode], action: Callable[[GethNode], Awaitable[object]]) -> None:
    """Do it with all of them at once."""

    async def act(node: GethNode) -> None:
        await action(node)

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(act, node)


async def _peered(node: GethNode, count: int) -> None:
    while int(await node.ask("net_peerCount"), 16) < count:
        await trio.sleep(_POLL)


async def _mine(node: GethNode) -> None:
    if node.signer is not None:
        await node.ask("miner_start")


async def _next_block(node: GethNode) -> None:
    async with RpcClient([node.url]) as rpc:
        above = await rpc.block_number()
        while await rpc.wait_for_block(above, _FIRST_BLOCK_TIMEOUT) <= above:
            pass
