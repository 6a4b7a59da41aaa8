"""A swarm with rewards on an embedded chain, and rounds of it that are played without peers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.faucet import fund
from swarmp2p.control.invitation import Invitation, new_invite
from swarmp2p.control.manifest import Manifest, Rewards
from swarmp2p.control.rpc import RpcClient
from swarmp2p.control.treasury import Treasury, deploy_token
from swarmp2p.core.messages import Attestation, Signed, Vote
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import NO_ADDRESS, Phase, ReportFlag, VoteKind, bits
from swarmp2p.home import KEY_FILE, Home
from swarmp2p.identity import Key, keccak256, save_key
from swarmp2p.merge.tensors import write_weights
from swarmp2p.peer.founding import deploy_swarm
from swarmp2p.testing.local_swarm import local_draft
from tests.control.swarm_on_chain import FAR, Wall, chain

SUPPLY = 10**9


@dataclass
class PaidSwarm:
    """A founded swarm whose founder, keys[0], holds all of the token."""

    rpc: RpcClient
    manifest: Manifest
    keys: list[Key]
    domain: bytes
    wall: Wall
    contracts: dict[int, SwarmContract] = field(default_factory=dict)

    @property
    def rewards(self) -> Rewards:
        assert self.manifest.rewards is not None
        return self.manifest.rewards

    def contract(self, member: int) -> SwarmContract:
        if member not in self.contracts:
            secret = self.keys[member].secret
            self.contracts[member] = SwarmContract(self.rpc, self.manifest.contract, secret, clock=self.wall)
        return self.contracts[member]

    def treasury(self, member: int) -> Treasury:
        return Treasury(self.rpc, self.rewards.treasury, self.keys[member].secret)

    async def balance(self, account: bytes) -> int:
        return await (await self.treasury(0).token()).balance(account)

    async def enrol(self, member: int) -> None:
        """Give it what its stake needs, put that in, and enrol."""
        contract, key = self.contract(member), self.keys[member]
        if member and self.rewards.min_stake:
            await (await self.treasury(0).token()).transfer(key.address, self.rewards.min_stake)
        if self.rewards.min_stake:
            await self.treasury(member).stake(self.rewards.min_stake)
        purpose = self.manifest.purpose_digest
        invite = new_invite(await contract.member(key.address), purpose, 1000, FAR, FAR, self.rewards.min_stake)
        invitation = Invitation(self.manifest.chain_id, self.manifest.contract, invite).signed(
            self.keys[0], self.domain
        )
        await contract.enrol(invite, list(invitation.signatures), [f"/ip4/192.0.2.{member}/tcp/4001"])

    async def submit(self, *members: int) -> None:
        """An update each, of weight 10, 11, 12, ..."""
        for member in members:
            view = await self.contract(member).state()
            digest = keccak256(bytes([member]) + view.round.to_bytes(4, "big"))
            flags = ReportFlag.HAS_REPORT | ReportFlag.IMPROVED
            await self.contract(member).submit_update(view.round, digest, 10 + member, 0, flags)

    async def merge(self, signers: Sequence[int], excluded: int = 0) -> int:
        """Finalize the round that is sealed; gives its number. `excluded` is a bitmap of indexes."""
        view = await self.contract(0).state()
        assert view.phase is Phase.MERGING
        excluded |= view.banned
        slices = tuple(keccak256(bytes([number, view.round])) for number in range(view.k))
        merged = keccak256(b"merged" + view.round.to_bytes(4, "big"))
        body = Attestation(view.round, view.inputs, excluded, merged, slices, (1 << view.k) - 1)
        digest = signing_digest(body, self.domain, keccak256)
        signed = [Signed(body, self.keys[each].address, self.keys[each].sign(digest)) for each in signers]
        await self.contract(0).finalize(view.round, excluded, merged, slices, signed)
        return view.round

    async def play(self, members: Sequence[int], signers: Sequence[int], without: Sequence[int] = ()) -> int:
        """One round of all that it waits for; the updates of `without` are left out of its merge."""
        await self.submit(*members)
        view = await self.contract(0).state()
        addresses = {self.keys[each].address for each in without}
        excluded = sum(1 << i for i in bits(view.roster) if (m := view.member_at(i)) and m.address in addresses)
        return await self.merge(signers, excluded)

    async def vote(self, kind: VoteKind, voters: Sequence[int], target: int | None = None, arg: int = 0) -> None:
        """Carry out what these members sign."""
        view = await self.contract(0).state()
        who = NO_ADDRESS if target is None else self.keys[target].address
        body = Vote(kind, who, arg, view.ballot, FAR)
        digest = signing_digest(body, self.domain, keccak256)
        signatures = [self.keys[each].sign(digest) for each in sorted(voters, key=lambda v: self.keys[v].address)]
        await self.contract(0).execute(body, signatures)


async def homes(rpc: RpcClient, folder: Path, members: int) -> list[Key]:
    """Keys with money for gas, in homes 0, 1, 2, ..."""
    keys = [Key.from_seed(f"paid {number}") for number in range(members)]
    for number, key in enumerate(keys):
        await fund(rpc, key.address)
        if not (folder / str(number) / KEY_FILE).exists():
            save_key(key, folder / str(number) / KEY_FILE)
    return keys


async def found_paid(rpc: RpcClient, folder: Path, members: int, wall: Wall, **settings: Any) -> PaidSwarm:
    """A swarm with rewards; nobody is enrolled yet. `settings` are of `Rewards`, and of the Manifest those that it has."""
    keys = await homes(rpc, folder, members)
    token = settings.pop("token", None)
    if token is None:
        token = await deploy_token(rpc, keys[0].secret, "Swarm Money", "SWM", SUPPLY, keys[0].address)
    general = {name: settings.pop(name) for name in list(settings) if name in Manifest.__dataclass_fields__}
    rewards = Rewards(token=token, **{"policy": "equal", "per_round": 1000, **settings})
    rounds = general.pop("max_rounds", 100)
    founders = (keys[0].address,)
    draft = local_draft(founders, members, rounds, rpc.urls, rewards=rewards, **{"grace": 30, **general})
    model = folder / "genesis.safetensors"
    write_weights({"mean": np.zeros(200_000, np.float32)}, model)
    with Home.open(folder / "0") as home:
        manifest = (await deploy_swarm(draft, home, model)).manifest
    domain = await SwarmContract(rpc, manifest.contract, keys[0].secret).domain()
    return PaidSwarm(rpc, manifest, keys, domain, wall)


@asynccontextmanager
async def paid_swarm(folder: Path, members: int = 3, **settings: Any) -> AsyncIterator[PaidSwarm]:
    """`found_paid` on a chain of its own, whose clock the test moves."""
    wall = Wall()
    async with (
        chain(folder / "chain", clock=wall) as endpoint,
        RpcClient([endpoint.url], chain_id=endpoint.chain_id) as rpc,
    ):
        yield await found_paid(rpc, folder, members, wall, **settings)
