"""Whole peers within one process and one trio loop: the contract's model, a network in memory, content in memory.

Everything above the layers is the real thing; so tests of a peer can lose messages, cut the network or close a peer at
an instant of their choice, and take milliseconds a round.
"""

import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from swarmp2p.content.interface import ContentStore
from swarmp2p.control.invitation import Invitation, new_invite
from swarmp2p.control.manifest import Manifest
from swarmp2p.core.config import Knobs
from swarmp2p.core.messages import Invite
from swarmp2p.home import KEY_FILE, Home
from swarmp2p.identity import Key, save_key
from swarmp2p.merge.registry import rule_from_draft
from swarmp2p.merge.tensors import write_weights
from swarmp2p.peer.events import StepHook
from swarmp2p.peer.founding import complete, genesis_file
from swarmp2p.peer.learner import Learner
from swarmp2p.peer.opening import open_on
from swarmp2p.peer.swarm_peer import SwarmPeer
from swarmp2p.testing.local_swarm import local_draft
from swarmp2p.testing.memory_content import MemoryStore
from swarmp2p.testing.memory_control import MEMORY_CHAIN_ID, MEMORY_CONTRACT, MemoryChain
from swarmp2p.testing.memory_network import MemoryNetwork, open_memory_network

MEMORY_KNOBS = Knobs(leader_timeout=0.5, fetch_timeout=0.3, slack=0.2, stagger=0.05, announce_interval=0.2, linger=20.0)
"""Timing for peers that are microseconds apart."""
YEAR = 365 * 86_400


class MemorySwarm:
    """A founded swarm. Made by `open_memory_swarm`.

    Attributes:
        network: to lose messages or cut it.
        chain: the contract's model is `chain.model`.
        stores: every member's content; it outlives the peer, as a disk does. A test may put another store in.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        manifest: Manifest,
        keys: Mapping[str, Key],
        stores: dict[str, ContentStore],
        folder: Path,
    ) -> None:
        self.network = network
        self.manifest = manifest
        self.keys = keys
        self.chain = MemoryChain(manifest.config(), time.time)
        self.stores = stores
        self.invitations: dict[str, Invitation] = {}
        """Others than the founder's, by name."""
        self._folder = folder

    def invitation(self, name: str) -> Invitation:
        """The one in `invitations`, or the founder's, for this member."""
        if name in self.invitations:
            return self.invitations[name]
        founder, config = next(iter(self.keys.values())), self.chain.model.config
        until = int(time.time()) + YEAR
        body = new_invite(self.chain.model.member_of(self.keys[name].address), config.purpose, 2**32 - 1, until, until)
        return Invitation(MEMORY_CHAIN_ID, MEMORY_CONTRACT, body).signed(founder, self.chain.domain)

    async def renew(self, body: Invite) -> None:
        """Enrol an account again with an invite that the founder signs."""
        founder = next(iter(self.keys.values()))
        signed = Invitation(MEMORY_CHAIN_ID, MEMORY_CONTRACT, body).signed(founder, self.chain.domain)
        control = self.chain.control(body.invitee)
        await control.enrol(body, signed.signatures, (await control.addresses())[body.invitee])

    @asynccontextmanager
    async def peer(
        self, name: str, learner: Learner, *, weight: int = 10, on_step: StepHook | None = None
    ) -> AsyncIterator[SwarmPeer]:
        """A member at work; open it again under the same name and it carries on."""
        with Home.open(self._folder / name) as home:
            async with (
                self.network.open_host(home.key.secret) as host,
                open_on(
                    self.manifest,
                    self.chain.model.config,
                    home,
                    self.chain.control(home.key.address),
                    host,
                    learner=learner,
                    weight=weight,
                    invitation=self.invitation(name),
                    content=self.stores[name],
                    on_step=on_step,
                ) as context,
                SwarmPeer.running(context) as peer,
            ):
                yield peer

    def cut_off(self, *names: str) -> None:
        """Partition the network: these members on one side, the others on the other."""
        away = {self.keys[name].address for name in names}
        self.network.partition(away, {key.address for key in self.keys.values()} - away)


@asynccontextmanager
async def open_memory_swarm(
    weights: Mapping[str, Any],
    members: Sequence[str],
    *,
    rounds: int,
    folder: Path,
    seed: int = 0,
    knobs: Knobs = MEMORY_KNOBS,
    **settings: Any,
) -> AsyncIterator[MemorySwarm]:
    """Found a swarm for these members, the first of whom is its founder and holds the first model.

    Args:
        weights: the first model, as a learner's get_weights gives it.
        folder: for the members' homes and scratch files.
        seed: of keys, and of what the network loses.
        knobs: of all members.
        settings: further fields of the Manifest.
    """
    keys = {name: Key.from_seed(f"memory swarm {seed} {name}") for name in members}
    for name, key in keys.items():
        (folder / name).mkdir(parents=True)
        save_key(key, folder / name / KEY_FILE)
    model = folder / "genesis.safetensors"
    write_weights(weights, model)
    draft = local_draft((keys[members[0]].address,), len(members), rounds, ("memory:",), **settings)
    store = MemoryStore()
    manifest = complete(draft, model)
    with genesis_file(rule_from_draft(draft.rule), model) as genesis:
        store.put(genesis)
    manifest = replace(manifest.with_contract(MEMORY_CHAIN_ID, MEMORY_CONTRACT), knobs=knobs)
    async with open_memory_network(seed) as network:
        stores: dict[str, ContentStore] = {name: store if name == members[0] else MemoryStore() for name in members}
        try:
            yield MemorySwarm(network, manifest, keys, stores, folder)
        finally:
            for each in stores.values():
                each.close()


async def run_all(swarm: MemorySwarm, learners: Mapping[str, Learner], names: Collection[str] = ()) -> dict[str, str]:
    """Run these members, or all, until the swarm has stopped; gives each one's head."""
    heads: dict[str, str] = {}

    async def run(name: str) -> None:
        async with swarm.peer(name, learners[name]) as peer:
            async for _ in peer.rounds():
                pass
            heads[name] = str(peer.head)

    async with trio.open_nursery() as nursery:
        for name in names or learners:
            nursery.start_soon(run, name)
    return heads
