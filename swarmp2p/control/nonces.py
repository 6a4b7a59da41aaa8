"""Which nonce is next: the one that the node says, past those that are on their way from here."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.types import Address

LATE = 5.0
"""Seconds for which a node may not count a transaction as pending that it was given."""


class Nonces:
    """Nonces of one account. Nothing is counted on here, so a node that lost transactions, or a chain that was
    reorganised, puts them right by itself."""

    def __init__(self, rpc: RpcClient, account: Address) -> None:
        self._rpc = rpc
        self._account = "0x" + account.hex()
        self._taken: dict[int, float] = {}
        """Nonces that are taken whatever the node says, and until when (trio's clock)."""

    async def used(self) -> int:
        """How many are in blocks."""
        return await self._rpc.number("eth_getTransactionCount", self._account, "latest")

    async def pending(self) -> int:
        """How many are in blocks or wait in the node, without a gap."""
        return await self._rpc.number("eth_getTransactionCount", self._account, "pending")

    async def next(self) -> int:
        """The nonce for a new transaction."""
        nonce = await self.pending()
        now = trio.current_time()
        self._taken = {taken: until for taken, until in self._taken.items() if until > now}
        while nonce in self._taken:
            nonce += 1
        return nonce

    def given(self, nonce: int) -> None:
        """A node has taken a transaction with it."""
        self._taken[nonce] = max(self._taken.get(nonce, 0.0), trio.current_time() + LATE)

    @contextmanager
    def waiting_for(self, nonce: int) -> Iterator[None]:
        """While somebody waits for its transaction, which looks after it, it is taken."""
        self._taken[nonce] = math.inf
        try:
            yield
        except BaseException:
            # Given up or cancelled: soon the node knows better than we whether it is on its way.
            self._taken[nonce] = trio.current_time() + LATE
            raise
        del self._taken[nonce]

    def on_its_way(self, nonce: int) -> bool:
        """Whether a transaction of ours with it was just sent, or is looked after."""
        return self._taken.get(nonce, 0.0) > trio.current_time()
