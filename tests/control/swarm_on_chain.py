"""A swarm on an embedded chain, for the tests of this folder."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from swarmp2p.control.chain.endpoint import ChainEndpoint
from swarmp2p.control.chain.server import serve_chain
from swarmp2p.control.contract import SwarmContract, deploy
from swarmp2p.control.faucet import fund
from swarmp2p.control.interface import TransactionJournal
from swarmp2p.control.invitation import Invitation, new_invite, verify
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.config import Config
from swarmp2p.core.messages import Attestation, Signed
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.view import View
from swarmp2p.identity import Key, keccak256

NOW = 1_800_000_000.0
FAR = 2**40 - 1


@asynccontextmanager
async def chain(folder: Path, **options: Any) -> AsyncIterator[ChainEndpoint]:
    """A running chain."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve_chain, "127.0.0.1", 0, folder, **options))
        nursery.cancel_scope.cancel()


@dataclass
class Wall:
    """A wall clock that tests move."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Swarm:
    """A swarm whose founder is keys[0]."""

    rpc: RpcClient
    wall: Wall
    keys: list[Key]
    config: Config
    address: bytes
    domain: bytes
    chain_id: int

    def contract(self, member: int, journal: TransactionJournal | None = None) -> SwarmContract:
        return SwarmContract(self.rpc, self.address, self.keys[member].secret, journal, clock=self.wall)

    async def enrol(self, member: int, contract: SwarmContract) -> None:
        view = await contract.state()
        invite = new_invite(await contract.member(self.keys[member].address), self.config.purpose, 1000, FAR, FAR)
        invitation = Invitation(self.chain_id, self.address, invite).signed(self.keys[0], self.domain)
        signatures = verify(
            invitation, chain_id=self.chain_id, contract=self.address, domain=self.domain, config=self.config,
            view=view, me=await contract.member(self.keys[member].address), now=self.wall.now,
        )  # fmt: skip
        await contract.enrol(invite, signatures, [f"/ip4/192.0.2.{member}/tcp/4001"])

    def attest(self, view: View, merged: bytes, slices: Sequence[bytes], members: Sequence[int]) -> list[Signed]:
        body = Attestation(view.round, view.inputs, 0, merged, tuple(slices), (1 << len(slices)) - 1)
        digest = signing_digest(body, self.domain, keccak256)
        return [Signed(body, self.keys[member].address, self.keys[member].sign(digest)) for member in members]


def config(founders: Sequence[bytes], **changes: Any) -> Config:
    values: dict[str, Any] = {
        "genesis": b"\x01" * 32, "size": 1_000_000, "schema": b"\x02" * 32, "update_size": 1_000_000,
        "update_schema": b"\x02" * 32, "rule": b"\x03" * 32, "purpose": b"\x04" * 32, "manifest": b"\x05" * 32,
        "initial_members": 2, "f": 1, "k_max": 16, "min_updates": 2, "frac_bps": 5000, "collect_timeout": 600,
        "grace": 60, "merge_timeout": 600, "max_missed": 3, "max_rounds": 100, "patience": 0, "abandon_after": 86_400,
        "k_invite": 1, "treasury": bytes(20), "founders": tuple(founders), **changes,
    }  # fmt: skip
    return Config(**values)


@asynccontextmanager
async def swarm(folder: Path, members: int = 2, **changes: Any) -> AsyncIterator[Swarm]:
    """A deployed swarm, nobody enrolled, every key with money."""
    wall = Wall()
    async with chain(folder, clock=wall) as endpoint, RpcClient([endpoint.url], chain_id=endpoint.chain_id) as rpc:
        keys = [Key.from_seed(f"control {number}") for number in range(members)]
        for key in keys:
            await fund(rpc, key.address)
        settings = config([keys[0].address], initial_members=members, **changes)
        address = await deploy(rpc, keys[0].secret, settings)
        domain = await SwarmContract(rpc, address, keys[0].secret).domain()
        yield Swarm(rpc, wall, keys, settings, address, domain, endpoint.chain_id)
