"""The swarm's past from the chain: the contract's events, and the transactions that caused them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from swarmp2p.control.abi_codec import Artefact, artefact
from swarmp2p.control.events import read_logs
from swarmp2p.control.hexadecimal import from_hex
from swarmp2p.control.interface import RoundResult
from swarmp2p.control.rpc import RpcClient, call_each
from swarmp2p.core.errors import WrongChain
from swarmp2p.core.history import (
    Activated,
    Call,
    EnrolCall,
    Enrolled,
    ExecuteCall,
    Expelled,
    Extended,
    FinalizeCall,
    Idled,
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
from swarmp2p.core.messages import Invite, Vote
from swarmp2p.core.types import Address, ReportFlag, StopReason, VoteKind

_CALLS = {
    "Enrolled": "enrol",
    "Updated": "submitUpdate",
    "Merged": "finalize",
    "Expelled": "execute",
    "RolledBack": "execute",
    "Reopened": "execute",
    "Stopped": "execute",
}
"""Events that are compared with their transaction."""
RECORDS: dict[str, Callable[[dict[str, Any], int, int, Any], Record]] = {
    "Enrolled": lambda v, _, time, call: Enrolled(
        v["account"], v["index"], v["maxWeight"], v["expires"], v["term"], time, call
    ),
    "Activated": lambda v, *_: Activated(v["round"], v["account"]),
    "Idled": lambda v, _, time, __: Idled(v["round"], v["account"], time),
    "Opened": lambda v, _, time, __: Opened(v["round"], v["head"], v["waitFor"], v["threshold"], time),
    "Extended": lambda v, *_: Extended(v["round"], v["threshold"]),
    "Updated": lambda v, _, time, call: Updated(
        v["round"], v["account"], v["index"], v["digest"], v["weight"], call, ReportFlag(v["flags"]), time
    ),
    "Sealed": lambda v, *_: Sealed(v["round"], v["inputs"], v["roster"], v["k"]),
    "Merged": lambda v, *sent: Merged(v["round"], v["merged"], v["included"], v["excluded"], v["parentRound"], *sent),
    "Left": lambda v, *_: Left(v["round"], v["account"]),
    "Expelled": lambda v, _, *sent: Expelled(v["round"], v["account"], v["slash"], v["banned"], *sent),
    "RolledBack": lambda v, _, *sent: RolledBack(v["round"], v["toRound"], v["head"], *sent),
    "Reopened": lambda v, _, *sent: Reopened(v["round"], v["head"], v["maxRounds"], *sent),
    "Stopped": lambda v, _, *sent: Stopped(v["round"], StopReason(v["reason"]), v["head"], v["best"], *sent),
    "Reported": lambda v, *_: Reported(v["head"], v["account"], ReportFlag(v["flags"])),
}
"""Records by event of the swarm's contract: from its arguments by name (accounts as 20 bytes), the chain block's number and
time, and the words of the transaction that caused it (None: not known). ValueError: the contract gives no such value."""


async def read_history(rpc: RpcClient, contract: Address, last_block: int) -> tuple[Record, ...]:
    """All records of a contract up to a chain block, in the chain's order.

    Raises:
        WrongChain: events or transactions that a swarm's contract would not have, or that the node has forgotten.
    """
    names = {artefact().events[name].topic: name for name in RECORDS}
    logs = await read_logs(rpc, contract, sorted(names), 0, last_block)
    named = [(names[from_hex(log["topics"][0])], log) for log in logs]
    hashes = list(dict.fromkeys(log["transactionHash"] for name, log in named if name in _CALLS))
    transactions = await _by_key(rpc, "eth_getTransactionByHash", [(hash_,) for hash_ in hashes])
    numbers = list(dict.fromkeys(log["blockNumber"] for name, log in named))
    blocks = await _by_key(rpc, "eth_getBlockByNumber", [(number, False) for number in numbers])
    return tuple(
        _record(name, log, contract, transactions.get(log["transactionHash"]), blocks[log["blockNumber"]])
        for name, log in named
    )


async def read_results(rpc: RpcClient, contract: Address, rounds: Sequence[int]) -> dict[int, RoundResult]:
    """What the contract keeps of these rounds. (It changes nothing of a round that is over.)"""
    function = artefact().functions["result"]
    outputs = await call_each(rpc, contract, [function.encode(round_) for round_ in rounds])
    found = (function.decode(from_hex(output))[0] for output in outputs)
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
    block: Mapping[str, Any],
) -> Record:
    values, time = arguments(artefact(), name, log), int(block["timestamp"], 16)
    call = None if name not in _CALLS or transaction is None else _call(_CALLS[name], transaction, contract)
    try:
        return RECORDS[name](values, int(log["blockNumber"], 16), time, call)
    except ValueError as error:
        raise _not_ours(name, log, error) from None


def arguments(compiled: Artefact, name: str, log: Mapping[str, Any]) -> dict[str, Any]:
    """An event's arguments by name, addresses as 20 bytes. Raises WrongChain when the log is of another event."""
    inputs = compiled.events[name].inputs
    indexed = [entry for entry in inputs if entry["indexed"]]
    plain = [entry for entry in inputs if not entry["indexed"]]
    try:
        topics = [from_hex(topic) for topic in log["topics"][1:]]
        values = [decode([entry["type"]], topic)[0] for entry, topic in zip(indexed, topics, strict=True)]
        values += decode([entry["type"] for entry in plain], from_hex(log["data"]))
    except (DecodingError, ValueError) as error:
        raise _not_ours(name, log, error) from None
    named = zip((*indexed, *plain), values, strict=True)
    return {entry["name"]: from_hex(value) if entry["type"] == "address" else value for entry, value in named}


def _not_ours(name: str, log: Mapping[str, Any], error: Exception) -> WrongChain:
    return WrongChain(
        f"An event {name} at block {log['blockNumber']} is not a swarm's ({error}).", "Check the contract's address."
    )


def _call(name: str, transaction: Mapping[str, Any], contract: Address) -> Any:
    """The words of a transaction to this contract; None if it is another call, or to another contract."""
    function = artefact().functions[name]
    data = from_hex(str(transaction.get("input") or transaction.get("data") or "0x"))
    if transaction["to"] is None or from_hex(transaction["to"]) != contract or data[:4] != function.selector:
        return None
    try:
        return _WORDS[name](from_hex(transaction["from"]), *decode(function.inputs, data[4:]))
    except (DecodingError, ValueError):
        return None


_WORDS: dict[str, Callable[..., Call]] = {
    "enrol": lambda sender, invite, signatures, _: EnrolCall(
        sender, Invite(from_hex(invite[0]), *invite[1:]), tuple(signatures)
    ),
    "submitUpdate": lambda sender, round_, digest, weight, *_: SubmitCall(sender, round_, digest, weight),
    "finalize": lambda _, round_, excluded, merged, slices, signed: FinalizeCall(
        round_, excluded, merged, tuple(slices), tuple(signed)
    ),
    "execute": lambda _, vote, signatures: ExecuteCall(
        Vote(VoteKind(vote[0]), from_hex(vote[1]), *vote[2:]), tuple(signatures)
    ),
}
"""What is kept of a transaction's arguments, by the function that it calls."""
