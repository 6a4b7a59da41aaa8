"""Whole peers in one trio loop on a real chain, which a test may stop or reorganise; network and content are in memory."""

import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import trio

from swarmp2p.control.contract import SwarmContract, deploy
from swarmp2p.control.faucet import ENOUGH, fund
from swarmp2p.control.invitation import Invitation, new_invite
from swarmp2p.control.manifest import Manifest
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.config import Knobs
from swarmp2p.core.view import View
from swarmp2p.home import KEY_FILE, Home
from swarmp2p.identity import Key, save_key
from swarmp2p.merge.tensors import read_schema, write_weights
from swarmp2p.peer.opening import open_on
from swarmp2p.peer.swarm_peer import SwarmPeer
from swarmp2p.testing.local_swarm import local_draft
from swarmp2p.testing.memory_content import MemoryStore
from swarmp2p.testing.memory_network import MemoryNetwork, open_memory_network

KNOBS = Knobs(leader_timeout=1.0, fetch_timeout=1.0, slack=0.5, stagger=0.1, announce_interval=0.3, linger=5.0)
NAMES = ("alice", "bob", "carol", "dave")
FAR = 2**40 - 1


class Average:
    """Moves half-way to its own number at each interval; a test can hold it at the n-th one."""

    def __init__(self, number: float) -> None:
        self.number, self.mean = np.float32(number), np.zeros(3, np.float32)
        self.intervals = 0
        self.hold_at = 0
        self.go_on = threading.Event()

    def train(self, interval: int) -> None:
        self.intervals += 1
        if self.intervals == self.hold_at:
            self.go_on.wait()
        self.mean = self.mean + np.float32(0.5) * (self.number - self.mean)

    def evaluate(self) -> float:
        return -float(np.abs(self.number - self.mean).max())

    def get_weights(self) -> Mapping[str, Any]:
        return {"mean": self.mean}

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        self.mean = weights["mean"]


class HeldContract(SwarmContract):
    """A contract whose `finalize` waits while the gate of the round is shut."""

    shut: dict[int, trio.Event]

    async def finalize(self, round_: int, *arguments: Any) -> Any:
        if round_ in self.shut:
            await self.shut[round_].wait()
        return await super().finalize(round_, *arguments)


class Counting(httpx.AsyncBaseTransport):
    """The real thing; counts requests by method."""

    def __init__(self) -> None:
        self._real = httpx.AsyncHTTPTransport()
        self.counts: dict[str, int] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        data = await request.aread()
        method = data.partition(b'"method":"')[2].partition(b'"')[0].decode()
        self.counts[method] = self.counts.get(method, 0) + 1
        return await self._real.handle_async_request(request)

    async def aclose(self) -> None:
        await self._real.aclose()


