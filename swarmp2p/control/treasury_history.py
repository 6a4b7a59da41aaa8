"""A treasury's past from the chain: what came in, was earned, and went out."""

from collections.abc import Callable
from typing import Any

from swarmp2p.control.abi_codec import artefact
from swarmp2p.control.events import read_logs
from swarmp2p.control.hexadecimal import from_hex
from swarmp2p.control.history import arguments
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.money import (
    Claimed,
    Earned,
    Funded,
    MoneyRecord,
    Refunded,
    Settled,
    Slashed,
    Staked,
    Unstaked,
    UnstakeRequested,
)
from swarmp2p.core.types import Address

_RECORDS: dict[str, Callable[[dict[str, Any]], MoneyRecord]] = {
    "Funded": lambda v: Funded(v["from"], v["amount"]),
    "Staked": lambda v: Staked(v["account"], v["amount"]),
    "UnstakeRequested": lambda v: UnstakeRequested(v["account"], v["unstakeAt"]),
    "Unstaked": lambda v: Unstaked(v["account"], v["amount"]),
    "Slashed": lambda v: Slashed(v["account"], v["amount"], v["proven"]),
    "Earned": lambda v: Earned(v["round"], v["account"], v["share"], v["bonus"]),
    "Settled": lambda v: Settled(v["round"], v["pot"], v["paid"]),
    "Claimed": lambda v: Claimed(v["account"], v["amount"]),
    "Refunded": lambda v: Refunded(v["account"], v["amount"]),
}


async def read_treasury_history(rpc: RpcClient, treasury: Address, last_block: int) -> tuple[MoneyRecord, ...]:
    """All records of a treasury up to a chain block, in the chain's order.

    Raises:
        WrongChain: events that a treasury would not have.
    """
    compiled = artefact("SwarmTreasury")
    names = {compiled.events[name].topic: name for name in _RECORDS}
    logs = await read_logs(rpc, treasury, sorted(names), 0, last_block)
    named = [(names[from_hex(log["topics"][0])], log) for log in logs]
    return tuple(_RECORDS[name](arguments(compiled, name, log)) for name, log in named)
