"""A swarm's past as an embedded chain tells it."""

from pathlib import Path
from typing import Any

import pytest
import trio

from swarmp2p.control.history import read_history
from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import WrongChain
from swarmp2p.core.history import EnrolCall, Enrolled, FinalizeCall, Merged, Opened, Sealed, SubmitCall, Updated
from swarmp2p.core.types import ReportFlag
from swarmp2p.identity import keccak256
from tests.control.swarm_on_chain import FAR, NOW, Swarm, swarm

NO_REPORT = ReportFlag(0)
MERGED = b"\x07" * 32
SLICES = (b"\x08" * 32, b"\x09" * 32)


async def one_round(swarm: Swarm) -> int:
    """Enrol both members, merge a round; gives the latest block's number."""
    contracts = [swarm.contract(0), swarm.contract(1)]
    for member, contract in enumerate(contracts):
        await swarm.enrol(member, contract)
    for member, contract in enumerate(contracts):
        await contract.submit_update(1, bytes([member + 1]) * 32, member + 5, 0, ReportFlag(0))
    signed = swarm.attest(await contracts[0].state(), MERGED, SLICES, (0, 1))
    return (await contracts[0].finalize(1, 0, MERGED, SLICES, signed)).block_number


class Sparing:
    """A node that gives the logs of few blocks at a time, or has forgotten transactions."""

    def __init__(self, rpc: RpcClient, blocks: int, forgets: str = "") -> None:
        self._rpc, self._blocks, self._forgets = rpc, blocks, forgets
        self.asked = 0

    async def call(self, method: str, *params: Any) -> Any:
        self.asked += 1
        if int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) >= self._blocks:
            raise NodeError(method, -32005, "query exceeds max block range", b"")
        return await self._rpc.call(method, *params)

    async def batch(self, requests: Any) -> list[Any]:
        answers = await self._rpc.batch(requests)
        return [None if method == self._forgets else a for (method, _), a in zip(requests, answers, strict=True)]


async def test_the_records_of_a_round(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with swarm(tmp_path, k_max=2) as made:
            last = await one_round(made)
            records = await read_history(made.rpc, made.address, last)
            first, second = (key.address for key in made.keys)
            sealed = next(each for each in records if isinstance(each, Sealed))
            merged = next(each for each in records if isinstance(each, Merged))
            timed = [each for each in records if isinstance(each, Opened | Enrolled | Updated)]
            times = [each.block_timestamp for each in timed]
            invited = [each.call for each in timed if isinstance(each, Enrolled)]
            assert records == (
                Opened(1, made.config.genesis, 0, 2, times[0]),
                Enrolled(first, 0, 1000, FAR, 0, times[1], invited[0]),
                Enrolled(second, 1, 1000, FAR, 0, times[2], invited[1]),
                Updated(1, first, 0, b"\x01" * 32, 5, SubmitCall(first, 1, b"\x01" * 32, 5), NO_REPORT, times[3]),
                Updated(1, second, 1, b"\x02" * 32, 6, SubmitCall(second, 1, b"\x02" * 32, 6), NO_REPORT, times[4]),
                Sealed(1, sealed.inputs, 3, 2),
                Merged(1, MERGED, 3, 0, 0, last, merged.block_timestamp, merged.call),
                Opened(2, MERGED, 3, 2, merged.block_timestamp),
            )
            assert NOW <= times[0] <= times[1] <= times[4] <= merged.block_timestamp
            for key, call in zip(made.keys, invited, strict=True):
                assert isinstance(call, EnrolCall)
                assert (call.sender, call.invite.invitee, call.invite.max_weight) == (key.address, key.address, 1000)
            assert merged.block_timestamp >= NOW
            assert isinstance(merged.call, FinalizeCall)
            assert (merged.call.round, merged.call.merged, merged.call.slices) == (1, MERGED, SLICES)
            assert [mask for mask, _ in merged.call.signatures] == [3, 3]
            assert all(len(signature) == 65 for _, signature in merged.call.signatures)

            sparing = Sparing(made.rpc, 2)
            assert await read_history(sparing, made.address, last) == records  # type: ignore[arg-type]
            assert sparing.asked > last // 2
            with pytest.raises(NodeError):
                await read_history(Sparing(made.rpc, 0), made.address, last)  # type: ignore[arg-type]
            with pytest.raises(WrongChain, match="forgotten"):
                await read_history(Sparing(made.rpc, 99, "eth_getTransactionByHash"), made.address, last)  # type: ignore[arg-type]
            elsewhere = keccak256(b"another contract")[:20]
            assert await read_history(made.rpc, elsewhere, last) == ()
