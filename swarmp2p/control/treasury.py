"""A swarm's treasury and its token, as members use them (contracts/src/interfaces/ISwarmTreasury.sol)."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from swarmp2p.control.abi_codec import Artefact, artefact
from swarmp2p.control.creation import Deployed, check_creation, create, creation_code, require_contract
from swarmp2p.control.hexadecimal import from_hex, to_hex
from swarmp2p.control.interface import Receipt, TransactionJournal
from swarmp2p.control.rpc import NodeError, RpcClient, call_each
from swarmp2p.control.sender import Sender
from swarmp2p.core.errors import ConfigError, TransactionFailed, WrongChain
from swarmp2p.core.money import Account, Settlement, Statement, Terms, Totals
from swarmp2p.core.types import Address

POLICIES = {"equal": "EqualShares", "weight": "WeightShares"}
"""Reward policies that this package carries, by the name that a manifest gives them."""


class Treasury:
    """The money of one swarm.

    Args:
        rpc: nodes of its chain. Not closed here.
        address: of the treasury's contract.
        secret: 32-byte key of the account that signs transactions.
        journal: where transactions are written before they are sent; None for a tool that sends some and ends.
    """

    def __init__(
        self, rpc: RpcClient, address: Address, secret: bytes, journal: TransactionJournal | None = None
    ) -> None:
        self._rpc = rpc
        self.address = address
        self._artefact = artefact("SwarmTreasury")
        self._sender = Sender(rpc, secret, self._artefact, journal)
        self.account = self._sender.address
        self._token: Token | None = None

    # ---- reading

    async def check(
        self, swarm: Address, terms: Terms, policy: str, transaction: bytes, policy_transaction: bytes = b""
    ) -> None:
        """Whether this release's treasury was deployed at this address, for this swarm and with these terms.

        Args:
            policy: its name in the manifest, or its address. What is at an address only has to be a contract.
            transaction: hash of the one that deployed the treasury, as the manifest names it.
            policy_transaction: of the one that deployed the policy, if this package carries it.

        Raises:
            WrongChain: something else is there. ConfigError: a transaction is not named.
        """
        creation = creation_code(self._artefact, _terms_tuple(terms))
        what = "a swarm's treasury with the manifest's terms"
        await check_creation(self._rpc, self.address, transaction, creation, what)
        if policy in POLICIES:
            creation, what = creation_code(artefact(POLICIES[policy])), f'the reward policy "{policy}"'
            await check_creation(self._rpc, terms.policy, policy_transaction, creation, what)
        else:
            await require_contract(self._rpc, terms.policy)
        if await self.swarm() != swarm:
            raise WrongChain(
                f"The treasury 0x{self.address.hex()} belongs to another swarm.", "The manifest is unsound."
            )

    async def terms(self) -> Terms:
        """What it was deployed with."""
        ((token, policy, *numbers),) = await self._read("terms")
        return Terms(from_hex(token), from_hex(policy), *numbers)

    async def swarm(self) -> Address:
        """The swarm that it belongs to; 20 zero bytes: none yet."""
        (address,) = await self._read("swarm")
        return from_hex(address)

    async def totals(self, block: int | None = None) -> Totals:
        """The pool, and the sums over all accounts; at a recent chain block, or now."""
        (values,) = await _read(self._rpc, "SwarmTreasury", self.address, "totals", block=_tag(block))
        return Totals(*values)

    async def account_of(self, account: Address) -> Account:
        """What one account has here."""
        (values,) = await self._read("accountOf", to_hex(account))
        return Account(*values)

    async def accounts_of(self, accounts: Sequence[Address], block: int | None = None) -> dict[Address, Account]:
        """What each of these accounts has here; at a recent chain block, or now."""
        function = self._artefact.functions["accountOf"]
        calls = [function.encode(to_hex(account)) for account in accounts]
        outputs = await call_each(self._rpc, self.address, calls, _tag(block))
        found = (function.decode(from_hex(output))[0] for output in outputs)
        return {account: Account(*values) for account, values in zip(accounts, found, strict=True)}

    async def token(self) -> "Token":
        """Its token."""
        if self._token is None:
            self._token = Token(self._rpc, (await self.terms()).token, self._sender)
        return self._token

    # ---- transactions

    async def bind(self, swarm: Address) -> Receipt:
        """By the deployer, once: it belongs to this swarm from now on."""
        return await self._send("bind", "bind", to_hex(swarm))

    async def fund(self, amount: int) -> Receipt:
        """Pay into the pool. Approves the token's transfer first, if it is not approved."""
        await self._approve(amount)
        return await self._send(f"fund:{amount}", "fund", amount)

    async def stake(self, amount: int) -> Receipt:
        """Add to the own stake. Approves the token's transfer first, if it is not approved."""
        await self._approve(amount)
        return await self._send(f"stake:{amount}", "stake", amount)

    async def request_unstake(self) -> Receipt:
        """Ask for the own stake back."""
        return await self._send("unstake", "requestUnstake")

    async def withdraw_stake(self) -> Receipt:
        """Take the own stake back, once its time has come."""
        return await self._send("withdraw", "withdrawStake")

    async def settle(self, settlements: Sequence[Settlement]) -> Receipt:
        """Share the money of merged rounds; anybody may."""
        return await self._send("settle", "settle", _settlement_tuples(settlements))

    async def claim(self, settlements: Sequence[Settlement] = ()) -> Receipt:
        """Settle these rounds, and be paid all that is owed."""
        return await self._send("claim", "claim", _settlement_tuples(settlements))

    async def slash(self, account: Address) -> Receipt:
        """Take the stake of a member that was expelled and slashed by vote; anybody may."""
        return await self._send(f"slash:{account.hex()}", "slash", to_hex(account))

    async def prove_contradiction(self, one: Statement, other: Statement, slice_: int) -> Receipt:
        """Take the stake of a member that signed two things of which one must be false; anybody may."""
        return await self._send("prove", "proveContradiction", astuple(one), astuple(other), slice_)

    async def refund(self) -> Receipt:
        """After STOPPED: the own part of what is left in the pool."""
        return await self._send("refund", "refund")

    # ---- plumbing

    async def _approve(self, amount: int) -> None:
        token = await self.token()
        if await token.balance(self.account) < amount:
            raise TransactionFailed(
                f"The account {to_hex(self.account)} has less than {amount} of the token {to_hex(token.address)}.",
                "Give it some of that token first.",
                error="InsufficientBalance",
            )
        allowed = await token.allowance(self.account, self.address)
        if allowed < amount:
            if allowed:  # some tokens change an approval only from nothing
                await token.approve(self.address, 0)
            await token.approve(self.address, amount)

    async def _send(self, intent: str, name: str, *arguments: Any) -> Receipt:
        return await self._sender.send(intent, self.address, self._artefact.functions[name].encode(*arguments))

    async def _read(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        return await _read(self._rpc, "SwarmTreasury", self.address, name, *arguments)


class Token:
    """An ERC-20 token."""

    def __init__(self, rpc: RpcClient, address: Address, sender: Sender) -> None:
        self._rpc = rpc
        self.address = address
        self._sender = sender
        self._artefact = artefact("SwarmToken")

    async def balance(self, account: Address) -> int:
        """Units that an account holds."""
        return int((await self._read("balanceOf", to_hex(account)))[0])

    async def allowance(self, owner: Address, spender: Address) -> int:
        """Units that `spender` may take."""
        return int((await self._read("allowance", to_hex(owner), to_hex(spender)))[0])

    async def symbol(self) -> str:
        """Its short name. Raises WrongChain, as `decimals` does, if it has none: the standard leaves it to tokens."""
        return str((await self._read("symbol"))[0])

    async def decimals(self) -> int:
        """How many decimals people write it with."""
        return int((await self._read("decimals"))[0])

    async def approve(self, spender: Address, amount: int) -> Receipt:
        """Let `spender` take so many units."""
        return await self._send(f"approve:{spender.hex()}:{amount}", "approve", to_hex(spender), amount)

    async def transfer(self, to: Address, amount: int) -> Receipt:
        """Send units to somebody."""
        return await self._send(f"transfer:{to.hex()}:{amount}", "transfer", to_hex(to), amount)

    async def _send(self, intent: str, name: str, *arguments: Any) -> Receipt:
        return await self._sender.send(intent, self.address, self._artefact.functions[name].encode(*arguments))

    async def _read(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        return await _read(self._rpc, "SwarmToken", self.address, name, *arguments)


async def deploy_token(rpc: RpcClient, secret: bytes, name: str, symbol: str, supply: int, holder: Address) -> Address:
    """A new SwarmToken, all of it the holder's."""
    return (
        await create(rpc, secret, "SwarmToken", artefact("SwarmToken"), None, name, symbol, supply, to_hex(holder))
    ).address


@dataclass(frozen=True, slots=True)
class DeployedTreasury:
    """A new treasury, and the policy that was deployed for it."""

    treasury: Deployed
    policy: Deployed | None
    """None: it was there already."""


async def deploy_treasury(
    rpc: RpcClient, secret: bytes, terms: Terms, policy: str, journal: TransactionJournal | None = None
) -> Address:
    """A treasury that belongs to no swarm yet, and before it the policy, if this package carries it.

    Args:
        terms: `policy` in them counts only if the manifest names no policy of this package.
        policy: its name in the manifest, or its address.

    Raises:
        ConfigError: the token is no contract. TransactionFailed: the constructor refused the terms.
    """
    return (await create_treasury(rpc, secret, terms, policy, journal)).treasury.address


async def create_treasury(
    rpc: RpcClient, secret: bytes, terms: Terms, policy: str, journal: TransactionJournal | None = None
) -> DeployedTreasury:
    """`deploy_treasury` that also tells the transactions, which a manifest names."""
    if len(await rpc.call("eth_getCode", to_hex(terms.token), "latest")) <= 2:
        raise ConfigError(
            f"There is no token at {to_hex(terms.token)} on this chain.",
            "Give the address of an ERC-20 contract as [rewards] token; `swarmp2p token` makes one.",
        )
    shares = None
    if policy in POLICIES:
        shares = await create(rpc, secret, POLICIES[policy], artefact(POLICIES[policy]), journal)
        terms = replace(terms, policy=shares.address)
    compiled = artefact("SwarmTreasury")
    return DeployedTreasury(await create(rpc, secret, "SwarmTreasury", compiled, journal, _terms_tuple(terms)), shares)


async def deploy_policy(
    rpc: RpcClient, secret: bytes, compiled: Artefact, *arguments: Any, journal: TransactionJournal | None = None
) -> Address:
    """A reward policy of one's own, which a manifest then names by this address.

    Args:
        compiled: of a contract that is an IRewardPolicy; `abi_codec.parse_artefact` reads one.
        arguments: of its constructor.

    Raises:
        ConfigError: it has no `shares`. TransactionFailed: the constructor reverts.
    """
    wanted = artefact("EqualShares").functions["shares"]
    found = compiled.functions.get("shares")
    if found is None or (found.selector, found.outputs) != (wanted.selector, wanted.outputs):
        raise ConfigError("This contract is no reward policy: it lacks `shares`.", "Implement IRewardPolicy.")
    return (await create(rpc, secret, "policy", compiled, journal, *arguments)).address


async def _read(
    rpc: RpcClient, contract: str, address: Address, name: str, *arguments: Any, block: str = "latest"
) -> tuple[Any, ...]:
    function = artefact(contract).functions[name]
    call = {"to": to_hex(address), "data": to_hex(function.encode(*arguments))}
    try:
        output = from_hex(await rpc.call("eth_call", call, block))
    except NodeError as error:
        raise WrongChain(
            f"What is at {to_hex(address)} refuses {name}(): {error.message}.", "Check the address and the RPC URL."
        ) from None
    if not output:
        raise WrongChain(f"Nothing answers {name}() at {to_hex(address)}.", "Check the address and the RPC URL.")
    return function.decode(output)


def _terms_tuple(terms: Terms) -> tuple[Any, ...]:
    return (to_hex(terms.token), to_hex(terms.policy), terms.per_round, terms.attester_bps, terms.unstake_delay)


def _settlement_tuples(settlements: Sequence[Settlement]) -> list[tuple[Any, ...]]:
    return [
        (each.round, [(to_hex(entry.account), entry.index, entry.digest, entry.weight) for entry in each.entries])
        for each in settlements
    ]


def _tag(block: int | None) -> str:
    return "latest" if block is None else hex(block)
