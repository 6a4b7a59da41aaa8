"""The swarm's past from the chain: the contract's events, and the transactions that caused them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from swarmp2p.control.abi_codec import Artefact, artefact
from swarmp2p.control.events import read_logs
from swarmp2p.control.interface import RoundResult
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.errors import WrongChain
from swarmp2p.core.history import (
    Enrolled,
    Expelled,
    FinalizeCall,
    Left,
    Merged,
    Opened,
    Record,
    Reopened,
    Reported,
    RolledBack,
    Sealed,
    Stopped,
    SubmitCall,
    Updated,
)
from swarmp2p.core.types import Address, ReportFlag, StopReason

_CALLS = {"Updated": "submitUpdate", "Merged": "finalize"}
"""Events that are compared with their transaction."""
_PLAIN: dict[str, Callable[[dict[str, Any]], Record]] = {
    "Enrolled": lambda v: Enrolled(_address(v["account"]), v["index"], v["maxWeight"], v["expires"]),
    "Opened": lambda v: Opened(v["round"], v["head"]),
    "Sealed": lambda v: Sealed(v["round"], v["inputs"], v["roster"], v["k"]),
    "Left": lambda v: Left(v["round"], _address(v["account"])),
    "Expelled": lambda v: Expelled(v["round"], _address(v["account"]), v["slash"], v["banned"]),
    "RolledBack": lambda v: RolledBack(v["round"], v["toRound"], v["head"]),
    "Reopened": lambda v: Reopened(v["round"], v["head"], v["maxRounds"]),
    "Stopped": lambda v: Stopped(v["round"], StopReason(v["reason"]), v["head"], v["best"]),
    "Reported": lambda v: Reported(v["head"], _address(v["account"]), ReportFlag(v["flags"])),
}
"""Events that are records as they are."""


async def read_history(rpc: RpcClient, contract: Address, last_block: int) -> tuple[Record, ...]:
    """All records of a contract up to a chain block, in the chain's order.

    Raises:
        WrongChain: events or transactions that a swarm's contract would not have, or that the node has forgotten.
    """
    names = {artefact().events[name].topic: name for name in (*_PLAIN, *_CALLS)}
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


async def read_results(rpc: RpcClient, contract: Address, rounds: Sequence[int]) -> dict[int, RoundResult]:
    """What the contract keeps of these rounds. (It changes nothing of a round that is over.)"""
    function = artefact().functions["result"]
    calls = [{"to": "0x" + contract.hex(), "data": "0x" + function.encode(round_).hex()} for round_ in rounds]
    outputs = await rpc.batch([("eth_call", [call, "latest"]) for call in calls])
    found = (function.decode(bytes.fromhex(output[2:]))[0] for output in outputs)
    return {round_: RoundResult(*values) for round_, values in zip(rounds, found, strict=True)}


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
    values = arguments(artefact(), name, log)
    if name in _PLAIN:
        try:
            return _PLAIN[name](values)
        except ValueError as error:
            raise _not_ours(name, log, error) from None
    assert transaction is not None
    call = _call(artefact(), _CALLS[name], transaction, contract)
    if name == "Updated":
        sent = None if call is None else SubmitCall(_address(transaction["from"]), *call[:3])
        account = _address(values["account"])
        flags = ReportFlag(values["flags"])
        return Updated(values["round"], account, values["index"], values["digest"], values["weight"], sent, flags)
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


def arguments(compiled: Artefact, name: str, log: Mapping[str, Any]) -> dict[str, Any]:
    """An event's arguments by name. Raises WrongChain when the log is of another event."""
    inputs = compiled.events[name].inputs
    indexed = [entry for entry in inputs if entry["indexed"]]
    plain = [entry for entry in inputs if not entry["indexed"]]
    try:
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"][1:]]
        values = {e["name"]: decode([e["type"]], topic)[0] for e, topic in zip(indexed, topics, strict=True)}
        data = decode([entry["type"] for entry in plain], bytes.fromhex(log["data"][2:]))
    except (DecodingError, ValueError) as error:
        raise _not_ours(name, log, error) from None
    return values | {entry["name"]: value for entry, value in zip(plain, data, strict=True)}


def _not_ours(name: str, log: Mapping[str, Any], error: Exception) -> WrongChain:
    return WrongChain(
        f"An event {name} at block {log['blockNumber']} is not a swarm's ({error}).", "Check the contract's address."
    )


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
