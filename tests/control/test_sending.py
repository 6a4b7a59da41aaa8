"""Transactions that meet trouble on their way: lost answers, crashes, nonces taken by others, nodes that fail."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from eth_account import Account

from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.fees import MAX_FEE, FeeOracle, Fees
from swarmp2p.control.interface import Receipt
from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import ChainUnreachable, ConfigError, TransactionFailed, WrongChain
from swarmp2p.journal import Journal
from tests.control.fake_node import node
from tests.control.swarm_on_chain import Swarm, swarm


class Lossy(httpx.AsyncBaseTransport):
    """The real thing, but requests or answers of one method get lost until `heal`."""

    def __init__(self, method: str, *, deliver: bool) -> None:
        self._real = httpx.AsyncHTTPTransport()
        self._method: str | None = method
        self._deliver = deliver

    def heal(self) -> None:
        self._method = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(await request.aread())
        if body["method"] != self._method:
            return await self._real.handle_async_request(request)
        if self._deliver:
            response = await self._real.handle_async_request(request)
            await response.aread()
            await response.aclose()
        raise httpx.ReadError("the answer is lost")

    async def aclose(self) -> None:
        await self._real.aclose()


async def _count(s: Swarm, member: int) -> int:
    return int(await s.rpc.call("eth_getTransactionCount", "0x" + s.keys[member].address.hex(), "latest"), 16)


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_lost_send_is_resumed_and_has_one_effect(
    tmp_path: Path, delivered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    async with swarm(tmp_path / "chain") as s:
        before = await _count(s, 0)
        transport = Lossy("eth_sendRawTransaction", deliver=delivered)
        journal = Journal(tmp_path / "journal.sqlite")
        async with RpcClient(s.rpc.urls, chain_id=s.chain_id, transport=transport) as rpc:
            contract = SwarmContract(rpc, s.address, s.keys[0].secret, journal, clock=s.wall)
            enrol = contract.enrol

            async def noted(*arguments: Any) -> Receipt:
                asked.append(arguments)
                return await enrol(*arguments)

            monkeypatch.setattr(contract, "enrol", noted)
            with pytest.raises(ChainUnreachable):
                await s.enrol(0, contract)
            assert len(journal.pending()) == 1
            transport.heal()
            if delivered:
                # The contract would refuse to do it twice; the journal knows that it is done.
                await enrol(*asked[0])
            else:
                await s.enrol(0, contract)
        assert journal.pending() == []
        journal.close()
        assert await _count(s, 0) == before + 1
        assert len((await s.contract(1).state()).members) == 1


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_restarted_peer_sends_the_same_bytes_again(tmp_path: Path, delivered: bool) -> None:
    async with swarm(tmp_path / "chain") as s:
        before = await _count(s, 0)
        journal = Journal(tmp_path / "journal.sqlite")
        transport = Lossy("eth_sendRawTransaction", deliver=delivered)
        async with RpcClient(s.rpc.urls, transport=transport) as rpc:
            with pytest.raises(ChainUnreachable):
                await s.enrol(0, SwarmContract(rpc, s.address, s.keys[0].secret, journal, clock=s.wall))
        journal.close()
        journal = Journal(tmp_path / "journal.sqlite")
        contract = s.contract(0, journal)
        await contract.resend_pending()
        assert journal.pending() == []
        assert await _count(s, 0) == before + 1
        assert len((await contract.state()).members) == 1
        await contract.set_addresses(["/ip4/192.0.2.9/tcp/1"])
        journal.close()


async def test_a_journaled_transaction_whose_nonce_is_taken_is_dropped(tmp_path: Path) -> None:
    async with swarm(tmp_path / "chain") as s:
        journal = Journal(tmp_path / "journal.sqlite")
        account = Account.from_key(s.keys[0].secret)
        raw = account.sign_transaction(
            {"nonce": 0, "gas": 21_000, "gasPrice": 1, "value": 1, "to": account.address, "chainId": s.chain_id}
        ).raw_transaction
        journal.save("old", 0, bytes(raw))
        contract = s.contract(0, journal)
        await contract.resend_pending()
        assert journal.pending() == []
        await s.enrol(0, contract)
        journal.close()


async def test_a_nonce_used_elsewhere_is_asked_for_again(tmp_path: Path) -> None:
    async with swarm(tmp_path) as s:
        first, second = s.contract(0), s.contract(0)
        await s.enrol(0, first)
        await second.set_addresses(["/ip4/192.0.2.1/tcp/1"])
        await first.set_addresses(["/ip4/192.0.2.2/tcp/1"])
        await second.set_addresses(["/ip4/192.0.2.3/tcp/1"])
        assert await first.addresses() == {s.keys[0].address: ("/ip4/192.0.2.3/tcp/1",)}


async def test_cancelling_a_transaction_leaves_the_next_one_in_order(tmp_path: Path) -> None:
    async with swarm(tmp_path) as s:
        contract = s.contract(0)
        await s.enrol(0, contract)
        for patience in (0.0, 0.001, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03):
            with trio.move_on_after(patience):
                await contract.set_addresses([f"/ip4/192.0.2.1/tcp/{patience}"])
            await contract.set_addresses([f"/ip4/192.0.2.2/tcp/{patience}"])
        (known,) = (await contract.addresses()).values()
        assert known == ("/ip4/192.0.2.2/tcp/0.03",)


# ---- nodes


async def test_moves_to_the_node_that_answers_and_stays() -> None:
    asked: list[str] = []

    def answers(host: str, body: dict[str, Any]) -> Any:
        asked.append(host)
        return httpx.ConnectError("refused") if host == "a" else "0x7"

    async with RpcClient(["http://a", "http://b"], transport=node(answers)) as rpc:
        assert await rpc.block_number() == 7
        assert await rpc.block_number() == 7
    assert asked == ["a", "b", "b"]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="bad gateway"),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"neither": 1}),
        httpx.Response(429, json={"jsonrpc": "2.0", "id": 1, "result": "0x1"}),
        httpx.ReadTimeout("slow"),
    ],
)
async def test_unusable_answers_count_as_none(answer: Any, autojump_clock: trio.abc.Clock) -> None:
    async with RpcClient(["http://a"], transport=node(lambda host, body: answer)) as rpc:
        with pytest.raises(ChainUnreachable, match="http://a") as caught:
            await rpc.block_number()
        assert caught.value.mend


async def test_who_asks_is_told_by_the_url() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": 1, "result": "0x7"})

    for url in ("http://me%40here:p%3Aw@a:8545/key", "http://a:8545/key"):
        async with RpcClient([url], transport=httpx.MockTransport(answer)) as rpc:
            assert await rpc.block_number() == 7
    credentials = base64.b64encode(b"me@here:p:w").decode()
    assert [request.headers.get("authorization") for request in asked] == [f"Basic {credentials}", None]
    assert {(request.headers["host"], request.url.path) for request in asked} == {("a:8545", "/key")}


@pytest.mark.parametrize("url", ["http://[::1", "http://a:port", "http://"])
async def test_a_url_that_is_none_is_named(url: str, autojump_clock: trio.abc.Clock) -> None:
    async with RpcClient([url]) as rpc:
        with pytest.raises(ChainUnreachable, match=re.escape(url)):
            await rpc.block_number()


async def test_each_node_is_asked_for_its_chain() -> None:
    def answers(host: str, body: dict[str, Any]) -> Any:
        if host == "a":
            return httpx.ConnectError("refused")
        return "0x2" if body["method"] == "eth_chainId" else "0x7"

    async with RpcClient(["http://a", "http://b"], chain_id=1, transport=node(answers)) as rpc:
        with pytest.raises(ChainUnreachable, match="http://b: it serves the chain 2"):
            await rpc.block_number()
    async with RpcClient(["http://b"], chain_id=1, transport=node(answers)) as rpc:
        with pytest.raises(WrongChain, match="http://b"):
            await rpc.block_number()
    async with RpcClient(["http://b", "http://c"], chain_id=2, transport=node(answers)) as rpc:
        assert await rpc.block_number() == 7


async def test_polls_where_there_is_no_long_poll(autojump_clock: trio.abc.Clock) -> None:
    head = [5]
    asked: list[str] = []

    def answers(host: str, body: dict[str, Any]) -> Any:
        asked.append(body["method"])
        if body["method"] != "eth_blockNumber":
            return NodeError("x", -32601, "method not found", b"")
        head[0] += len(asked) > 4
        return hex(head[0])

    async with RpcClient(["http://a"], transport=node(answers)) as rpc:
        assert await rpc.wait_for_block(5, 10) == 6
        assert await rpc.wait_for_block(4, 10) > 5
        assert await rpc.wait_for_block(99, 0.05) < 99
    assert asked.count("swarm_waitForBlock") == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("0xdead", b"\xde\xad"),
        ({"data": "0xdead"}, b"\xde\xad"),
        ("Reverted 0xdead", b"\xde\xad"),
        ("0xzz", b""),
        (5, b""),
    ],
)
async def test_revert_data_in_the_forms_that_nodes_have(data: Any, expected: bytes) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "error": {"code": 3, "message": "execution reverted", "data": data}}
    async with RpcClient(["http://a"], transport=node(lambda host, _: httpx.Response(200, json=body))) as rpc:
        with pytest.raises(NodeError) as caught:
            await rpc.call("eth_call")
        assert caught.value.data == expected


def test_urls_are_checked() -> None:
    with pytest.raises(ConfigError, match="no RPC URL"):
        RpcClient([])
    with pytest.raises(ConfigError, match="ftp"):
        RpcClient(["ftp://a"])


# ---- fees


@pytest.mark.parametrize(
    ("base", "price", "tip", "balance", "expected"),
    [
        ("0x0", "0x0", "0x3b9aca00", "0x0", {"type": 2, "maxFeePerGas": 0, "maxPriorityFeePerGas": 0}),
        ("0x0", "0xa", "0xa", "0x0", {"type": 2, "maxFeePerGas": 0, "maxPriorityFeePerGas": 0}),  # anvil, without money
        ("0x0", "0xa", "0xa", "0x1", {"type": 2, "maxFeePerGas": 10, "maxPriorityFeePerGas": 10}),
        ("0x64", "0x6e", "0xa", "0x0", {"type": 2, "maxFeePerGas": 210, "maxPriorityFeePerGas": 10}),
        (None, "0x5", "0xa", "0x0", {"gasPrice": 5}),
        (None, "0x0", "0xa", "0x0", {"gasPrice": 0}),
    ],
)
async def test_fees_for_free_paid_and_legacy_chains(
    base: Any, price: str, tip: str, balance: str, expected: dict[str, int]
) -> None:
    def answers(host: str, body: dict[str, Any]) -> Any:
        block = {} if base is None else {"baseFeePerGas": base}
        known = {"eth_getBlockByNumber": block, "eth_gasPrice": price, "eth_maxPriorityFeePerGas": tip}
        return balance if body["method"] == "eth_getBalance" else known[body["method"]]

    async with RpcClient(["http://a"], transport=node(answers)) as rpc:
        assert (await FeeOracle(rpc, bytes(20)).fees()).fields() == expected


async def test_absurd_fees_are_refused() -> None:
    def answers(host: str, body: dict[str, Any]) -> Any:
        return {"baseFeePerGas": hex(MAX_FEE)} if body["method"] == "eth_getBlockByNumber" else "0x1"

    async with RpcClient(["http://a"], transport=node(answers)) as rpc:
        with pytest.raises(TransactionFailed, match="gwei"):
            await FeeOracle(rpc, bytes(20)).fees()
    raised = Fees(None, 100, 8).raised(Fees(None, 120, 20))
    assert (raised.cap, raised.tip) == (126, 20)
