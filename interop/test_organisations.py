"""Six organisations found a swarm on a chain of four validators, are paid, and expel one of them, while nodes die.

All that they do, they do by the command line, each with a home, a manifest and a process of its own.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from interop.mean_learner import genesis
from interop.organisations import Organisation, swarmp2p
from interop.test_geth import missing_geth, network
from swarmp2p.content.unixfs import cid
from swarmp2p.control.abi_codec import artefact
from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.geth import GethNetwork
from swarmp2p.control.history import read_history
from swarmp2p.control.manifest_file import load_manifest
from swarmp2p.control.rpc import RpcClient
from swarmp2p.control.treasury import Treasury, deploy_token
from swarmp2p.core.history import Enrolled, Expelled
from swarmp2p.core.types import Phase, bits
from swarmp2p.core.view import View
from swarmp2p.identity import Key
from swarmp2p.merge.tensors import write_weights

pytestmark = pytest.mark.skipif(missing_geth(), reason="geth is not built: run tools/geth")

MEMBERS, FOUNDERS, ROUNDS = 6, 3, 10
SUPPLY, POOL, PER_ROUND, STAKE = 1_000_000, 20_000, 1_001, 50
"""The pot does not divide by the number of members, so that there is dust."""
VALIDATOR_DIES, NODE_DIES, EXPULSION = 3, 5, 7
"""Rounds in which things happen."""
VICTIM = 4
"""Who is expelled."""
ROUND_CALLS = ("submitUpdate", "advance", "finalize", "ready")
LIMIT = 420.0

DRAFT = """
name = "six organisations"
purpose = "To show that organisations can run a swarm by themselves."
[chain]
rpc = {rpc}
[model]
file = "genesis.safetensors"
[members]
founders = {founders}
invite_signatures = 2
initial = {members}
[rounds]
sync_interval = 2
max_rounds = {rounds}
[timing]
interval = 1
collect_timeout = 60
grace = 4
merge_timeout = 60
[rewards]
token = "{token}"
policy = "equal"
per_round = {per_round}
attester_share = 0.1
min_stake = {stake}
unstake_delay = 0
[local]
leader_timeout = 6.0
fetch_timeout = 3.0
slack = 1.0
stagger = 4.0
linger = 20.0
"""


@dataclass
class Story:
    """The chain, the organisations, and an observer without a key of weight."""

    net: GethNetwork
    folder: Path
    organisations: list[Organisation]
    rpc: RpcClient
    contract: SwarmContract
    treasury: Treasury

    async def state(self, condition: Callable[[View], bool]) -> View:
        """Wait for a state of the contract."""
        view = await self.contract.state()
        while not condition(view):
            for number, organisation in enumerate(self.organisations):
                if number != VICTIM and view.phase is not Phase.STOPPED:
                    organisation.must_live()
            view = await self.contract.wait_for_change(view, 5.0)
        return view


async def command(*arguments: str | Path) -> str:
    """A command, beside others."""
    return await trio.to_thread.run_sync(lambda: swarmp2p(*arguments))


async def all_of(*actions: Callable[[], Any]) -> None:
    async with trio.open_nursery() as nursery:
        for action in actions:
            nursery.start_soon(action)


@asynccontextmanager
async def founded(folder: Path) -> AsyncIterator[Story]:
    """The swarm is founded, its pool is funded, and everybody is invited."""
    made = [await trio.to_thread.run_sync(Organisation.make, folder / f"org{number}") for number in range(MEMBERS)]
    first = made[0]
    write_weights(genesis(), folder / "genesis.safetensors")
    async with network(folder / "chain") as net, RpcClient(net.urls, chain_id=net.chain_id) as rpc:
        accounts = [organisation.account for organisation in made]
        for account in accounts:
            await net.fund(account)
        token = await deploy_token(rpc, net.purse.secret, "Play money", "PLAY", SUPPLY, net.purse.address)
        draft = folder / "draft.toml"
        names = [organisation.address for organisation in made[:FOUNDERS]]
        draft.write_text(
            DRAFT.format(
                rpc=quoted(net.urls), founders=quoted(names), members=MEMBERS, rounds=ROUNDS, token="0x" + token.hex(),
                per_round=PER_ROUND, stake=STAKE,
            )
        )  # fmt: skip
        agreements = [folder / f"agreement{number}.json" for number in (1, 2)]
        for file, organisation in zip(agreements, made[1:FOUNDERS], strict=True):
            await command("agree", draft, "--home", organisation.home, "--out", file, "--yes")
        swarm = folder / "swarm.toml"
        options = [part for file in agreements for part in ("--agreement", file)]
        await command("found", draft, "--home", first.home, "--out", swarm, *options)
        manifest = load_manifest(swarm)
        assert manifest.rewards is not None
        for number, organisation in enumerate(made):
            # Each has another node of its own; the last one's dies with nobody else's.
            own = net.rpc_nodes[0] if number == MEMBERS - 1 else net.nodes[1 + number % (len(net.nodes) - 1)]
            urls = [own.url, *(url for url in net.urls if url != own.url)]
            organisation.take_manifest(swarm.read_text(), urls)
        treasury = Treasury(rpc, manifest.rewards.treasury, net.purse.secret)
        money = await treasury.token()
        shares = {account: STAKE + (POOL if account == accounts[0] else 0) for account in accounts}
        await all_of(*(partial(money.transfer, account, share) for account, share in shares.items()))
        contract = SwarmContract(rpc, manifest.contract, Key.generate().secret)
        await command("fund", first.manifest, str(POOL), "--home", first.home)
        yield Story(net, folder, made, rpc, contract, treasury)
        for organisation in made:
            await trio.to_thread.run_sync(organisation.stop)


async def enrol(story: Story, number: int) -> None:
    """Two founders sign, the invitee joins and puts in its stake."""
    organisation, (one, two) = story.organisations[number], story.organisations[:2]
    file = story.folder / f"invitation{number}.json"
    await command("invite", one.manifest, organisation.address, "--home", one.home, "--max-weight", "10", "--out", file)
    await command("invite", two.manifest, "--home", two.home, "--sign", file)
    await command("join", organisation.manifest, "--home", organisation.home, "--invitation", file)


async def expel(story: Story) -> None:
    """One proposes, three more sign; their running peers pass it on, and one of them has it carried out."""
    victim = story.organisations[VICTIM]
    first, *others = story.organisations[:4]
    said = await command("vote", "expel", first.manifest, victim.address, "--home", first.home, "--slash")
    id_ = said.partition(":")[0]
    for organisation in others:
        with trio.fail_after(30):
            while not (organisation.home / "papers" / f"{id_}.json").exists():
                await trio.sleep(0.2)
        await command("vote", "sign", organisation.manifest, id_, "--home", organisation.home)


def quoted(names: list[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


async def test_ten_rounds_with_money_an_expulsion_and_dying_nodes(tmp_path: Path) -> None:
    with trio.fail_after(LIMIT):
        async with founded(tmp_path) as story:
            await all_of(*(partial(enrol, story, number) for number in range(MEMBERS)))
            for number, organisation in enumerate(story.organisations):
                organisation.start("interop.mean_learner:MeanLearner", float(number))
            await story.state(lambda view: view.round >= VALIDATOR_DIES)
            await story.net.kill(story.net.validators[0])
            await story.state(lambda view: view.round >= NODE_DIES)
            await story.net.kill(story.net.rpc_nodes[0])
            await story.state(lambda view: view.round >= EXPULSION)
            await expel(story)
            view = await story.state(lambda view: view.phase is Phase.STOPPED)
            assert view.merged_rounds == ROUNDS
            await ended_with(story, view)
            await no_needless_transactions(story)
            await paid_to_the_last_unit(story)


async def ended_with(story: Story, view: View) -> None:
    """All but the expelled one end by themselves, with the contract's head; it was told why it may not go on."""
    head = str(cid(view.head, model_size(story)))
    for number, organisation in enumerate(story.organisations):
        code = await trio.to_thread.run_sync(lambda organisation=organisation: organisation.wait(60.0))
        if number == VICTIM:
            assert code == 1
            assert "no longer a member" in "".join(organisation.errors)
            continue
        assert code == 0, "".join(organisation.errors)
        stopped = organisation.last("stopped")
        assert stopped is not None
        assert (stopped["head"], stopped["reason"]) == (head, "max_rounds")


