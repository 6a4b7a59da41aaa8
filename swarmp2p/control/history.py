"""The swarm's past from the chain: the contract's events, and the transactions that caused them."""

from collections.abc import Mapping, Sequence
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from swarmp2p.control.abi_codec import Artefact, artefact
from swarmp2p.control.events import read_logs
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.errors import WrongChain
from swarmp2p.core.history import Enrolled, FinalizeCall, Merged, Opened, Record, Sealed, SubmitCall, Updated
from swarmp2p.core.types import Address

_EVENTS = ("Enrolled", "Opened", "Updated", "Sealed", "Merged")
_CALLS = {"Updated": "submitUpdate", "Merged": "finalize"}
"""Events that are compared with their transaction."""


async def read_history(rpc: RpcClient, contract: Address, last_block: int) -> tuple[Record, ...]:
    """All records of a contract up to a chain block, in the chain's order.

    Raises:
        WrongChain: events or transactions that a swarm's contract would not have, or that the node has forgotten.
    """
    names = {artefact().events[name].topic: name for name in _EVENTS}
    logs = await read_logs(rpc, contract, sorted(names), 0, last_block)
    named = [(names[bytes.fromhex(log["topics"][0][2:])], log) for log in logs]
    hashes = list(dict.fromkeys(log["transactionHash"] for name, log in named if name in _CALLS))
    transactions = await _by_key(rpc, "eth_getTransactionByHash", [(hash_,) for hash_ in hashes])
    numbers = list(dict.fromkeys(log["blockNumber"] for name, log in named if name == "Merged"))
    blocks = await _by_key(rpc, "eth_getBlockByNumber", [(number, False) for number in numbers])
    return tuple(
        _record(name, log, contract, transactions.get(log["transactionHash"]), blocks.get(log["blockNumber"]))
        for name, log in named
    )


async def _by_key(rpc: RpcClient, method: str, params: Sequence[tuple[Any, ...]]) -> dict[Any, dict[str, Any]]:
    """Answers by the first parameter."""
    answers = await rpc.batch([(method, each) for each in params])
    for each, answer in zip(params, answers, strict=True):
        if answer is None:
            raise WrongChain(
                f"The node has forgotten {each[0]}, which belongs to the swarm's past.", "Ask a node that keeps it all."
            )
    return {each[0]: answer for each, answer in zip(params, answers, strict=True)}


def _record(
    name: str,
    log: Mapping[str, Any],
    contract: Address,
    transaction: Mapping[str, Any] | None,
    block: Mapping[str, Any] | None,
) -> Record:
    values = _arguments(artefact(), name, log)
    if name == "Enrolled":
        return Enrolled(_address(values["account"]), values["index"], values["maxWeight"], values["expires"])
    if name == "Opened":
        return Opened(values["round"], values["head"])
    if name == "Sealed":
        return Sealed(values["round"], values["inputs"], values["roster"], values["k"])
    assert transaction is not None
    call = _call(artefact(), _CALLS[name], transaction, contract)
    if name == "Updated":
        sent = None if call is None else SubmitCall(_address(transaction["from"]), *call[:3])
        account = _address(values["account"])
        return Updated(values["round"], account, values["index"], values["digest"], values["weight"], sent)
    assert block is not None
    return Merged(
        values["round"],
        values["merged"],
        values["included"],
        values["excluded"],
        values["parentRound"],
        int(log["blockNumber"], 16),
        int(block["timestamp"], 16),
        None if call is None else _finalize_call(*call),
    )


def _finalize_call(
    round_: int, excluded: int, merged: bytes, slices: Sequence[bytes], signatures: Sequence[tuple[int, bytes]]
) -> FinalizeCall:
    return FinalizeCall(round_, excluded, merged, tuple(slices), tuple(signatures))


def _arguments(compiled: Artefact, name: str, log: Mapping[str, Any]) -> dict[str, Any]:
    """An event's arguments by name."""
    inputs = compiled.events[name].inputs
    indexed = [entry for entry in inputs if entry["indexed"]]
    plain = [entry for entry in inputs if not entry["indexed"]]
    try:
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"][1:]]
        values = {e["name"]: decode([e["type"]], topic)[0] for e, topic in zip(indexed, topics, strict=True)}
        data = decode([entry["type"] for entry in plain], bytes.fromhex(log["data"][2:]))
    except (DecodingError, ValueError) as error:
        raise WrongChain(
            f"An event {name} at block {log['blockNumber']} is not a swarm's ({error}).",
            "Check the contract's address.",
        ) from None
    return values | {entry["name"]: value for entry, value in zip(plain, data, strict=True)}


def _call(compiled: Artefact, name: str, transaction: Mapping[str, Any], contract: Address) -> tuple[Any, ...] | None:
    """The arguments of a transaction to this contract; None if it is another call, or to another contract."""
    function = compiled.functions[name]
    data = bytes.fromhex(str(transaction.get("input") or transaction.get("data") or "0x")[2:])
    if transaction["to"] is None or _address(transaction["to"]) != contract or data[:4] != function.selector:
        return None
    try:
        return tuple(decode(function.inputs, data[4:]))
    except DecodingError:
        return None


def _address(text: str) -> Address:
    return bytes.fromhex(text[2:])
