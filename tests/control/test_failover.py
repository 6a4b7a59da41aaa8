"""Nodes that die, lag, answer rubbish or come back, seen from the client."""

from typing import Any

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.abc import Clock

from swarmp2p.control.abi_codec import artefact
from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.heights import PATIENCE, Heights
from swarmp2p.control.rpc import LOOK_BACK, NodeError, RpcClient
from swarmp2p.core.errors import ChainUnreachable, WrongChain
from tests.control.fake_node import node
from tests.control.test_contract import empty_state


class Nodes:
    """Nodes a, b, …: the number of each one's latest block, or an answer to everything, or None for a dead one."""

    def __init__(self, **latest: Any) -> None:
        self.latest = latest
        self.asked: list[str] = []

    def __call__(self, host: str, body: dict[str, Any]) -> Any:
        self.asked.append(host)
        latest = self.latest[host]
        if latest is None:
            return httpx.ConnectError("refused")
        if not isinstance(latest, int):
            return latest
        if body["method"] == "eth_call":
            return state_at(latest)
        return hex(latest) if body["method"] == "eth_blockNumber" else NodeError("", -32601, "no such method", b"")

    def client(self) -> RpcClient:
        return RpcClient([f"http://{host}" for host in self.latest], transport=node(self))


def state_at(number: int) -> str:
    """What state() gives at a block."""
    entry = next(entry for entry in artefact().entries if entry.get("name") == "state")
    at = 1 + [component["name"] for component in entry["outputs"][0]["components"]].index("blockNumber")
    output = bytearray(empty_state())
    output[32 * at : 32 * at + 32] = number.to_bytes(32, "big")
    return "0x" + output.hex()


def contract(rpc: RpcClient) -> SwarmContract:
    return SwarmContract(rpc, b"\x07" * 20, b"\x01" * 32)


@pytest.mark.parametrize(
    "rubbish",
    ["banana", "0x", "0x" + "1" * 65, None, {}, [], 7.5, NodeError("", -32000, "Too Many Requests", b"")],
    ids=repr,
)
async def test_rubbish_is_no_block_number(rubbish: Any, autojump_clock: Clock) -> None:
    nodes = Nodes(a=httpx.Response(200, json={"id": 1, "result": None}) if rubbish is None else rubbish, b=7)
    async with nodes.client() as rpc:
        assert await rpc.block_number() == 7
        nodes.latest["b"] = nodes.latest["a"]
        with pytest.raises(ChainUnreachable):
            await rpc.block_number()


async def test_a_node_without_the_latest_block_is_passed_over_but_an_old_one_may_be_missing() -> None:
    missing = NodeError("", -32000, "header not found", b"")
    nodes = Nodes(a=missing, b=7)
    async with nodes.client() as rpc:
        assert await rpc.call("eth_call", {}, "latest") == state_at(7)
        rpc.pass_over()
        with pytest.raises(NodeError, match="header not found"):
            await rpc.call("eth_call", {}, "0x5")


async def test_a_preferred_node_that_is_back_is_used_again_when_it_has_caught_up(autojump_clock: Clock) -> None:
    nodes = Nodes(a=None, b=9)
    async with nodes.client() as rpc:
        assert await rpc.block_number() == 9
        nodes.latest["a"] = 8
        await rpc.wait_for_block(9, 2 * LOOK_BACK)
        nodes.asked.clear()
        assert await rpc.block_number() == 9
        assert nodes.asked == ["b"]
        nodes.latest["a"] = 9
        await rpc.wait_for_block(9, 2 * LOOK_BACK)
        nodes.asked.clear()
        assert await rpc.block_number() == 9
        assert nodes.asked == ["a"]


async def test_waiting_ends_soon_when_the_block_is_below_what_was_seen(autojump_clock: Clock) -> None:
    nodes = Nodes(a=9)
    async with nodes.client() as rpc:
        begun = trio.current_time()
        nodes.latest["a"] = 7
        assert await rpc.wait_for_block(9, 60) == 7
        assert 0 < trio.current_time() - begun < 1


async def test_looks_become_rare_while_no_block_comes(autojump_clock: Clock) -> None:
    nodes = Nodes(a=9)
    async with nodes.client() as rpc:
        await rpc.wait_for_block(9, 60)
        assert 60 < len(nodes.asked) < 80


async def test_the_view_stays_when_the_node_in_use_dies_and_the_other_one_lags(autojump_clock: Clock) -> None:
    nodes = Nodes(a=9, b=7)
    async with nodes.client() as rpc:
        swarm = contract(rpc)
        seen = await swarm.state()
        assert seen.block_number == 9
        nodes.latest["a"] = None
        assert await swarm.state() is seen
        nodes.latest["b"] = 10
        assert (await swarm.state()).block_number == 10


async def test_the_highest_of_the_other_nodes_is_chosen(autojump_clock: Clock) -> None:
    nodes = Nodes(a=9, b=7, c=9)
    async with nodes.client() as rpc:
        swarm = contract(rpc)
        await swarm.state()
        nodes.latest["a"] = None
        assert (await swarm.state()).block_number == 9
        nodes.asked.clear()
        await rpc.block_number()
        assert nodes.asked == ["c"]


async def test_a_lower_block_is_believed_when_it_stays(autojump_clock: Clock) -> None:
    nodes = Nodes(a=9)
    async with nodes.client() as rpc:
        swarm = contract(rpc)
        seen = await swarm.state()
        nodes.latest["a"] = 7
        begun = trio.current_time()
        while await swarm.state() is seen:
            await rpc.wait_for_block(9, 5)
        assert (await swarm.state()).block_number == 7
        assert PATIENCE <= trio.current_time() - begun < PATIENCE + 1


async def test_a_node_from_before_the_contract_is_passed_over(autojump_clock: Clock) -> None:
    nodes = Nodes(a="0x", b=7)
    async with nodes.client() as rpc:
        swarm = contract(rpc)
        with pytest.raises(WrongChain):
            await swarm.state()
        assert (await swarm.state()).block_number == 7


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 2))))
def test_heights_go_down_only_after_a_while(steps: list[tuple[int, float]]) -> None:
    heights, now, last, lower_for = Heights(), 0.0, 0, 0.0
    for number, passed in steps:
        now += passed
        lower_for = lower_for + passed
        believed = heights.believes(number, now)
        assert believed or number < last
        if number >= last:
            assert believed
        elif believed:
            assert lower_for >= PATIENCE
        if believed:
            last, lower_for = number, 0.0