def model_size(story: Story) -> int:
    return load_manifest(story.organisations[0].manifest).size


async def no_needless_transactions(story: Story) -> None:
    """At most N + 2 transactions a round, those that were refused among them."""
    names = {artefact().functions[name].selector: name for name in ROUND_CALLS}
    last = await story.rpc.block_number()
    blocks = await story.rpc.batch([("eth_getBlockByNumber", [hex(n), True]) for n in range(last + 1)])
    ends = [(await story.contract.result(number)).block_number for number in range(1, ROUNDS + 1)]
    counts = [Counter[str]() for _ in ends]
    for block in blocks:
        for transaction in block["transactions"]:
            name = names.get(bytes.fromhex(transaction["input"][2:10]))
            number = int(block["number"], 16)
            if name is not None and number <= ends[-1]:
                counts[bisect_left(ends, number)][name] += 1
    print("transactions by round:", *(dict(count) for count in counts), sep="\n  ")
    for number, count in enumerate(counts, 1):
        assert count.total() <= MEMBERS + 2, f"round {number}: {count}"


async def paid_to_the_last_unit(story: Story) -> None:
    """Everybody is paid what the chain's records say, stakes and the rest of the pool come back, and nothing is lost."""
    due = await earnings(story)
    for number, organisation in enumerate(story.organisations):
        if number != VICTIM or due[organisation.account]:
            await command("claim", organisation.manifest, "--home", organisation.home)
        if number != VICTIM:
            await command("withdraw", organisation.manifest, "--home", organisation.home)
    first = story.organisations[0]
    await command("refund", first.manifest, "--home", first.home)
    totals, money = await story.treasury.totals(), await story.treasury.token()
    balances = {each.account: await money.balance(each.account) for each in story.organisations}
    refunded = POOL - sum(due.values()) - (totals.pool - STAKE)
    for number, organisation in enumerate(story.organisations):
        stake = 0 if number == VICTIM else STAKE
        expected = due[organisation.account] + stake + (refunded if number == 0 else 0)
        assert balances[organisation.account] == expected, organisation.address
    assert (totals.owed, totals.staked) == (0, 0)
    # What is left is the forfeit stake, and what does not divide.
    assert STAKE <= totals.pool <= STAKE + ROUNDS
    held = await money.balance(story.treasury.address)
    assert held == totals.pool
    assert sum(balances.values()) + held + await money.balance(story.net.purse.address) == SUPPLY


async def earnings(story: Story) -> Counter[bytes]:
    """By hand: equal parts of what the attesters leave, for those that were included and not expelled by then."""
    records = await read_history(story.rpc, story.contract.address, await story.rpc.block_number())
    accounts = {record.index: record.address for record in records if isinstance(record, Enrolled)}
    (expelled,) = (record for record in records if isinstance(record, Expelled))
    assert expelled.address == story.organisations[VICTIM].account
    due: Counter[bytes] = Counter()
    for number in range(1, ROUNDS + 1):
        result = await story.contract.result(number)
        paid = [i for i in bits(result.included) if accounts[i] != expelled.address or number < expelled.round]
        attested = [i for i in paid if result.attesters >> i & 1]
        bonus = PER_ROUND // 10 if attested else 0
        for index in paid:
            due[accounts[index]] += (PER_ROUND - bonus) // len(paid)
        for index in attested:
            due[accounts[index]] += bonus // len(attested)
    return due
