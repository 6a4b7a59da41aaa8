"""Founding a swarm, inviting to it, joining and leaving it: what people do once. The command line calls these."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from multiformats import CID

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.interface import ContentStore
from swarmp2p.content.unixfs import cid, hash_file
from swarmp2p.control.agreement import Agreement, agree, require_agreement, with_agreements
from swarmp2p.control.contract import SwarmContract, create_swarm
from swarmp2p.control.faucet import fund
from swarmp2p.control.interface import TransactionJournal
from swarmp2p.control.invitation import DEADLINE_DAYS, Invitation, invited_by, verify
from swarmp2p.control.manifest import Manifest, Rewards
from swarmp2p.control.manifest_file import load_draft
from swarmp2p.control.rpc import RpcClient
from swarmp2p.control.treasury import POLICIES, Treasury, create_treasury
from swarmp2p.core.config import Config
from swarmp2p.core.errors import ConfigError, NotAMember, SchemaMismatch, WrongChain
from swarmp2p.core.money import Terms
from swarmp2p.core.schema import require_aligned
from swarmp2p.core.types import NO_ADDRESS, Address
from swarmp2p.home import Home
from swarmp2p.identity import Key
from swarmp2p.merge.apply import apply_from_text
from swarmp2p.merge.layout import places, require_mergeable
from swarmp2p.merge.registry import rule_from_draft, rule_from_id
from swarmp2p.merge.rule import Rule
from swarmp2p.merge.tensors import copy_tensors, read_schema


@dataclass(frozen=True, slots=True)
class Founded:
    """A new swarm: its manifest, and whether the founder's account was filled up from the chain's faucet."""

    manifest: Manifest
    funded: bool


async def found(
    draft: Path,
    home: Home,
    genesis: Path | None = None,
    rpc_urls: tuple[str, ...] = (),
    agreements: Sequence[Agreement] = (),
) -> Founded:
    """Deploy a swarm's contracts from a draft, and keep its first model in the founder's home for the others.

    Args:
        draft: a commented swarm.toml; `genesis` and `rpc_urls`, if given, go before what it says.
        agreements: of the other founders.

    Raises:
        ConfigError, AgreementMissing, SchemaMismatch, ChainUnreachable, TransactionFailed.
    """
    manifest = load_draft(draft)
    if rpc_urls:
        manifest = replace(manifest, rpc=rpc_urls)
    model = genesis or draft.parent / (manifest.genesis_file or "")
    return await deploy_swarm(manifest, home, model, agreements)


def complete(manifest: Manifest, model: Path) -> Manifest:
    """A draft with its first model and its rules, checked, and its document of terms: what founders agree to. Blocks, while
    it hashes both.

    Raises:
        ConfigError: a rule, one of its parameters, or a number of the draft that it does not allow; the document cannot be
            read. SchemaMismatch: the model cannot be a genesis.
    """
    rule = rule_from_draft(manifest.rule)
    if manifest.min_updates < rule.min_updates:
        raise ConfigError(
            f"{rule.id} needs {rule.min_updates} updates for what it promises, and min_updates is {manifest.min_updates}.",
            f"Set [rounds] min_updates to {rule.min_updates} or more, or take another rule or other parameters.",
        )
    if manifest.purpose_file is not None:
        manifest = manifest.with_purpose(terms_cid(Path(manifest.purpose_file)))
    with genesis_file(rule, model) as genesis:
        schema = read_schema(genesis)
        require_aligned(schema)
        rule.check_schema(schema)
        hashed = hash_file(genesis)
    update = rule.update_schema(schema)
    manifest = replace(
        manifest,
        rule=rule.id,
        apply=apply_from_text(manifest.apply, complete=False).id,
        k_max=min(manifest.k_max, rule.max_leaders),
    )
    return manifest.with_genesis(hashed.digest, hashed.size, schema.digest, update.size, update.digest)


@contextmanager
def genesis_file(rule: Rule, model: Path) -> Iterator[Path]:
    """The first model of a swarm, from a founder's file: that file, or one with the rule's own state beside the weights,
    which is gone when the block ends. The same weights give the same bytes.

    Raises:
        SchemaMismatch: the file cannot be a genesis.
    """
    weights = read_schema(model)
    for tensor in weights.tensors:
        require_mergeable(tensor)
    target = rule.model_schema(rule.weights_schema(weights))
    if target.head == weights.head or {*places(target)} == {*places(weights)}:
        yield model
        return
    with TemporaryDirectory(prefix="swarmp2p-") as folder:
        genesis = Path(folder) / "genesis.safetensors"
        copy_tensors(model, genesis, target, partial(rule.write_state, weights))
        yield genesis


def terms_cid(document: Path) -> CID:
    """CID of a document of terms.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        hashed = hash_file(document)
    except OSError as error:
        raise ConfigError(
            f"The terms {document} cannot be read: {error.strerror}.", "Put the document there that was agreed on."
        ) from None
    return cid(hashed.digest, hashed.size)


