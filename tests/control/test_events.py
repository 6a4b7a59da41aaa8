"""Logs by cursor, on a chain that a test reorganises at will."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmp2p.control.abi_codec import artefact
from swarmp2p.control.events import MARKS, Cursor, Log, Mark, News, read_new
from swarmp2p.core.errors import WrongChain
from swarmp2p.identity import keccak256
from tests.control.swarm_on_chain import swarm

CONTRACT = b"\x07" * 20
TOPIC = b"\x09" * 32


@dataclass
class Block:
    hash: bytes
    logs: int


@dataclass
class FakeChain:
    """A node of a chain with made-up blocks; `on_logs` runs before each answer to eth_getLogs."""

    blocks: list[Block] = field(default_factory=list)
    made: int = 0
    asked: list[str] = field(default_factory=list)
    on_logs: Any = None

    def __post_init__(self) -> None:
        self.mine(0)

    def mine(self, *logs: int) -> None:
        for count in logs:
            self.made += 1
            self.blocks.append(Block(keccak256(bytes([count]) + self.made.to_bytes(8, "big")), count))

    def reorganise(self, depth: int, *logs: int) -> None:
        del self.blocks[max(1, len(self.blocks) - depth) :]
        self.mine(*logs)

    def logs(self, first: int = 0, last: int | None = None) -> list[Log]:
        found = []
        for number in range(first, len(self.blocks) if last is None else last + 1):
            block = self.blocks[number]
            hash_ = block.hash
            found += [Log(number, hash_, i, keccak256(hash_ + bytes([i])), (TOPIC,), hash_) for i in range(block.logs)]
        return found

    async def call(self, method: str, *params: Any) -> Any:
        self.asked.append(method)
        if method == "eth_getBlockByNumber":
            number = len(self.blocks) - 1 if params[0] == "latest" else int(params[0], 16)
            if number >= len(self.blocks):
                return None
            return {"number": hex(number), "hash": "0x" + self.blocks[number].hash.hex()}
        if self.on_logs is not None:
            self.on_logs()
        (wanted,) = params
        assert wanted["topics"] == [["0x" + TOPIC.hex()]]
        last = min(int(wanted["toBlock"], 16), len(self.blocks) - 1)
        return [_written(log) for log in self.logs(int(wanted["fromBlock"], 16), last)]


def _written(log: Log) -> dict[str, Any]:
    return {
        "blockNumber": hex(log.block_number),
        "blockHash": "0x" + log.block_hash.hex(),
        "logIndex": hex(log.index),
        "transactionHash": "0x" + log.transaction.hex(),
        "topics": ["0x" + topic.hex() for topic in log.topics],
        "data": "0x" + log.data.hex(),
        "removed": False,
    }


class Reader:
    """What a user of the cursor does."""

    def __init__(self, chain: FakeChain) -> None:
        self.chain = chain
        self.cursor = Cursor()
        self.known: list[Log] = []

    async def read(self, **options: Any) -> News:
        news = await read_new(self.chain, CONTRACT, self.cursor, [TOPIC], **options)  # type: ignore[arg-type]
        self.cursor = Cursor.from_text(news.cursor.to_text())
        if news.rewound_to is not None:
            self.known = [log for log in self.known if log.block_number <= news.rewound_to]
        self.known += news.logs
        return news


async def test_only_what_is_new_is_told_and_nothing_costs_one_request() -> None:
    reader = Reader(FakeChain())
    reader.chain.mine(2, 0, 1)
    assert len((await reader.read()).logs) == 3
    reader.chain.asked.clear()
    assert await reader.read() == News(reader.cursor, [], None)
    assert reader.chain.asked == ["eth_getBlockByNumber"]
    reader.chain.mine(1)
    assert [log.block_number for log in (await reader.read()).logs] == [4]
    assert reader.known == reader.chain.logs()


async def test_a_reorganisation_says_from_where_on_all_is_told_again() -> None:
    reader = Reader(FakeChain())
    for _ in range(6):
        reader.chain.mine(1)
        await reader.read()
    reader.chain.reorganise(3, 0, 2, 1)
    news = await reader.read()
    assert news.rewound_to == 3
    assert reader.known == reader.chain.logs()
    # At the same height, and back to before the first block that was read.
    reader.chain.reorganise(99, *[1] * 6)
    assert (await reader.read()).rewound_to == -1
    assert reader.known == reader.chain.logs()


async def test_a_node_that_is_behind_tells_nothing() -> None:
    reader = Reader(FakeChain())
    reader.chain.mine(1, 1, 1)
    await reader.read()
    ahead = reader.chain.blocks.pop()
    assert await reader.read() == News(reader.cursor, [], None)
    reader.chain.blocks.append(ahead)
    reader.chain.mine(1)
    assert (await reader.read()).rewound_to is None
    assert reader.known == reader.chain.logs()


async def test_a_reorganisation_while_reading_is_noticed() -> None:
    reader = Reader(FakeChain())
    reader.chain.mine(1, 1)
    depths = [1, 2]

    def reorganise() -> None:
        if depths:
            reader.chain.reorganise(depths.pop(), 2, 2)

    reader.chain.on_logs = reorganise
    await reader.read()
    assert reader.known == reader.chain.logs()
    reader.chain.on_logs = lambda: reader.chain.reorganise(1, 3)
    reader.chain.mine(1)
    assert await reader.read() == News(reader.cursor, [], None), "a chain that never holds still is left for later"


async def test_unconfirmed_blocks_are_not_read() -> None:
    reader = Reader(FakeChain())
    reader.chain.mine(1, 1, 1, 1)
    await reader.read(confirmations=2)
    assert reader.known == reader.chain.logs(0, 2)
    assert (await reader.read(confirmations=9)).logs == []


async def test_rubbish_is_named() -> None:
    class Rubbish:
        async def call(self, method: str, *params: Any) -> Any:
            return {"number": "x"}

    with pytest.raises(WrongChain, match="for a block"):
        await read_new(Rubbish(), CONTRACT, Cursor(), [TOPIC])  # type: ignore[arg-type]
    for text in ("", "5", "[1]", '[[1, "zz"]]'):
        with pytest.raises(ValueError, match="no cursor"):
            Cursor.from_text(text)


STEPS = st.lists(
    st.one_of(
        st.lists(st.integers(0, 2), min_size=1, max_size=4),
        st.tuples(st.integers(1, 6), st.lists(st.integers(0, 2), max_size=8)),
        st.none(),
    ),
    max_size=30,
)


@given(STEPS)
@settings(deadline=None)
def test_whatever_happens_the_logs_told_are_those_of_the_chain(steps: list[Any]) -> None:
    async def run() -> None:
        reader = Reader(FakeChain())
        for step in steps:
            if step is None:
                await reader.read()
            elif isinstance(step, tuple):
                reader.chain.reorganise(step[0], *step[1])
            else:
                reader.chain.mine(*step)
        # Whatever was rolled back, the chain grows beyond what it was.
        reader.chain.mine(*[1] * (reader.chain.made + 1))
        await reader.read()
        assert reader.known == reader.chain.logs()

    trio.run(run)


async def test_a_cursor_stays_small() -> None:
    reader = Reader(FakeChain())
    for _ in range(MARKS + 9):
        reader.chain.mine(0)
        await reader.read()
    assert len(reader.cursor.marks) == MARKS
    assert reader.cursor.marks[-1] == Mark(MARKS + 9, reader.chain.blocks[-1].hash)


async def test_on_a_chain(tmp_path: Path) -> None:
    topics = [event.topic for event in artefact().events.values()]
    async with swarm(tmp_path) as s:
        first = await read_new(s.rpc, s.address, Cursor(), topics)
        await s.enrol(0, s.contract(0))
        second = await read_new(s.rpc, s.address, first.cursor, topics)
        assert artefact().events["Enrolled"].topic in {log.topics[0] for log in second.logs}
        assert not {log.block_hash for log in first.logs} & {log.block_hash for log in second.logs}
        assert (await read_new(s.rpc, s.address, second.cursor, topics)).logs == []
