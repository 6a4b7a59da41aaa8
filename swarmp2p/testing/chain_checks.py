"""What every chain has to do for a swarm: the same checks run on the embedded chain, on anvil and on your own node."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from eth_account import Account
from eth_utils.address import to_checksum_address

from swarmp2p.control.faucet import fund
from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import WrongChain
from swarmp2p.identity import Key, keccak256

TOPIC = 42

_RUNTIME = bytes.fromhex(
    "3615600f57366000600037366000fd"  # with calldata: revert with it
    "5b60005460010160005542600052602a60206000a1"  # else count, and log the time under topic 42
    "60005460005260206000f3"  # and return the count
)
COUNTER = bytes.fromhex(f"60{len(_RUNTIME):02x}600c60003960{len(_RUNTIME):02x}6000f3") + _RUNTIME
"""Creation code of a contract that counts its calls, logs the block's time, and reverts with its calldata if any."""

Sign = Callable[[int, bytes | None, bytes], str]


async def check_chain(
    url: str, chain_id: int, *, clock: Callable[[], float] = time.time, purse: Key | None = None
) -> None:
    """Check a running chain. Raises AssertionError at the first thing that is wrong.

    Args:
        url: its RPC endpoint.
        clock: Unix seconds, that the chain's blocks have to follow.
        purse: an account with money, where the chain has no faucet that `fund` knows.
    """
    key = Key.generate()
    async with RpcClient([url], chain_id=chain_id, poll_interval=0.02) as rpc:
        assert int(await rpc.call("net_version")) == chain_id
        assert await fund(rpc, key.address, purse)
        assert not await fund(rpc, key.address, purse), "a second time there is enough"
        sign = await _signer(rpc, key, chain_id)
        contract = await _check_deploy(rpc, sign)
        await _check_send(rpc, sign, contract, clock)
        await _check_reverts(rpc, sign, contract, key)
        await _check_refusals(rpc, sign, contract)
        await _check_reads(rpc, contract, key)
    await _check_wrong_chain(url, chain_id)


async def _signer(rpc: RpcClient, key: Key, chain_id: int) -> Sign:
    account = Account.from_key(key.secret)
    price = 2 * int(await rpc.call("eth_gasPrice"), 16)

    def sign(nonce: int, to: bytes | None, data: bytes) -> str:
        fields: dict[str, Any] = {
            "type": 2, "chainId": chain_id, "nonce": nonce, "gas": 300_000, "value": 0, "data": data,
            "maxFeePerGas": price, "maxPriorityFeePerGas": min(price, 10**9),
        }  # fmt: skip
        if to is not None:
            fields["to"] = to_checksum_address(to)
        return "0x" + bytes(account.sign_transaction(fields).raw_transaction).hex()

    return sign


async def _mined(rpc: RpcClient, raw: str) -> dict[str, Any]:
    hash_ = await rpc.call("eth_sendRawTransaction", raw)
    assert hash_ == "0x" + keccak256(bytes.fromhex(raw[2:])).hex()
    above = await rpc.block_number() - 1
    with trio.fail_after(30):
        while True:
            receipt: dict[str, Any] | None = await rpc.call("eth_getTransactionReceipt", hash_)
            if receipt is not None:
                return receipt
            above = await rpc.wait_for_block(above, 5)


async def _check_deploy(rpc: RpcClient, sign: Sign) -> bytes:
    receipt = await _mined(rpc, sign(0, None, COUNTER))
    assert receipt["status"] == "0x1"
    contract = bytes.fromhex(receipt["contractAddress"][2:])
    assert await rpc.call("eth_getCode", "0x" + contract.hex(), "latest") == "0x" + _RUNTIME.hex()
    return contract


