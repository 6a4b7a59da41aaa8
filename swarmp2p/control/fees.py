"""What to offer for gas: EIP-1559 where the chain has a base fee, a gas price where not, nothing where gas is free."""

from dataclasses import dataclass

import trio

from swarmp2p.control.node import is_quantity
from swarmp2p.control.rpc import Json, NodeError, RpcClient
from swarmp2p.core.errors import TransactionFailed
from swarmp2p.core.types import Address

MAX_FEE = 1_000 * 10**9
"""Wei a gas that a transaction offers at most: dearer than that is an accident, not a market."""
_FRESH = 5.0
"""Seconds for which fees are taken as still right: an offer of twice the base fee holds for six full blocks."""
_DEFAULT_TIP = 10**9


@dataclass(frozen=True, slots=True)
class Fees:
    """Offer, in wei a gas. `price` for chains without a base fee; else `cap` and `tip`."""

    price: int | None
    cap: int = 0
    tip: int = 0

    def fields(self) -> dict[str, int]:
        """The fields of an eth_account transaction."""
        if self.price is not None:
            return {"gasPrice": self.price}
        return {"type": 2, "maxFeePerGas": self.cap, "maxPriorityFeePerGas": self.tip}

    @property
    def free(self) -> bool:
        """Gas costs nothing."""
        return not (self.price or self.cap)

    def below(self, current: "Fees") -> bool:
        """Whether an offer of some time ago may be too low, now that `current` is offered."""
        if self.price is not None or current.price is not None:
            return (self.price or self.cap) < (current.price or current.cap)
        return self.tip < current.tip or 2 * self.cap < current.cap

    def raised(self, current: "Fees") -> "Fees":
        """To replace a transaction that does not get in: a quarter more (nodes ask for a tenth), and no less than what a
        new one offers now."""
        if self.price is not None:
            # The kind of the offer stays: some nodes take no other kind for a replacement.
            return Fees(max(_more(self.price), current.price or current.cap))
        if current.price is not None:
            return Fees(None, max(_more(self.cap), current.price), max(_more(self.tip), current.price))
        return Fees(None, max(_more(self.cap), current.cap), max(_more(self.tip), current.tip))


def _more(value: int) -> int:
    return min(MAX_FEE, value * 5 // 4 + 1)


class FeeOracle:
    """Asks a node what gas costs, not more often than needed.

    Args:
        account: who is to pay.
    """

    def __init__(self, rpc: RpcClient, account: Address) -> None:
        self._rpc = rpc
        self._account = "0x" + account.hex()
        self._known: Fees | None = None
        self._until = 0.0

    def forget(self) -> None:
        """Ask anew the next time."""
        self._known = None

    async def fees(self) -> Fees:
        """The offer for a transaction now. Raises TransactionFailed when gas costs more than MAX_FEE."""
        if self._known is None or trio.current_time() >= self._until:
            self._known = await self._ask()
            self._until = trio.current_time() + _FRESH
        return self._known

    async def _ask(self) -> Fees:
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False, usable=_is_block)
        price = await self._rpc.number("eth_gasPrice")
        base = None if block is None else block.get("baseFeePerGas")
        if base is None:
            return _bounded(Fees(price))
        if price == 0 or (int(base, 16) == 0 and await self._has_nothing()):
            return Fees(None, 0, 0)
        try:
            tip = await self._rpc.number("eth_maxPriorityFeePerGas")
        except NodeError:
            tip = _DEFAULT_TIP
        return _bounded(Fees(None, 2 * int(base, 16) + tip, tip))

    async def _has_nothing(self) -> bool:
        """Nodes advise a tip though the chain wants none; who has no money can only try without."""
        return await self._rpc.number("eth_getBalance", self._account, "latest") == 0


def _is_block(value: Json) -> bool:
    if not isinstance(value, dict):
        return value is None
    return value.get("baseFeePerGas") is None or is_quantity(value["baseFeePerGas"])


def _bounded(fees: Fees) -> Fees:
    if (fees.price or fees.cap) > MAX_FEE:
        raise TransactionFailed(
            f"Gas costs {(fees.price or fees.cap) // 10**9} gwei on this chain, more than {MAX_FEE // 10**9}.",
            "Wait until it is cheaper, or check the RPC URL.",
            error="FeeTooHigh",
        )
    return fees
