"""A swarm of a few members in one program: founded, run until it stops, and paid."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from examples.own_layers.layers import choose_policy, open_chain, open_network, open_store
from examples.own_layers.learner import PHOTOGRAPHS, SkyLearner, first_model
from swarmp2p import SwarmPeer
from swarmp2p.content.interface import ContentStore
from swarmp2p.content.unixfs import cid
from swarmp2p.control.faucet import fund
from swarmp2p.control.manifest import Manifest, Rewards
from swarmp2p.control.manifest_file import render
from swarmp2p.control.rpc import RpcClient
from swarmp2p.control.treasury import deploy_token
from swarmp2p.home import KEY_FILE, Home
from swarmp2p.identity import Key, save_key
from swarmp2p.merge.tensors import write_weights
from swarmp2p.network.interface import OpenHost
from swarmp2p.peer.founding import deploy_swarm, invite
from swarmp2p.peer.payments import claim, open_money, pay_in, read_statement
from swarmp2p.rewards.policy import RewardPolicy
from swarmp2p.rewards.statement import PayStatement
from swarmp2p.testing.local_swarm import LOCAL_KNOBS, local_draft

PER_ROUND = 2100
"""Units of the token that a merged round pays."""


@dataclass(frozen=True)
class Options:
    """Which layers, and how much of it; see layers.py for the names."""

    chain: str = "embedded"
    policy: str = "equal"
    content: str = "embedded"
    network: str = "libp2p"
    peers: int = 4
    rounds: int = 4


@dataclass(frozen=True)
class Earning:
    """What a member has to do with the money.

    Attributes:
        foretold: by the policy's twin, before anything was settled.
        paid: by the contracts; it is in the member's account.
    """

    member: str
    weight: int
    foretold: int
    paid: int


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    Attributes:
        heads: CID by member, and of the contract under "contract".
        foretold: the statement before settlement; `statement`: the one after it.
    """

    manifest: Manifest
    heads: Mapping[str, str]
    foretold: PayStatement
    statement: PayStatement
    earnings: tuple[Earning, ...]

    @property
    def sound(self) -> bool:
        """One head, and everybody paid what was foretold."""
        return len(set(self.heads.values())) == 1 and all(each.foretold == each.paid for each in self.earnings)


@dataclass(frozen=True)
class Founded:
    """A swarm that is ready to run. `twin`: of a policy that the package does not carry."""

    manifest: Manifest
    keys: Mapping[str, Key]
    twin: RewardPolicy | None


async def run(options: Options, folder: Path) -> Outcome:
    """All of it, with everything that is kept in `folder`."""
    names = [f"observatory {number + 1}" for number in range(options.peers)]
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(open_chain(options.chain, folder / "chain"))
        network = await stack.enter_async_context(open_network(options.network))
        stores: dict[str, ContentStore | None] = {}
        for name in names:
            (folder / name).mkdir(parents=True)
            store = stores[name] = open_store(options.content, folder / name)
            if store is not None:
                stack.callback(store.close)
        founded = await found(options, folder, url, names, stores[names[0]])
        heads: dict[str, str] = {}
        async with trio.open_nursery() as nursery:
            for number, name in enumerate(names):
                nursery.start_soon(take_part, folder, name, SkyLearner(number), stores[name], network, heads)
        return await settle(founded, heads)


async def found(options: Options, folder: Path, url: str, names: list[str], content: ContentStore | None) -> Founded:
    """Make keys, a token, the contracts and invitations; the founder, names[0], pays all of its tokens into the pool.

    Args:
        content: the founder's own store, if it has one.
    """
    keys = {name: Key.generate() for name in names}
    founder, pool = keys[names[0]], options.rounds * PER_ROUND
    async with RpcClient([url]) as rpc:
        for name, key in keys.items():
            save_key(key, folder / name / KEY_FILE)
            await fund(rpc, key.address)
        token = await deploy_token(rpc, founder.secret, "Starlight", "STAR", pool, founder.address)
        policy, twin = await choose_policy(options.policy, rpc, founder)
    write_weights(first_model(), model := folder / "genesis.safetensors")
    draft = local_draft(
        (founder.address,), len(names), options.rounds, (url,), sync_interval=5, k_max=2,
        # Nobody is left out of a round, however slow this machine is: that would be another example.
        min_updates=len(names), fraction=1.0,
        rewards=Rewards(token, policy, PER_ROUND), knobs=replace(LOCAL_KNOBS, linger=60.0),
    )  # fmt: skip
    with Home.open(folder / names[0]) as home:
        manifest = (await deploy_swarm(draft, home, model, content=content)).manifest
    (folder / "swarm.toml").write_text(render(manifest))
    async with open_money(manifest, founder) as money:
        await pay_in(money, pool)
    for name, weight in zip(names, PHOTOGRAPHS, strict=False):
        invitation = await invite(manifest, founder, keys[name].address, max_weight=weight, days=1.0)
        invitation.save(folder / name / "invitation.json")
    return Founded(manifest, keys, twin)


async def take_part(
    folder: Path,
    name: str,
    learner: SkyLearner,
    content: ContentStore | None,
    network: OpenHost | None,
    heads: dict[str, str],
) -> None:
    """One member, until the swarm has stopped; writes down its head."""
    async with SwarmPeer.open(
        folder / "swarm.toml",
        home=folder / name,
        invitation=folder / name / "invitation.json",
        listen=["/ip4/127.0.0.1/tcp/0"],
        learner=learner,
        weight=learner.weight,
        content=content,
        network=network,
    ) as peer:
        async for merged in peer.rounds():
            print(f"{name}: round {merged.number}, {merged.merged}, {merged.included} updates, {merged.metric:.3f}")
        heads[name] = str(peer.head)


async def settle(founded: Founded, heads: Mapping[str, str]) -> Outcome:
    """Foretell what each will be paid, have it paid, and look into the accounts."""
    manifest, keys = founded.manifest, founded.keys
    foretold = await read_statement(manifest, founded.twin)
    earnings = []
    for number, (name, key) in enumerate(keys.items()):
        account = foretold.account(key.address)
        expected = account.unsettled if account is not None else 0
        async with open_money(manifest, key) as money:
            if expected:
                await claim(money)
            paid = await (await money.treasury.token()).balance(key.address)
            view = await money.contract.state()
        earnings.append(Earning(name, PHOTOGRAPHS[number], expected, paid))
    contract = str(cid(view.head, manifest.size))
    statement = await read_statement(manifest, founded.twin)
    return Outcome(manifest, {**heads, "contract": contract}, foretold, statement, tuple(earnings))
