"""Founding a swarm, inviting to it and joining it: what people do once. The command line calls these."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.unixfs import hash_file
from swarmp2p.control.contract import SwarmContract, deploy
from swarmp2p.control.faucet import fund
from swarmp2p.control.invitation import Invitation, new_invite, verify
from swarmp2p.control.manifest import Manifest
from swarmp2p.control.manifest_file import load_draft
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.errors import ConfigError, NotAMember
from swarmp2p.core.schema import require_aligned
from swarmp2p.core.types import Address
from swarmp2p.home import Home
from swarmp2p.identity import Key
from swarmp2p.merge.registry import rule_from_id
from swarmp2p.merge.tensors import read_schema

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Founded:
    """A new swarm: its manifest, and whether the founder's account was filled up from the chain's faucet."""

    manifest: Manifest
    funded: bool


async def found(draft: Path, home: Home, genesis: Path | None = None, rpc_urls: tuple[str, ...] = ()) -> Founded:
    """Deploy a swarm's contract from a draft, and keep its first model in the founder's home for the others.

    Args:
        draft: a commented swarm.toml; `genesis` and `rpc_urls`, if given, go before what it says.

    Raises:
        ConfigError, SchemaMismatch, ChainUnreachable, TransactionFailed.
    """
    manifest = load_draft(draft)
    if rpc_urls:
        manifest = replace(manifest, rpc=rpc_urls)
    return await deploy_swarm(manifest, home, genesis or draft.parent / (manifest.genesis_file or ""))


async def deploy_swarm(manifest: Manifest, home: Home, model: Path) -> Founded:
    """Deploy the contract of a draft with this first model; see `found`."""
    schema = await trio.to_thread.run_sync(read_schema, model)
    require_aligned(schema)
    rule_from_id(manifest.rule).check_schema(schema)
    if home.key.address not in manifest.founders:
        raise ConfigError(
            f"0x{home.key.address.hex()} is not among the founders of {manifest.name!r}.",
            "Add it under [members] founders, or use the home of a founder.",
        )
    hashed = await trio.to_thread.run_sync(hash_file, model)
    manifest = manifest.with_genesis(hashed.digest, hashed.size, schema.digest)
    async with RpcClient(manifest.rpc) as rpc:
        chain_id = int(await rpc.call("eth_chainId"), 16)
        funded = await fund(rpc, home.key.address)
        contract = await deploy(rpc, home.key.secret, manifest.config(), home.journal)
    await trio.to_thread.run_sync(keep_genesis, home, model)
    return Founded(manifest.with_contract(chain_id, contract), funded)


def keep_genesis(home: Home, model: Path) -> None:
    """Put the first model into a home, from where other members fetch it."""
    store = EmbeddedStore(home.content)
    try:
        store.put(model)
    finally:
        store.close()


async def invite(
    manifest: Manifest,
    key: Key,
    invitee: Address,
    *,
    max_weight: int,
    days: float,
    deadline_days: float = 30.0,
) -> Invitation:
    """A founder's (or member's) signed invitation for an address.

    Args:
        max_weight: largest weight that the invitee may declare.
        days: for how long the membership is authorised, from now on.
        deadline_days: until when the invitation can be used.
    """
    now = int(time.time())
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        contract = SwarmContract(rpc, manifest.contract, key.secret)
        config = await contract.check(manifest.digest)
        view, domain = await contract.state(), await contract.domain()
    if key.address not in config.founders and view.member(key.address) is None:
        raise ConfigError(
            f"0x{key.address.hex()} is neither a founder nor a member of this swarm.", "Use the home of one of them."
        )
    body = new_invite(
        invitee, view, config.purpose, max_weight, now + round(days * DAY), now + round(deadline_days * DAY)
    )
    return Invitation(manifest.chain_id, manifest.contract, body).signed(key, domain)


async def sign_too(manifest: Manifest, key: Key, invitation: Invitation) -> Invitation:
    """The invitation with one more signature."""
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        domain = await SwarmContract(rpc, manifest.contract, key.secret).domain()
    if key.address in invitation.signers(domain):
        raise ConfigError(f"0x{key.address.hex()} has signed this invitation already.", "Have somebody else sign it.")
    return invitation.signed(key, domain)


async def join(manifest: Manifest, home: Home, invitation: Invitation, addresses: tuple[str, ...] = ()) -> int:
    """Enrol by invitation, checked before anything is spent; returns the member's index.

    Raises:
        InvitationRefused, WrongChain, ChainUnreachable, TransactionFailed.
    """
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        contract = SwarmContract(rpc, manifest.contract, home.key.secret, home.journal)
        config = await contract.check(manifest.digest)
        view, domain = await contract.state(), await contract.domain()
        signatures = verify(
            invitation,
            chain_id=manifest.chain_id,
            contract=manifest.contract,
            domain=domain,
            config=config,
            view=view,
            me=home.key.address,
            now=time.time(),
        )
        await fund(rpc, home.key.address)
        await contract.enrol(invitation.invite, signatures, addresses)
        member = (await contract.state()).member(home.key.address)
    if member is None:
        raise NotAMember("The chain does not show the enrolment.", "Look at the node's log, then join again.")
    return member.index
