"""The JSON-RPC methods of the embedded chain: what web3.py, ethers and this library's own client ask for."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import trio

from swarmp2p.control.chain import evm
from swarmp2p.control.chain.evm import Call, EmbeddedChain, RefusedError, RevertedError
from swarmp2p.control.chain.logs import find_logs
from swarmp2p.control.chain.rpc_values import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    REVERTED,
    SERVER_ERROR,
    Json,
    RpcError,
    address_in,
    block_in,
    block_out,
    call_in,
    data_in,
    data_out,
    fixed_in,
    quantity_in,
    receipt_out,
    transaction_out,
)

MAX_BATCH = 100
MAX_WAIT = 30.0
"""Seconds that swarm_waitForBlock waits at most."""
_CACHED_CALLS = 1_000
_MAX_FEE_HISTORY = 128

_log = logging.getLogger(__name__)
T = TypeVar("T")
Method = Callable[[list[Json]], Awaitable[Json]]


class ChainMethods:
    """Answers JSON-RPC requests. The EVM runs in one worker thread; what is known without it is answered at once."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self._chain = chain
        self._thread = trio.CapacityLimiter(1)
        self._head = int(chain.head.block_number)
        self._new_block = trio.Event()
        self._calls: dict[Call, bytes] = {}
        self._methods: dict[str, Method] = {
            "web3_clientVersion": self._client_version,
            "net_version": self._net_version,
            "net_listening": self._yes,
            "eth_chainId": self._chain_id,
            "eth_accounts": self._nothing,
            "eth_syncing": self._no,
            "eth_blockNumber": self._block_number,
            "eth_gasPrice": self._gas_price,
            "eth_maxPriorityFeePerGas": self._priority_fee,
            "eth_feeHistory": self._fee_history,
            "eth_getBalance": self._balance,
            "eth_getTransactionCount": self._transaction_count,
            "eth_getCode": self._code,
            "eth_getStorageAt": self._storage,
            "eth_call": self._call,
            "eth_estimateGas": self._estimate,
            "eth_sendRawTransaction": self._send,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getLogs": self._logs,
            "swarm_faucet": self._faucet,
            "swarm_waitForBlock": self._wait_for_block,
        }

    async def answer(self, request: Json) -> Json:
        """The response to a parsed body: a request or a batch. None when there is nothing to answer (notifications)."""
        if isinstance(request, list):
            if not 1 <= len(request) <= MAX_BATCH:
                return _failure(None, RpcError(INVALID_REQUEST, f"a batch has 1 to {MAX_BATCH} requests"))
            answers = [await self._one(entry) for entry in request]
            return [answer for answer in answers if answer is not None] or None
        return await self._one(request)

    async def _one(self, request: Json) -> Json:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _failure(None, RpcError(INVALID_REQUEST, "not a JSON-RPC request"))
        id_ = request.get("id")
        if id_ is not None and (isinstance(id_, bool) or not isinstance(id_, int | str | float)):
            return _failure(None, RpcError(INVALID_REQUEST, "the id is neither a number nor a string"))
        params = request.get("params", [])
        try:
            if not isinstance(params, list):
                raise RpcError(INVALID_PARAMS, "params is not a list")
            method = self._methods.get(request["method"])
            if method is None:
                name = request["method"][:80]
                raise RpcError(METHOD_NOT_FOUND, f"the method {name} does not exist/is not available")
            result = await method(params)
        except RpcError as error:
            return _failure(id_, error)
        except Exception:
            # One request must not end the chain for everybody. The bug is in the log.
            _log.exception("%s failed", request["method"][:80])
            return _failure(id_, RpcError(INTERNAL_ERROR, "internal error; see the chain's log"))
        return None if "id" not in request else {"jsonrpc": "2.0", "id": id_, "result": result}

    async def _in_thread(self, function: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(function, limiter=self._thread)
        except RevertedError as error:
            raise RpcError(REVERTED, str(error), data_out(error.data)) from None
        except RefusedError as error:
            raise RpcError(SERVER_ERROR, str(error)) from None

    # ---- what is known without the EVM

    async def _client_version(self, params: list[Json]) -> Json:
        try:
            ours = version("swarmp2p")
        except PackageNotFoundError:
            ours = "source"
        return f"swarmp2p/{ours}/embedded"

    async def _net_version(self, params: list[Json]) -> Json:
        return str(self._chain.chain_id)

    async def _chain_id(self, params: list[Json]) -> Json:
        return hex(self._chain.chain_id)

    async def _nothing(self, params: list[Json]) -> Json:
        return []

    async def _yes(self, params: list[Json]) -> Json:
        return True

    async def _no(self, params: list[Json]) -> Json:
        return False

    async def _block_number(self, params: list[Json]) -> Json:
        return hex(self._head)

    async def _priority_fee(self, params: list[Json]) -> Json:
        return hex(evm.TIP)

    async def _wait_for_block(self, params: list[Json]) -> Json:
        """[number, seconds]: the number of the latest block, as soon as it is above `number` or the time is over."""
        seen = quantity_in(_at(params, 0)) if isinstance(_at(params, 0), str) else _at(params, 0)
        seconds = _at(params, 1)
        if isinstance(seen, bool) or not isinstance(seen, int):
            raise RpcError(INVALID_PARAMS, "the first parameter is a block number")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_WAIT:
            raise RpcError(INVALID_PARAMS, f"the second parameter is a time of 0 to {MAX_WAIT:.0f} seconds")
        with trio.move_on_after(seconds):
            while self._head <= seen:
                await self._new_block.wait()
        return hex(self._head)

    # ---- fees and accounts

    async def _gas_price(self, params: list[Json]) -> Json:
        head = await self._in_thread(lambda: self._chain.head)
        return hex(head.base_fee_per_gas + evm.TIP)

    async def _fee_history(self, params: list[Json]) -> Json:
        count_in = _at(params, 0)
        count = count_in if isinstance(count_in, int) and not isinstance(count_in, bool) else quantity_in(count_in)
        count = max(1, min(count, _MAX_FEE_HISTORY))
        newest, _ = block_in(_at(params, 1))
        percentiles = _at(params, 2) or []

        def read() -> Json:
            last = self._chain.header(newest).block_number
            first = max(0, last - count + 1)
            headers = [self._chain.header(number) for number in range(first, last + 1)]
            history: dict[str, Json] = {
                "oldestBlock": hex(first),
                "baseFeePerGas": [hex(h.base_fee_per_gas) for h in headers] + [hex(headers[-1].base_fee_per_gas)],
                "gasUsedRatio": [h.gas_used / h.gas_limit for h in headers],
            }
            if percentiles:
                history["reward"] = [[hex(evm.TIP)] * len(percentiles) for _ in headers]
            return history

        return await self._in_thread(read)

    async def _balance(self, params: list[Json]) -> Json:
        address, (number, _) = address_in(_at(params, 0)), block_in(_at(params, 1))
        return hex(await self._in_thread(lambda: self._chain.balance(address, number)))

    async def _transaction_count(self, params: list[Json]) -> Json:
        address, (number, _) = address_in(_at(params, 0)), block_in(_at(params, 1))
        return hex(await self._in_thread(lambda: self._chain.nonce(address, number)))

    async def _code(self, params: list[Json]) -> Json:
        address, (number, _) = address_in(_at(params, 0)), block_in(_at(params, 1))
        return data_out(await self._in_thread(lambda: self._chain.code(address, number)))

    async def _storage(self, params: list[Json]) -> Json:
        address, slot, (number, _) = address_in(_at(params, 0)), quantity_in(_at(params, 1)), block_in(_at(params, 2))
        return data_out((await self._in_thread(lambda: self._chain.storage(address, slot, number))).to_bytes(32, "big"))

    # ---- running

    async def _call(self, params: list[Json]) -> Json:
        call, (number, pending) = call_in(_at(params, 0)), block_in(_at(params, 1))
        if number is not None or pending:
            return data_out(await self._in_thread(lambda: self._chain.call(call, number, pending=pending)))
        # All peers ask for the same state after each block: run it once.
        known = self._calls.get(call)
        if known is None:

            def run() -> tuple[bytes, int]:
                return self._chain.call(call), int(self._chain.head.block_number)

            output, at = await self._in_thread(run)
            if at == self._head and len(self._calls) < _CACHED_CALLS:
                self._calls[call] = output
            return data_out(output)
        return data_out(known)

    async def _estimate(self, params: list[Json]) -> Json:
        call = call_in(_at(params, 0))
        return hex(await self._in_thread(lambda: self._chain.estimate(call)))

    async def _send(self, params: list[Json]) -> Json:
        raw = data_in(_at(params, 0), "transaction")
        return data_out(await self._mining(partial(self._chain.send, raw)))

    async def _faucet(self, params: list[Json]) -> Json:
        """[address]: fill the account up with play money; the hash of the transaction, or null if it has enough."""
        address = address_in(_at(params, 0))
        hash_ = await self._mining(partial(self._chain.fund, address))
        return None if hash_ is None else data_out(hash_)

    async def _mining(self, function: Callable[[], T]) -> T:
        def run() -> tuple[T, int]:
            return function(), int(self._chain.head.block_number)

        # A request that is given up must not hide a block from the others: the thread is always waited for.
        with trio.CancelScope(shield=True):
            result, head = await self._in_thread(run)
        if head > self._head:
            self._head = head
            self._calls.clear()
            self._new_block.set()
            self._new_block = trio.Event()
        return result

    # ---- looking back

    async def _receipt(self, params: list[Json]) -> Json:
        hash_ = fixed_in(_at(params, 0), 32, "hash")

        def read() -> Json:
            mined = self._chain.mined(hash_)
            return None if mined is None else receipt_out(mined)

        return await self._in_thread(read)

    async def _transaction(self, params: list[Json]) -> Json:
        hash_ = fixed_in(_at(params, 0), 32, "hash")

        def read() -> Json:
            mined = self._chain.mined(hash_)
            return None if mined is None else transaction_out(mined.block, mined.transaction, mined.index)

        return await self._in_thread(read)

    async def _block_by_number(self, params: list[Json]) -> Json:
        number, _ = block_in(_at(params, 0))
        full = _at(params, 1) is True
        if number is not None and number > self._head:
            return None
        return await self._in_thread(lambda: block_out(self._chain.block(number), full=full))

    async def _block_by_hash(self, params: list[Json]) -> Json:
        hash_, full = fixed_in(_at(params, 0), 32, "hash"), _at(params, 1) is True

        def read() -> Json:
            try:
                return block_out(self._chain.block_by_hash(hash_), full=full)
            except RefusedError:
                return None

        return await self._in_thread(read)

    async def _logs(self, params: list[Json]) -> Json:
        return await self._in_thread(partial(find_logs, self._chain, _at(params, 0)))


def _at(params: list[Json], index: int) -> Json:
    return params[index] if index < len(params) else None


def _failure(id_: Json, error: RpcError) -> Json:
    return {"jsonrpc": "2.0", "id": id_, "error": error.body()}