async def deploy_swarm(
    manifest: Manifest,
    home: Home,
    model: Path,
    agreements: Sequence[Agreement] = (),
    content: ContentStore | None = None,
) -> Founded:
    """Deploy the contracts of a draft with this first model; see `found`.

    Args:
        content: where the founder's peer will look for the model; None: the embedded store in its home.
    """
    if home.key.address not in manifest.founders:
        raise ConfigError(
            f"0x{home.key.address.hex()} is not among the founders of {manifest.name!r}.",
            "Add it under [members] founders, or use the home of a founder.",
        )
    draft = manifest
    manifest = await trio.to_thread.run_sync(complete, manifest, model)
    manifest = with_agreements(manifest, [agree(manifest, home.key), *agreements])
    require_agreement(manifest, manifest.name)
    async with RpcClient(manifest.rpc) as rpc:
        chain_id = int(await rpc.call("eth_chainId"), 16)
        funded = await fund(rpc, home.key.address)
        manifest = await _with_treasury(rpc, manifest, home)
        swarm = await create_swarm(rpc, home.key.secret, manifest.config(), home.journal)
        if manifest.rewards is not None:
            await Treasury(rpc, manifest.rewards.treasury, home.key.secret, home.journal).bind(swarm.address)
    await trio.to_thread.run_sync(keep_content, home, draft, model, content)
    return Founded(manifest.with_contract(chain_id, swarm.address, swarm.transaction), funded)


async def _with_treasury(rpc: RpcClient, manifest: Manifest, home: Home) -> Manifest:
    rewards = manifest.rewards
    if rewards is None:
        return manifest
    terms = _terms(rewards, NO_ADDRESS)
    made = await create_treasury(rpc, home.key.secret, terms, rewards.policy, home.journal)
    policy_transaction = b"" if made.policy is None else made.policy.transaction
    return manifest.with_treasury(made.treasury.address, made.treasury.transaction, policy_transaction)


def _terms(rewards: Rewards, deployed: Address) -> Terms:
    """What the treasury is deployed with. `deployed`: the policy that this package carries, where the manifest names one."""
    policy = deployed if rewards.policy in POLICIES else bytes.fromhex(rewards.policy[2:])
    return Terms(rewards.token, policy, rewards.per_round, rewards.attester_bps, rewards.unstake_delay)


async def check_founded(rpc: RpcClient, manifest: Manifest, contract: SwarmContract) -> Config:
    """Everything that a manifest says of its chain: that the contract, the treasury and the policy were deployed by this
    release's code, with the manifest's configuration and terms. (That all founders signed it, `load_manifest` has checked.)

    Raises:
        WrongChain: naming what differs. ConfigError: the manifest does not name the transactions that deployed them.
    """
    rule = rule_from_id(manifest.rule)
    apply_from_text(manifest.apply)
    if manifest.k_max > rule.max_leaders:
        raise ConfigError(
            f"{rule.id} looks at whole updates, so a round has {rule.max_leaders} leader, and [rounds] leaders is"
            f" {manifest.k_max}.",
            "Use the swarm.toml that `swarmp2p found` wrote.",
        )
    config = await contract.check(manifest.digest)
    if config != manifest.config():
        raise WrongChain(
            "The contract's configuration is not the manifest's.", "Use the swarm.toml that `found` wrote."
        )
    await contract.check_creation(config, manifest.transaction)
    rewards = manifest.rewards
    if rewards is not None:
        treasury = Treasury(rpc, rewards.treasury, Key.generate().secret)
        terms = _terms(rewards, (await treasury.terms()).policy)
        transactions = rewards.treasury_transaction, rewards.policy_transaction
        await treasury.check(manifest.contract, terms, rewards.policy, *transactions)
    return config