@dataclass
class ChainSwarm:
    """A founded swarm. Made by `open_chain_swarm`.

    Attributes:
        rpc, contract: the test's own view of the chain.
        shut: rounds whose finalize waits for the event.
        heads, transports: of each member, once it has ended, or begun.
    """

    rpc: RpcClient
    contract: SwarmContract
    manifest: Manifest
    keys: Mapping[str, Key]
    learners: Mapping[str, Average]
    network: MemoryNetwork
    folder: Path
    knobs: Knobs
    stores: Mapping[str, MemoryStore]
    shut: dict[int, trio.Event] = field(default_factory=dict)
    heads: dict[str, bytes] = field(default_factory=dict)
    transports: dict[str, Counting] = field(default_factory=dict)
    peers: dict[str, SwarmPeer] = field(default_factory=dict)

    async def _invitation(self, name: str) -> Invitation:
        founder, member = self.keys[NAMES[0]], await self.contract.member(self.keys[name].address)
        body = new_invite(member, self.manifest.config().purpose, 2**32 - 1, FAR, FAR)
        invitation = Invitation(self.manifest.chain_id, self.manifest.contract, body)
        return invitation.signed(founder, await self.contract.domain())

    async def run(self, name: str) -> None:
        """A member, from its opening until the swarm has stopped."""
        key = self.keys[name]
        self.transports[name] = Counting()
        async with AsyncExitStack() as stack:
            home = stack.enter_context(Home.open(self.folder / name))
            rpc = await stack.enter_async_context(
                RpcClient(self.rpc.urls, chain_id=self.manifest.chain_id, transport=self.transports[name])
            )
            contract = HeldContract(rpc, self.manifest.contract, key.secret, home.journal)
            contract.shut = self.shut
            host = await stack.enter_async_context(self.network.open_host(key.secret))
            opening = open_on(
                self.manifest, self.manifest.config(), home, contract, host, learner=self.learners[name], weight=10,
                invitation=await self._invitation(name), knobs=self.knobs, content=self.stores[name],
            )  # fmt: skip
            context = await stack.enter_async_context(opening)
            async with SwarmPeer.running(context) as peer:
                self.peers[name] = peer
                async for _ in peer.rounds():
                    pass
                self.heads[name] = bytes(peer.head.raw_digest)

    @asynccontextmanager
    async def running(self, names: Sequence[str] = NAMES) -> AsyncIterator[None]:
        """All members at work; ends when all have ended."""
        try:
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(self.run, name)
                yield
        finally:
            for learner in self.learners.values():
                learner.go_on.set()

    async def until(self, condition: Callable[[View], bool], seconds: float = 30.0) -> View:
        """The contract's state as soon as it fulfils the condition."""
        with trio.fail_after(seconds):
            while not condition(view := await self.contract.state()):
                await self.rpc.wait_for_block(view.block_number, 5.0)
        return view

    async def balance_spent(self, name: str) -> int:
        """Wei that a member has paid for gas, if it had play money."""
        account = "0x" + self.keys[name].address.hex()
        balance = await self.rpc.number("eth_getBalance", account, "latest")
        return ENOUGH - balance if balance else 0

    async def block_of(self, event: str, round_: int) -> int:
        """The first chain block with this event of a round."""
        topic = self.contract._artefact.events[event].topic
        logs = await self.rpc.call(
            "eth_getLogs",
            {
                "address": "0x" + self.contract.address.hex(),
                "fromBlock": "0x0",
                "toBlock": "latest",
                "topics": ["0x" + topic.hex(), f"0x{round_:064x}"],
            },
        )
        return min(int(log["blockNumber"], 16) for log in logs)

    async def reorganise(self, first: int, *, shorter: bool = False) -> None:
        """Replace all blocks from this one on by empty ones, or by none. Their transactions are gone, from the pool too."""
        number = hex(first)
        before = await self.rpc.call("eth_getBlockByNumber", number, False)
        depth = await self.rpc.block_number() - first + 1
        await (self.rpc.call("anvil_rollback", depth) if shorter else self.rpc.call("anvil_reorg", depth, []))
        after = await self.rpc.call("eth_getBlockByNumber", number, False)
        assert after is None or after["hash"] != before["hash"]
        # This client must not doubt what it sees now.
        self.contract = SwarmContract(self.rpc, self.contract.address, Key.generate().secret)


@asynccontextmanager
async def open_chain_swarm(
    url: str, folder: Path, *, rounds: int, knobs: Knobs = KNOBS, free_gas: bool = False, **settings: Any
) -> AsyncIterator[ChainSwarm]:
    """Found a swarm for NAMES on a chain that runs.

    Args:
        free_gas: accounts get no money.
        settings: fields of the Manifest.
    """
    async with AsyncExitStack() as stack:
        rpc = await stack.enter_async_context(RpcClient([url], poll_interval=0.02))
        keys = {name: Key.generate() for name in NAMES}
        for name, key in keys.items():
            (folder / name).mkdir(parents=True)
            save_key(key, folder / name / KEY_FILE)
            if not free_gas:
                await fund(rpc, key.address)
        model = folder / "genesis.safetensors"
        write_weights({"mean": np.zeros(3, np.float32)}, model)
        stores = {name: MemoryStore() for name in NAMES}
        for store in stores.values():
            stack.callback(store.close)
        founder = keys[NAMES[0]]
        draft = local_draft((founder.address,), len(NAMES), rounds, (url,), **settings)
        hashed = stores[NAMES[0]].put(model)
        manifest = draft.with_genesis(hashed.digest, hashed.size, read_schema(model).digest)
        address = await deploy(rpc, founder.secret, manifest.config())
        manifest = replace(manifest.with_contract(await rpc.number("eth_chainId"), address), knobs=knobs)
        network = await stack.enter_async_context(open_memory_network(0))
        learners = {name: Average(float(number)) for number, name in enumerate(NAMES, 1)}
        contract = SwarmContract(rpc, address, Key.generate().secret)
        yield ChainSwarm(rpc, contract, manifest, keys, learners, network, folder, knobs, stores)


async def check_ended(swarm: ChainSwarm, rounds: int, names: Sequence[str] = NAMES) -> None:
    """All members have ended with the contract's head, after so many merged rounds."""
    view = await swarm.contract.state()
    assert view.merged_rounds == rounds
    assert swarm.heads == dict.fromkeys(names, view.head)
