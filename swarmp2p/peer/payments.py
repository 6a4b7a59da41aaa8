"""What people do with a swarm's money: look at it, pay in, stake, claim, take back. The command line calls these.

The rules are in rewards/, the contracts' clients in control/; here they meet. No home is locked and no journal is used: all
of it may be done beside a running peer of the same key.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.faucet import fund as fill_up
from swarmp2p.control.history import read_history, read_results
from swarmp2p.control.manifest import Manifest, Rewards
from swarmp2p.control.rpc import RpcClient
from swarmp2p.control.treasury import POLICIES, Token, Treasury, deploy_token
from swarmp2p.control.treasury_history import read_treasury_history
from swarmp2p.core.contradiction import statement_of as statement_of_message
from swarmp2p.core.errors import ConfigError, TransactionFailed, WrongChain
from swarmp2p.core.history import Enrolled, Record
from swarmp2p.core.money import Settled
from swarmp2p.core.types import Address, Phase
from swarmp2p.core.view import View
from swarmp2p.identity import Key
from swarmp2p.peer.founding import check_founded
from swarmp2p.peer.misconduct import Proof
from swarmp2p.rewards.amounts import Unit
from swarmp2p.rewards.metering import Meter, meter
from swarmp2p.rewards.policy import RewardPolicy, policy_of
from swarmp2p.rewards.receipts import read_receipts
from swarmp2p.rewards.settlement import batches, expulsions, merged_rounds, unsettled
from swarmp2p.rewards.statement import Books, PayStatement, statement_of

MAX_SYMBOL = 16


@dataclass(frozen=True, slots=True)
class Money:
    """A swarm's contracts as one key uses them, checked to be the manifest's."""

    rpc: RpcClient
    manifest: Manifest
    contract: SwarmContract
    treasury: Treasury
    unit: Unit

    @property
    def account(self) -> Address:
        """Who pays and is paid."""
        return self.treasury.account

    async def history(self, view: View) -> tuple[Record, ...]:
        """The swarm's records up to this view."""
        return await read_history(self.rpc, self.manifest.contract, view.block_number)


def rewards_of(manifest: Manifest) -> Rewards:
    """What the manifest says of money.

    Raises:
        ConfigError: nothing.
    """
    if manifest.rewards is None:
        raise ConfigError(
            f"This swarm pays nothing: the manifest of {manifest.name!r} has no [rewards].",
            "Its founders would have to found another one.",
        )
    return manifest.rewards


@asynccontextmanager
async def open_money(manifest: Manifest, key: Key | None = None) -> AsyncIterator[Money]:
    """The contracts of a swarm that pays.

    Args:
        key: whose account it is; its gas comes from the faucet, if the chain has one. None: only to look.

    Raises:
        ConfigError: the swarm pays nothing. WrongChain: something is not as the manifest says. ChainUnreachable.
    """
    rewards = rewards_of(manifest)
    secret = (key or Key.generate()).secret
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        contract = SwarmContract(rpc, manifest.contract, secret)
        await check_founded(rpc, manifest, contract)
        treasury = Treasury(rpc, rewards.treasury, secret)
        unit = await unit_of(await treasury.token())
        if key is not None:
            await fill_up(rpc, key.address)
        yield Money(rpc, manifest, contract, treasury, unit)


async def unit_of(token: Token) -> Unit:
    """How people write amounts of a token. Tokens need not say it, and may say anything."""
    try:
        symbol, decimals = await token.symbol(), await token.decimals()
    except WrongChain:
        return Unit("units", 0)
    printable = "".join(letter for letter in symbol if letter.isascii() and letter.isprintable())
    return Unit(printable[:MAX_SYMBOL] or "units", decimals if decimals <= 77 else 0)


async def read_statement(manifest: Manifest, twin: RewardPolicy | None = None) -> PayStatement:
    """Who earned what and why, all of it as of one chain block. Anybody may ask.

    Args:
        twin: of a policy of somebody's own, so that rounds that nobody has settled yet can be foretold. That it agrees
            with the contract is the caller's to check (`swarmp2p.testing.reward_checks`).
    """
    async with open_money(manifest) as money:
        view = await money.contract.state()
        records = await money.history(view)
        events = await read_treasury_history(money.rpc, money.treasury.address, view.block_number)
        accounts = {record.address for record in records if isinstance(record, Enrolled)}
        accounts |= {record.account for record in events if not isinstance(record, Settled)}
        rounds = [settlement.round for settlement in merged_rounds(records)]
        policy = rewards_of(manifest).policy
        known = policy_of(policy) if policy in POLICIES else twin
        return statement_of(
            Books(
                records,
                events,
                await read_results(money.rpc, manifest.contract, rounds),
                await money.treasury.accounts_of(sorted(accounts), view.block_number),
                await money.treasury.terms(),
                await money.treasury.totals(view.block_number),
                known,
                money.unit,
            )
        )


async def read_meter(manifest: Manifest, receipts: Path) -> Meter:
    """What each member contributed. `receipts` is a peer's file of them, which need not be there."""
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        contract = SwarmContract(rpc, manifest.contract, Key.generate().secret)
        await contract.check(manifest.digest)
        records = await read_history(rpc, manifest.contract, (await contract.state()).block_number)
        domain = await contract.domain()
    members = {record.address for record in records if isinstance(record, Enrolled)}
    return meter(records, domain, read_receipts(receipts, domain, members))


async def pay_in(money: Money, amount: int) -> int:
    """Pay into the pool; gives what is in it then."""
    await money.treasury.fund(amount)
    return (await money.treasury.totals()).pool


