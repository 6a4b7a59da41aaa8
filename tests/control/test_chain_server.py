"""The embedded chain over real sockets: what clients need, what garbage does, and what survives a kill."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from eth_account import Account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarmp2p.control.chain.endpoint import ChainEndpoint
from swarmp2p.control.chain.server import MAX_BODY, serve_chain
from swarmp2p.control.faucet import fund
from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import ConfigError, HomeLocked, PortInUse
from swarmp2p.identity import Key
from swarmp2p.testing.chain_checks import COUNTER, check_chain

CHAIN_ID = 31415


@asynccontextmanager
async def chain(folder: Path, **options: Any) -> AsyncIterator[ChainEndpoint]:
    async with trio.open_nursery() as nursery:

        async def serve(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            await serve_chain("127.0.0.1", 0, folder, task_status=task_status, **options)

        yield await nursery.start(serve)
        nursery.cancel_scope.cancel()


async def test_conforms(tmp_path: Path) -> None:
    async with chain(tmp_path) as endpoint:
        await check_chain(endpoint.url, endpoint.chain_id)


async def test_clock_follows_an_injected_wall_and_never_goes_back(tmp_path: Path) -> None:
    now = [1_800_000_000.5]
    async with chain(tmp_path, clock=lambda: now[0]) as endpoint, RpcClient([endpoint.url]) as rpc:

        async def stamp() -> int:
            await rpc.call("swarm_faucet", "0x" + Key.generate().address.hex())
            return int((await rpc.call("eth_getBlockByNumber", "latest", False))["timestamp"], 16)

        assert await stamp() == 1_800_000_000
        assert await stamp() == 1_800_000_000
        now[0] += 100
        assert await stamp() == 1_800_000_100
        now[0] -= 50
        assert await stamp() == 1_800_000_100


async def test_estimates_with_the_time_of_the_next_block(tmp_path: Path) -> None:
    # Runtime: return TIMESTAMP; eth_call sees the latest block's, "pending" the wall's.
    now = [1_800_000_000.0]
    async with chain(tmp_path, clock=lambda: now[0]) as endpoint, RpcClient([endpoint.url]) as rpc:
        key = Key.generate()
        await fund(rpc, key.address)
        now[0] += 10
        code = "0x6009600c60003960096000f3" + "4260005260206000f3"
        raw = Account.from_key(key.secret).sign_transaction(
            {"nonce": 0, "gas": 100_000, "gasPrice": 10**10, "value": 0, "data": code, "chainId": CHAIN_ID}
        )
        hash_ = await rpc.call("eth_sendRawTransaction", "0x" + bytes(raw.raw_transaction).hex())
        contract = (await rpc.call("eth_getTransactionReceipt", hash_))["contractAddress"]
        now[0] += 10
        assert int(await rpc.call("eth_call", {"to": contract}, "latest"), 16) == 1_800_000_010
        assert int(await rpc.call("eth_call", {"to": contract}, "pending"), 16) == 1_800_000_020


async def test_wait_for_block_wakes_all_who_wait(tmp_path: Path) -> None:
    async with chain(tmp_path) as endpoint, RpcClient([endpoint.url]) as rpc:
        seen: list[int] = []

        async def wait() -> None:
            seen.append(await rpc.wait_for_block(0, 20))

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(wait)
                await rpc.call("swarm_faucet", "0x" + "11" * 20)
        assert seen == [1, 1, 1]
        assert await rpc.wait_for_block(5, 0.05) == 1


async def test_restart_keeps_everything(tmp_path: Path) -> None:
    key = Key.generate()
    async with chain(tmp_path) as endpoint, RpcClient([endpoint.url]) as rpc:
        await fund(rpc, key.address)
        before = await rpc.call("eth_getBlockByNumber", "latest", True)
    async with chain(tmp_path) as endpoint, RpcClient([endpoint.url]) as rpc:
        assert await rpc.call("eth_getBlockByNumber", "latest", True) == before
        assert not await fund(rpc, key.address)
        hash_ = before["transactions"][0]["hash"]
        assert (await rpc.call("eth_getTransactionReceipt", hash_))["status"] == "0x1"


SERVER = """
import functools, sys, trio
from swarmp2p.control.chain.server import serve_chain
async def main():
    async with trio.open_nursery() as nursery:
        serve = functools.partial(serve_chain, port=0, folder=sys.argv[1])
        endpoint = await nursery.start(serve)
        print(endpoint.url, flush=True)
