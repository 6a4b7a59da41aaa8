"""What to offer for gas: EIP-1559 where the chain has a base fee, a gas price where not, nothing where gas is free."""

from dataclasses import dataclass

import trio

from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import TransactionFailed

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

    def raised(self) -> "Fees":
        """A quarter more (nodes ask for a tenth) to replace a transaction that does not get in."""
        if self.price is not None:
            return Fees(_more(self.price))
        return Fees(None, _more(self.cap), _more(self.tip))


def _more(value: int) -> int:
    return min(MAX_FEE, value * 5 // 4 + 1)


class FeeOracle:
    """Asks a node what gas costs, not more often than needed."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc
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
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        price = int(await self._rpc.call("eth_gasPrice"), 16)
        base = None if block is None else block.get("baseFeePerGas")
        if base is None:
            return _bounded(Fees(price))
        if price == 0:
            return Fees(None, 0, 0)
        try:
            tip = int(await self._rpc.call("eth_maxPriorityFeePerGas"), 16)
        except NodeError:
            tip = _DEFAULT_TIP
        return _bounded(Fees(None, 2 * int(base, 16) + tip, tip))


def _bounded(fees: Fees) -> Fees:
    if (fees.price or fees.cap) > MAX_FEE:
        raise TransactionFailed(
            f"Gas costs {(fees.price or fees.cap) // 10**9} gwei on this chain, more than {MAX_FEE // 10**9}.",
            "Wait until it is cheaper, or check the RPC URL.",
            error="FeeTooHigh",
        )
    return fees
