"""Nodes by function, and a chain with a transaction pool, for the client's tests: answered within the process."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from swarmp2p.control.rpc import NodeError
from swarmp2p.control.transaction import Transaction, decode
from swarmp2p.identity import keccak256

Answers = Callable[[str, dict[str, Any]], Any]

GWEI = 10**9


def node(answers: Answers) -> httpx.MockTransport:
    """A node that answers by function: a result, or an httpx error or NodeError to raise or report."""

    def handle(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.read())
        answer = answers(str(request.url.host), body)
        if isinstance(answer, httpx.HTTPError):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        if isinstance(answer, NodeError):
            error = {"code": answer.code, "message": answer.message}
            return httpx.Response(200, json={"jsonrpc": "2.0", "id": body["id"], "error": error})
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": body["id"], "result": answer})

    return httpx.MockTransport(handle)


@dataclass
class Pool:
    """A chain with one account and a pool, in geth's manner: dearer replacements win, gaps wait.

    Attributes:
        least_tip: what a transaction has to offer to get into a block, in wei.
        base_fee: 0: gas is free if the tip is too.
        mining: whether `mine` runs after each transaction.
        blocks: raw transactions by block.
    """

    least_tip: int = GWEI
    base_fee: int = GWEI
    mining: bool = True
    pool: dict[int, bytes] = field(default_factory=dict)
    blocks: list[list[bytes]] = field(default_factory=lambda: [[]])
    sent: list[bytes] = field(default_factory=list)

    @property
    def used(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def mined(self) -> list[Transaction]:
        return [decode(raw) for block in self.blocks for raw in block]

    def mine(self) -> None:
        """A block of all that may get in."""
        block: list[bytes] = []
        while (raw := self.pool.get(self.used + len(block))) and decode(raw).fees.tip >= self.least_tip:
            block.append(raw)
        self.pool = {nonce: raw for nonce, raw in self.pool.items() if nonce >= self.used + len(block)}
        if block:
            self.blocks.append(block)

    def reorganise(self) -> None:
        """Drop the last block; nobody has its transactions any more."""
        self.blocks.pop()

    def __call__(self, host: str, body: dict[str, Any]) -> Any:
        answer: Any = getattr(self, "_" + body["method"])(*body["params"])
        if self.mining:
            self.mine()
        return answer

    def _eth_chainId(self) -> str:  # noqa: N802
        return "0x1"

    def _eth_estimateGas(self, call: Any) -> str:  # noqa: N802
        return hex(21_000)

    def _eth_gasPrice(self) -> str:  # noqa: N802
        return hex(self.base_fee + self.least_tip)

    def _eth_maxPriorityFeePerGas(self) -> str:  # noqa: N802
        return hex(self.least_tip)

    def _eth_getBlockByNumber(self, which: str, whole: bool) -> Any:  # noqa: N802
        return {"number": hex(len(self.blocks) - 1), "baseFeePerGas": hex(self.base_fee)}

    def _eth_getTransactionCount(self, account: str, block: str) -> str:  # noqa: N802
        count = self.used
        while block == "pending" and count in self.pool:
            count += 1
        return hex(count)

    def _eth_getTransactionReceipt(self, hash_: str) -> Any:  # noqa: N802
        for number, block in enumerate(self.blocks):
            for raw in block:
                if "0x" + keccak256(raw).hex() == hash_:
                    return {
                        "transactionHash": hash_, "blockNumber": hex(number), "status": "0x1", "gasUsed": "0x5208",
                        "logs": [],
                    }  # fmt: skip
        return None

    def _eth_sendRawTransaction(self, text: str) -> Any:  # noqa: N802
        raw = bytes.fromhex(text[2:])
        self.sent.append(raw)
        transaction = decode(raw)
        if transaction.nonce < self.used:
            return NodeError("", -32000, "nonce too low", b"")
        known = self.pool.get(transaction.nonce)
        if known == raw:
            return NodeError("", -32000, "already known", b"")
        if known is not None and 10 * transaction.fees.tip < 11 * decode(known).fees.tip:
            return NodeError("", -32000, "replacement transaction underpriced", b"")
        self.pool[transaction.nonce] = raw
        return "0x" + keccak256(raw).hex()