trio.run(main)
"""


def _start_process(folder: Path) -> tuple[subprocess.Popen[str], str]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http"), "the chain process did not start"
    return process, url


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


async def test_a_kill_in_full_flight_loses_no_acknowledged_block(tmp_path: Path) -> None:
    process, url = await trio.to_thread.run_sync(_start_process, tmp_path)
    account = Account.create()
    acknowledged: list[str] = []
    try:
        async with RpcClient([url]) as rpc:
            await fund(rpc, bytes.fromhex(account.address[2:]))

            async def send_many() -> None:
                for nonce in range(10_000):
                    raw = account.sign_transaction(
                        {
                            "nonce": nonce,
                            "gas": 100_000,
                            "gasPrice": 10**10,
                            "value": 0,
                            "data": COUNTER,
                            "chainId": CHAIN_ID,
                        }
                    ).raw_transaction
                    acknowledged.append(await rpc.call("eth_sendRawTransaction", "0x" + bytes(raw).hex()))
                    if len(acknowledged) == 25:
                        enough.set()

            enough = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_many)
                await enough.wait()
                process.send_signal(signal.SIGKILL)
                nursery.cancel_scope.cancel()
    finally:
        _end(process)
    process, url = await trio.to_thread.run_sync(_start_process, tmp_path)
    try:
        async with RpcClient([url]) as rpc:
            for hash_ in acknowledged:
                assert (await rpc.call("eth_getTransactionReceipt", hash_))["status"] == "0x1"
            nonce = int(await rpc.call("eth_getTransactionCount", account.address, "latest"), 16)
            assert nonce >= len(acknowledged)
            raw = account.sign_transaction(
                {"nonce": nonce, "gas": 100_000, "gasPrice": 10**10, "value": 0, "data": COUNTER, "chainId": CHAIN_ID}
            ).raw_transaction
            assert await rpc.call("eth_sendRawTransaction", "0x" + bytes(raw).hex())
    finally:
        _end(process)


async def test_refuses_a_second_process_another_id_and_a_taken_port(tmp_path: Path) -> None:
    async with chain(tmp_path / "a") as endpoint:
        with pytest.raises(HomeLocked, match="Another process"):
            await serve_chain(port=0, folder=tmp_path / "a")
        port = int(endpoint.url.rsplit(":", 1)[1])
        with pytest.raises(PortInUse, match=str(port)):
            await serve_chain(port=port, folder=tmp_path / "b")
    with pytest.raises(ConfigError, match="31415"):
        await serve_chain(port=0, folder=tmp_path / "a", chain_id=5)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "chain.sqlite").write_bytes(b"this is no database, but it is long enough to look like one" * 40)
    with pytest.raises(ConfigError, match="cannot be used"):
        await serve_chain(port=0, folder=tmp_path / "c")


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"[]," * 30_000, {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"host": "evil.example"}, 403),
        (b"{}", {"host": ""}, 403),
    ],
)
async def test_http_refusals(tmp_path: Path, content: bytes, headers: dict[str, str], status: int) -> None:
    async with chain(tmp_path) as endpoint, httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(
            endpoint.url, content=content, headers={"content-type": "application/json", **headers}
        )
        assert response.status_code == status
        assert (await client.get(endpoint.url)).status_code == 405
        answer = await client.post(endpoint.url, json={"jsonrpc": "2.0", "id": 7, "method": "eth_chainId"})
        assert answer.json() == {"jsonrpc": "2.0", "id": 7, "result": hex(CHAIN_ID)}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"content-length: {MAX_BODY + 1}", 413),
        ("content-length: x", 400),
        ("transfer-encoding: gzip", 501),
        ("x: " + "y" * 200_000, 431),
    ],
)
async def test_heads_that_are_refused_before_the_body(tmp_path: Path, head: str, status: int) -> None:
    async with chain(tmp_path) as endpoint:
        stream = await trio.open_tcp_stream("127.0.0.1", int(endpoint.url.rsplit(":", 1)[1]))
        async with stream:
            text = f"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{head}\r\n\r\n"
            await stream.send_all(text.encode())
            answer = await stream.receive_some(4096)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_nothing", [], -32601),
        ("eth_getBalance", [], -32602),
        ("eth_getBalance", ["0x12"], -32602),
        ("eth_getBalance", ["0x" + "zz" * 20], -32602),
        ("eth_call", [{"to": "0x12"}, "latest"], -32602),
        ("eth_call", [{}, "never"], -32602),
        ("eth_call", [[]], -32602),
        ("eth_getBlockByNumber", [3.5], -32602),
        ("eth_getLogs", [{"topics": 5}], -32602),
        ("eth_getLogs", ["x"], -32602),
        ("eth_getBalance", ["0x" + "11" * 20, "0xffff"], -32000),
        ("eth_sendRawTransaction", [7], -32602),
        ("swarm_waitForBlock", [0, 1e9], -32602),
        ("swarm_waitForBlock", [True, 1], -32602),
        ("swarm_faucet", [None], -32602),
    ],
)
async def test_bad_parameters_are_named(tmp_path: Path, method: str, params: list[Any], code: int) -> None:
    async with chain(tmp_path) as endpoint, RpcClient([endpoint.url]) as rpc:
        with pytest.raises(NodeError) as caught:
            await rpc.call(method, *params)
        assert caught.value.code == code


async def test_batches_and_notifications(tmp_path: Path) -> None:
    async with chain(tmp_path) as endpoint, httpx.AsyncClient(trust_env=False) as client:

        async def post(body: Any) -> httpx.Response:
            return await client.post(endpoint.url, json=body)

        ask = {"jsonrpc": "2.0", "method": "eth_chainId"}
        answers = (await post([{**ask, "id": 1}, ask, 5, {**ask, "id": "b"}])).json()
        assert [answer.get("id") for answer in answers] == [1, None, "b"]
        assert answers[1]["error"]["code"] == -32600
        assert (await post(ask)).status_code == 204
        assert (await post([])).json()["error"]["code"] == -32600
        assert (await post([{**ask, "id": 1}] * 101)).json()["error"]["code"] == -32600
        assert (await post({**ask, "id": {}})).json()["error"]["code"] == -32600


@given(
    st.one_of(st.binary(max_size=300), st.text(max_size=100).map(lambda text: b"POST / HTTP/1.1\r\n" + text.encode()))
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_garbage_on_the_socket_hurts_nobody(garbage: bytes) -> None:
    trio.run(_garbage, garbage)


async def _garbage(garbage: bytes) -> None:
    from swarmp2p.control.chain.server import _Server

    class Methods:
        async def answer(self, request: Any) -> Any:
            return {"jsonrpc": "2.0", "id": 1, "result": request}

    client, server_end = trio.testing.memory_stream_pair()
    server = _Server(Methods(), {"localhost"})  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, server_end)
        await client.send_all(garbage)
        await client.send_eof()
        with trio.fail_after(5):
            answer = b""
            while chunk := await client.receive_some(4096):
                answer += chunk
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert server._open == 0


async def test_a_call_is_run_once_between_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from swarmp2p.control.chain.evm import EmbeddedChain

    runs: list[object] = []
    original: Callable[..., bytes] = EmbeddedChain.call

    def counted(*args: Any, **options: Any) -> bytes:
        runs.append(args[1])
        return original(*args, **options)

    monkeypatch.setattr(EmbeddedChain, "call", counted)
    async with chain(tmp_path) as endpoint, RpcClient([endpoint.url]) as rpc:

        async def ask() -> Any:
            return await rpc.call("eth_call", {"to": "0x" + "00" * 19 + "04", "data": "0x1234"}, "latest")

        assert [await ask() for _ in range(5)] == ["0x1234"] * 5
        assert len(runs) == 1
        await rpc.call("swarm_faucet", "0x" + "11" * 20)
        await ask()
        assert len(runs) == 2