async def _check_send(rpc: RpcClient, sign: Sign, contract: bytes, clock: Callable[[], float]) -> None:
    to = "0x" + contract.hex()
    before = await rpc.call("eth_call", {"to": to}, "latest")
    assert int(before, 16) == 1
    # Several at once: chain time must not run ahead of the wall, however fast blocks come.
    receipts = [await _mined(rpc, sign(nonce, contract, b"")) for nonce in range(1, 9)]
    assert all(receipt["status"] == "0x1" for receipt in receipts)
    assert int(await rpc.call("eth_call", {"to": to}, "latest"), 16) == 9, "calls see the latest block"
    (log,) = receipts[-1]["logs"]
    assert int(log["topics"][0], 16) == TOPIC
    seen = int(log["data"], 16)
    assert clock() - 3 <= seen <= clock() + 1, f"block time {seen} does not follow the wall clock {clock()}"
    block = await rpc.call("eth_getBlockByNumber", receipts[-1]["blockNumber"], False)
    assert int(block["timestamp"], 16) == seen
    logs = await rpc.call(
        "eth_getLogs", {"address": to, "fromBlock": "0x0", "toBlock": "latest", "topics": [f"0x{TOPIC:064x}"]}
    )
    assert [entry["transactionHash"] for entry in logs] == [receipt["transactionHash"] for receipt in receipts]


async def _refused(call: Callable[[], Awaitable[Any]]) -> NodeError:
    try:
        await call()
    except NodeError as error:
        return error
    raise AssertionError("the node took what it has to refuse")


async def _check_reverts(rpc: RpcClient, sign: Sign, contract: bytes, key: Key) -> None:
    call = {"from": "0x" + key.address.hex(), "to": "0x" + contract.hex(), "data": "0xdeadbeef01"}
    for method, params in (("eth_call", [call, "latest"]), ("eth_estimateGas", [call])):
        error = await _refused(lambda method=method, params=params: rpc.call(method, *params))  # type: ignore[misc]
        assert error.data == bytes.fromhex("deadbeef01"), f"{method} loses the revert data"
    receipt = await _mined(rpc, sign(9, contract, bytes.fromhex("deadbeef")))
    assert receipt["status"] == "0x0", "a transaction that reverts is in a block all the same"
    good = {"from": call["from"], "to": call["to"]}
    assert 26_000 < int(await rpc.call("eth_estimateGas", good), 16) < 100_000


async def _check_refusals(rpc: RpcClient, sign: Sign, contract: bytes) -> None:
    error = await _refused(lambda: rpc.call("eth_sendRawTransaction", sign(3, contract, b"")))
    assert "nonce" in error.message.lower() or "known" in error.message.lower()
    for raw in ("0x", "0x01", "0x02c0", "0x" + "ff" * 100, "0x" + "00" * 100):
        await _refused(lambda raw=raw: rpc.call("eth_sendRawTransaction", raw))  # type: ignore[misc]
    poor = await _signer(rpc, Key.generate(), rpc.chain_id or 0)
    error = await _refused(lambda: rpc.call("eth_sendRawTransaction", poor(0, contract, b"")))
    assert "funds" in error.message.lower()


async def _check_reads(rpc: RpcClient, contract: bytes, key: Key) -> None:
    account = "0x" + key.address.hex()
    number, nonce, code = await rpc.batch(
        [
            ("eth_blockNumber", []),
            ("eth_getTransactionCount", [account, "pending"]),
            ("eth_getCode", [account, "latest"]),
        ]
    )
    assert int(number, 16) >= 10
    assert int(nonce, 16) == 10
    assert code == "0x"
    assert await rpc.call("eth_getTransactionReceipt", "0x" + "11" * 32) is None
    assert await rpc.call("eth_getTransactionByHash", "0x" + "11" * 32) is None
    assert int(await rpc.call("eth_call", {"to": "0x" + contract.hex()}, "latest"), 16) == 9
    assert await rpc.wait_for_block(0, 5) >= 10
    error = await _refused(lambda: rpc.call("swarm_noSuchMethod"))
    assert error.code


async def _check_wrong_chain(url: str, chain_id: int) -> None:
    async with RpcClient([url], chain_id=chain_id + 1) as rpc:
        try:
            await rpc.block_number()
        except WrongChain as error:
            if str(chain_id) in str(error):
                return
        raise AssertionError("another chain's id is not noticed, or not said")