async def transfer(money: Money, to: Address, amount: int) -> int:
    """Give somebody of the own tokens; gives what is left in hand.

    Raises:
        TransactionFailed: there are not enough.
    """
    token = await money.treasury.token()
    there = await token.balance(money.account)
    if there < amount:
        raise TransactionFailed(
            f"0x{money.account.hex()} has {money.unit.show(there)} in hand, less than {money.unit.show(amount)}.",
            "`swarmp2p rewards` shows what is owed or at stake.",
            error="InsufficientBalance",
        )
    await token.transfer(to, amount)
    return await token.balance(money.account)


async def stake(money: Money, amount: int) -> int:
    """Add to the own stake; gives all of it."""
    await money.treasury.stake(amount)
    return (await money.treasury.account_of(money.account)).stake


@dataclass(frozen=True, slots=True)
class Paid:
    """What came of a claim."""

    amount: int
    rounds: int
    """That were settled for it."""
    slashed: tuple[Address, ...]
    """Whose stakes went into the pool."""


async def claim(money: Money) -> Paid:
    """Settle what is unsettled, take the stakes that votes have made forfeit into the pool, and be paid all that is owed.

    Raises:
        TransactionFailed: nothing is owed; with the name NothingOwed.
    """
    settled, slashed = await _settle(money)
    owed = (await money.treasury.account_of(money.account)).owed
    if owed == 0:
        raise TransactionFailed(
            f"Nothing is owed to 0x{money.account.hex()}.", "`swarmp2p rewards` says why.", error="NothingOwed"
        )
    await money.treasury.claim()
    return Paid(owed, settled, slashed)


async def refund(money: Money) -> int:
    """After the end: settle what is unsettled, then take back what is left of what this account had paid in.

    Raises:
        TransactionFailed: the swarm has not stopped, or nothing is left.
    """
    view = await money.contract.state()
    if view.phase is not Phase.STOPPED:
        raise TransactionFailed(
            f"The swarm has not stopped: it is in round {view.round}.",
            "What is left in the pool comes back when it has.",
            error="NotRefundable",
        )
    await _settle(money, view.round)
    left = (await money.treasury.account_of(money.account)).refundable
    if left == 0:
        raise TransactionFailed(
            f"Nothing is left of what 0x{money.account.hex()} paid in.",
            "`swarmp2p rewards` says where it went.",
            error="NothingOwed",
        )
    await money.treasury.refund()
    return left


async def _settle(money: Money, over: int = 0) -> tuple[int, tuple[Address, ...]]:
    """Gives how many rounds were settled by it, and who was slashed."""
    totals = await money.treasury.totals()
    records = await money.history(await money.contract.state())
    settlements = unsettled(records, totals.settled_round, over)
    for batch in batches(settlements, totals.settled_round):
        await money.treasury.settle(batch)
    # After the rounds, so that these pay what was foretold.
    voted = sorted(address for address, vote in expulsions(records).items() if vote.slash)
    accounts = await money.treasury.accounts_of(voted)
    slashed = tuple(address for address in voted if accounts[address].stake)
    for address in slashed:
        await money.treasury.slash(address)
    return sum(bool(settlement.entries) for settlement in settlements), slashed


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """How far taking back a stake has come."""

    amount: int
    wait_until: int
    """Unix time from which on it may be taken; 0: it was paid back."""


async def withdraw(money: Money) -> Withdrawal:
    """The next step of taking the own stake back: ask for it, or wait, or take it.

    Raises:
        TransactionFailed: there is none, it is forfeit, or the account is a member still.
    """
    held = await money.treasury.account_of(money.account)
    view = await money.contract.state()
    who = f"0x{money.account.hex()}"
    if held.stake == 0:
        raise TransactionFailed(f"{who} has no stake.", "There is nothing to withdraw.", error="NothingToWithdraw")
    stopped = view.phase is Phase.STOPPED
    if not stopped:
        member = await money.contract.member(money.account)
        if member.status.enrolled and time.time() <= member.expires:
            raise TransactionFailed(
                f"{who} is a member, and its stake stays in while it is one.",
                "Leave first: `swarmp2p leave`.",
                error="StillAMember",
            )
        if held.unstake_at == 0:
            await money.treasury.request_unstake()
            held = await money.treasury.account_of(money.account)
        if max(time.time(), view.block_timestamp) < held.unstake_at:
            return Withdrawal(held.stake, held.unstake_at)
    await money.treasury.withdraw_stake()
    return Withdrawal(held.stake, 0)


async def prove(money: Money, evidence: Sequence[Path]) -> dict[Address, int]:
    """Take the stakes of members that signed contradictions; gives whose, and how much.

    Args:
        evidence: files that peers wrote (peer/misconduct.py).

    Raises:
        ConfigError: one of them proves nothing in this swarm.
    """
    domain = await money.contract.domain()
    taken: dict[Address, int] = {}
    for proof in [Proof.load(path, domain) for path in evidence]:
        held = await money.treasury.account_of(proof.one.signer)
        if held.stake > 0 and not held.forfeit:
            one, other = statement_of_message(proof.one), statement_of_message(proof.other)
            await money.treasury.prove_contradiction(one, other, proof.slice)
            taken[proof.one.signer] = held.stake
    return taken


async def new_token(rpc_urls: Sequence[str], key: Key, name: str, symbol: str, supply: int) -> Address:
    """Deploy a token, all of it this key's; gives its address."""
    async with RpcClient(rpc_urls) as rpc:
        await fill_up(rpc, key.address)
        return await deploy_token(rpc, key.secret, name, symbol, supply, key.address)
