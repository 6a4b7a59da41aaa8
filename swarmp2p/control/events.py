"""A contract's logs by cursor: what is new since the last time, on chains that may be reorganised.

Logs read so are the truth; subscriptions get lost with a connection, and do not exist on every node.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import WrongChain
from swarmp2p.core.types import Address

MARKS = 64
"""Blocks that a cursor remembers. A reorganisation beyond them costs reading everything again."""
_ATTEMPTS = 3


class Mark(NamedTuple):
    """A chain block."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far logs were read.

    Attributes:
        marks: the last blocks up to which was read, ascending; none: nothing was read.
    """

    marks: tuple[Mark, ...] = ()

    def to_text(self) -> str:
        """To be kept with what was made of the logs."""
        return json.dumps([[mark.number, mark.hash.hex()] for mark in self.marks])

    @classmethod
    def from_text(cls, text: str) -> "Cursor":
        """Raises ValueError if the text is not a cursor's."""
        try:
            return cls(tuple(Mark(int(number), bytes.fromhex(hash_)) for number, hash_ in json.loads(text)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"no cursor: {error}") from None


@dataclass(frozen=True, slots=True)
class Log:
    """One event as a node tells it. `topics` and `data` are not decoded; `block_hash` and `index` name it."""

    block_number: int
    block_hash: bytes
    index: int
    transaction: bytes
    topics: tuple[bytes, ...]
    data: bytes


class News(NamedTuple):
    """What a reading gave.

    Attributes:
        cursor: for the next time.
        logs: new ones, in the chain's order.
        rewound_to: if not None, the chain was reorganised: logs of blocks above this one that were told before are void.
            Those that still hold are among `logs` again.
    """

    cursor: Cursor
    logs: list[Log]
    rewound_to: int | None


async def read_new(
    rpc: RpcClient,
    contract: Address,
    cursor: Cursor,
    topics: Sequence[bytes],
    *,
    start: int = 0,
    confirmations: int = 0,
) -> News:
    """The logs since the cursor. One request if there is no new block, else four or more.

    Args:
        topics: first topics of the events that are wanted.
        start: block from which on to read when nothing was read yet: that of the contract's deployment.
        confirmations: so many of the latest blocks are not read yet.

    Raises:
        ChainUnreachable; WrongChain: the answers make no sense; NodeError: the node refuses logs even block by block.
    """
    for _ in range(_ATTEMPTS):
        end = await _block(rpc, "latest")
        if end is not None and confirmations:
            end = await _block(rpc, hex(max(0, end.number - confirmations)))
        # A node that is behind tells nothing; a branch that is shorter is noticed when it has grown.
        if end is None or end.number < max(start, _last(cursor.marks, start - 1)) or end in cursor.marks[-1:]:
            break
        kept = await _canonical(rpc, cursor.marks)
        first = _last(kept, start - 1) + 1
        raw = await read_logs(rpc, contract, topics, first, end.number) if first <= end.number else []
        # Blocks, marks and logs came one after the other, and from several nodes perhaps: they count only together.
        if await _block(rpc, hex(end.number)) == end:
            logs = {(log.block_hash, log.index): log for log in map(_log, raw) if log is not None}
            rewound = None if kept == cursor.marks else first - 1
            return News(Cursor((*kept, end)[-MARKS:]), list(logs.values()), rewound)
    return News(cursor, [], None)


async def read_logs(
    rpc: RpcClient, contract: Address, topics: Sequence[bytes], first: int, last: int
) -> list[dict[str, Any]]:
    """Logs of the blocks from `first` to `last`, as the node writes them, in the chain's order. Nodes differ in how many
    blocks or logs they give at once: the span is halved until they do."""
    found: list[dict[str, Any]] = []
    span = last + 1 - first
    while first <= last:
        end = min(last, first + span - 1)
        wanted = {
            "address": "0x" + contract.hex(),
            "fromBlock": hex(first),
            "toBlock": hex(end),
            "topics": [["0x" + topic.hex() for topic in topics]],
        }
        try:
            found += await rpc.call("eth_getLogs", wanted)
        except NodeError:
            if span == 1:
                raise
            span = (span + 1) // 2
            continue
        first = end + 1
    return sorted(found, key=lambda log: (int(log["blockNumber"], 16), int(log["logIndex"], 16)))


def _last(marks: Sequence[Mark], otherwise: int) -> int:
    return marks[-1].number if marks else otherwise


async def _canonical(rpc: RpcClient, marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
    """Those that are in the chain still."""
    for count in range(len(marks), 0, -1):
        if await _block(rpc, hex(marks[count - 1].number)) == marks[count - 1]:
            return marks[:count]
    return ()


async def _block(rpc: RpcClient, which: str) -> Mark | None:
    block = await rpc.call("eth_getBlockByNumber", which, False)
    try:
        return None if block is None else Mark(int(block["number"], 16), bytes.fromhex(block["hash"][2:]))
    except (KeyError, TypeError, ValueError):
        raise _nonsense("block", block) from None


def _log(entry: Mapping[str, Any]) -> Log | None:
    """None for one that the node itself calls removed."""
    if entry.get("removed"):
        return None
    try:
        return Log(
            block_number=int(entry["blockNumber"], 16),
            block_hash=bytes.fromhex(entry["blockHash"][2:]),
            index=int(entry["logIndex"], 16),
            transaction=bytes.fromhex(entry["transactionHash"][2:]),
            topics=tuple(bytes.fromhex(topic[2:]) for topic in entry["topics"]),
            data=bytes.fromhex(entry["data"][2:]),
        )
    except (KeyError, TypeError, ValueError):
        raise _nonsense("log", entry) from None


def _nonsense(what: str, value: Any) -> WrongChain:
    return WrongChain(f"A node gives {str(value)[:100]!r} for a {what}.", "Check the RPC URL.")