def keep_content(home: Home, draft: Manifest, model: Path, content: ContentStore | None = None) -> None:
    """Put a draft's first model and terms where other members fetch them from: into a store, or the one in a home."""
    if content is None:
        store = EmbeddedStore(home.content)
        try:
            keep_content(home, draft, model, store)
        finally:
            store.close()
        return
    with genesis_file(rule_from_draft(draft.rule), model) as genesis:
        content.put(genesis)
    if draft.purpose_file is not None:
        content.put(Path(draft.purpose_file))


async def invite(
    manifest: Manifest,
    key: Key,
    invitee: Address,
    *,
    max_weight: int,
    days: float,
    deadline_days: float = DEADLINE_DAYS,
) -> Invitation:
    """A founder's (or member's) signed invitation for an address.

    Args:
        max_weight: largest weight that the invitee may declare.
        days: for how long the membership is authorised, from now on.
        deadline_days: until when the invitation can be used.
    """
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        contract = SwarmContract(rpc, manifest.contract, key.secret)
        config = await contract.check(manifest.digest)
        view, domain, member = await contract.state(), await contract.domain(), await contract.member(invitee)
    if key.address not in config.founders and view.member(key.address) is None:
        raise ConfigError(
            f"0x{key.address.hex()} is neither a founder nor a member of this swarm.", "Use the home of one of them."
        )
    return invited_by(
        key, manifest, domain, member, max_weight=max_weight, days=days, now=time.time(), deadline_days=deadline_days
    )


async def sign_too(manifest: Manifest, key: Key, invitation: Invitation) -> Invitation:
    """The invitation with one more signature."""
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        domain = await SwarmContract(rpc, manifest.contract, key.secret).domain()
    if key.address in invitation.signers(domain):
        raise ConfigError(f"0x{key.address.hex()} has signed this invitation already.", "Have somebody else sign it.")
    return invitation.signed(key, domain)


async def join(
    manifest: Manifest, key: Key, invitation: Invitation, addresses: tuple[str, ...] = (), genesis: Path | None = None
) -> int:
    """Enrol by invitation, or renew a membership, checked before anything is spent; returns the member's index.

    No home is locked and no journal is used: a peer may run with the key meanwhile.

    Args:
        addresses: the member's multiaddrs; none: those that are recorded stay.
        genesis: the first model, if one has it: its bytes and its schema are then checked too.

    Raises:
        InvitationRefused, WrongChain, SchemaMismatch, ChainUnreachable, TransactionFailed.
    """
    if genesis is not None:
        await trio.to_thread.run_sync(check_genesis, manifest, genesis)
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        contract = SwarmContract(rpc, manifest.contract, key.secret)
        config = await check_founded(rpc, manifest, contract)
        view, domain = await contract.state(), await contract.domain()
        signatures = verify(
            invitation,
            chain_id=manifest.chain_id,
            contract=manifest.contract,
            domain=domain,
            config=config,
            view=view,
            me=await contract.member(key.address),
            now=time.time(),
        )
        await fund(rpc, key.address)
        await put_stake(rpc, manifest, key, invitation.invite.stake)
        recorded = (await contract.addresses()).get(key.address, ())
        await contract.enrol(invitation.invite, signatures, addresses or recorded)
        member = (await contract.state()).member(key.address)
    if member is None:
        raise NotAMember("The chain does not show the enrolment.", "Look at the node's log, then join again.")
    return member.index


def check_genesis(manifest: Manifest, model: Path) -> None:
    """Whether a file is the swarm's first model. Blocks, while it hashes it.

    Raises:
        SchemaMismatch: it is another one, or none that a swarm can have.
    """
    found = complete(manifest, model)
    if (found.genesis, found.size, found.schema) != (manifest.genesis, manifest.size, manifest.schema):
        raise SchemaMismatch(
            f"{model} is {found.genesis_cid}, and the swarm's first model is {manifest.genesis_cid}.",
            "Ask the founders for theirs, or join without a file: the peer fetches it from them.",
        )


async def put_stake(
    rpc: RpcClient, manifest: Manifest, key: Key, needed: int, journal: TransactionJournal | None = None
) -> None:
    """Bring the own stake up to what an invitation asks for."""
    if not needed or manifest.rewards is None:
        return
    treasury = Treasury(rpc, manifest.rewards.treasury, key.secret, journal)
    there = (await treasury.account_of(key.address)).stake
    if there < needed:
        await treasury.stake(needed - there)
