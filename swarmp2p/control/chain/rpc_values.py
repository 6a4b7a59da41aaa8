"""JSON-RPC's hex forms, in and out: strict on what comes in, as geth writes on what goes out."""

from typing import Any, TypeAlias

from swarmp2p.control.chain.evm import Block, Call, Mined

Json: TypeAlias = Any

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
SERVER_ERROR = -32000
REVERTED = 3
"""geth's code for a call that ended in a revert; the data goes along."""

_LATEST = {"latest", "safe", "finalized"}


class RpcError(Exception):
    """A JSON-RPC error to answer with."""

    def __init__(self, code: int, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data

    def body(self) -> dict[str, Json]:
        """The error object."""
        body: dict[str, Json] = {"code": self.code, "message": str(self)}
        if self.data is not None:
            body["data"] = self.data
        return body


def _invalid(what: str, value: object) -> RpcError:
    return RpcError(INVALID_PARAMS, f"invalid {what}: {str(value)[:80]!r}")


def data_in(value: object, what: str = "hex data") -> bytes:
    """0x and an even number of digits."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise _invalid(what, value)
    try:
        # fromhex would take spaces.
        if not value[2:].isalnum() and value != "0x":
            raise ValueError
        return bytes.fromhex(value[2:])
    except ValueError:
        raise _invalid(what, value) from None


def fixed_in(value: object, length: int, what: str) -> bytes:
    """Exactly `length` bytes."""
    data = data_in(value, what)
    if len(data) != length:
        raise _invalid(what, value)
    return data


def address_in(value: object) -> bytes:
    """20 bytes."""
    return fixed_in(value, 20, "address")


def quantity_in(value: object, what: str = "quantity") -> int:
    """0x and at most 64 digits."""
    if not isinstance(value, str) or not value.startswith("0x") or not 3 <= len(value) <= 66 or not value.isalnum():
        raise _invalid(what, value)
    try:
        return int(value[2:], 16)
    except ValueError:
        raise _invalid(what, value) from None


def block_in(value: object) -> tuple[int | None, bool]:
    """A block tag or number: (number or None for the latest, whether the pending one is meant)."""
    if value is None or (isinstance(value, str) and value in _LATEST):
        return None, False
    if value == "pending":
        return None, True
    if value == "earliest":
        return 0, False
    if isinstance(value, dict) and "blockNumber" in value:
        value = value["blockNumber"]
    return quantity_in(value, "block number"), False


def call_in(value: object) -> Call:
    """The first parameter of eth_call and eth_estimateGas."""
    if not isinstance(value, dict):
        raise _invalid("call", value)
    if value.get("data") is not None and value.get("input") is not None and value["data"] != value["input"]:
        raise RpcError(INVALID_PARAMS, 'both "data" and "input" are set and not equal')
    data = value.get("input") if value.get("input") is not None else value.get("data")
    call = Call(
        sender=bytes(20) if value.get("from") is None else address_in(value["from"]),
        to=b"" if value.get("to") is None else address_in(value["to"]),
        data=b"" if data is None else data_in(data),
        value=0 if value.get("value") is None else quantity_in(value["value"]),
    )
    if value.get("gas") is None:
        return call
    return Call(call.sender, call.to, call.data, call.value, quantity_in(value["gas"], "gas"))


def data_out(value: bytes) -> str:
    """Bytes as 0x and digits."""
    return "0x" + bytes(value).hex()


def block_out(block: Block, *, full: bool) -> dict[str, Json]:
    """A block as eth_getBlockByNumber gives it."""
    header = block.header
    return {
        "number": hex(header.block_number),
        "hash": data_out(header.hash),
        "parentHash": data_out(header.parent_hash),
        "nonce": data_out(header.nonce),
        "mixHash": data_out(header.mix_hash),
        "sha3Uncles": data_out(header.uncles_hash),
        "logsBloom": data_out(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": data_out(header.transaction_root),
        "stateRoot": data_out(header.state_root),
        "receiptsRoot": data_out(header.receipt_root),
        "miner": data_out(header.coinbase),
        "difficulty": hex(header.difficulty),
        "totalDifficulty": hex(header.difficulty * (header.block_number + 1)),
        "extraData": data_out(header.extra_data),
        "size": hex(1024),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp),
        "baseFeePerGas": hex(header.base_fee_per_gas),
        "uncles": [],
        "transactions": [
            transaction_out(block, transaction, index) if full else data_out(transaction.hash)
            for index, transaction in enumerate(block.transactions)
        ],
    }


def _type_of(transaction: Any) -> int:
    return transaction.type_id or 0


def transaction_out(block: Block, transaction: Any, index: int) -> dict[str, Json]:
    """A transaction as eth_getTransactionByHash gives it."""
    kind = _type_of(transaction)
    base_fee = block.header.base_fee_per_gas
    out: dict[str, Json] = {
        "blockHash": data_out(block.header.hash),
        "blockNumber": hex(block.header.block_number),
        "transactionIndex": hex(index),
        "hash": data_out(transaction.hash),
        "type": hex(kind),
        "chainId": hex(transaction.chain_id),
        "nonce": hex(transaction.nonce),
        "from": data_out(transaction.sender),
        "to": data_out(transaction.to) if transaction.to else None,
        "value": hex(transaction.value),
        "gas": hex(transaction.gas),
        "gasPrice": hex(_price(transaction, base_fee)),
        "input": data_out(transaction.data),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
        "v": hex(transaction.y_parity if kind else transaction.v),
    }
    if kind == 2:
        out["maxFeePerGas"] = hex(transaction.max_fee_per_gas)
        out["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee_per_gas)
    if kind:
        out["yParity"] = out["v"]
        out["accessList"] = [
            {"address": data_out(address), "storageKeys": [data_out(key.to_bytes(32, "big")) for key in keys]}
            for address, keys in transaction.access_list
        ]
    return out


def _price(transaction: Any, base_fee: int) -> int:
    if _type_of(transaction) == 2:
        return int(min(transaction.max_fee_per_gas, base_fee + transaction.max_priority_fee_per_gas))
    return int(transaction.gas_price)


def logs_out(mined: Mined) -> list[dict[str, Json]]:
    """The logs of a transaction, numbered within their block."""
    header = mined.block.header
    return [
        {
            "address": data_out(log.address),
            "topics": [data_out(topic.to_bytes(32, "big")) for topic in log.topics],
            "data": data_out(log.data),
            "blockNumber": hex(header.block_number),
            "blockHash": data_out(header.hash),
            "blockTimestamp": hex(header.timestamp),
            "transactionHash": data_out(mined.transaction.hash),
            "transactionIndex": hex(mined.index),
            "logIndex": hex(mined.log_start + offset),
            "removed": False,
        }
        for offset, log in enumerate(mined.receipt.logs)
    ]


def receipt_out(mined: Mined) -> dict[str, Json]:
    """A receipt as eth_getTransactionReceipt gives it."""
    header, transaction, receipt = mined.block.header, mined.transaction, mined.receipt
    return {
        "transactionHash": data_out(transaction.hash),
        "transactionIndex": hex(mined.index),
        "blockHash": data_out(header.hash),
        "blockNumber": hex(header.block_number),
        "from": data_out(transaction.sender),
        "to": data_out(transaction.to) if transaction.to else None,
        "contractAddress": None if mined.contract is None else data_out(mined.contract),
        "cumulativeGasUsed": hex(receipt.gas_used),
        "gasUsed": hex(mined.gas_used),
        "effectiveGasPrice": hex(_price(transaction, header.base_fee_per_gas)),
        "logs": logs_out(mined),
        "logsBloom": data_out(receipt.bloom.to_bytes(256, "big")),
        "status": "0x1" if receipt.state_root == b"\x01" else "0x0",
        "type": hex(_type_of(transaction)),
    }
