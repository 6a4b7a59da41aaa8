"""Chains that forget, fall silent or say odd things: the peers wait, and go on by themselves."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from swarmp2p import NotAMember
from swarmp2p.control.chain.server import serve_chain
from swarmp2p.control.interface import Receipt
from swarmp2p.core.errors import ChainUnreachable, SwarmError, TransactionFailed, WrongChain
from swarmp2p.core.view import View
from swarmp2p.peer import context, driver
from swarmp2p.testing.chain_swarm import NAMES, check_ended, open_chain_swarm
from swarmp2p.testing.memory_control import MemoryControl
from swarmp2p.testing.memory_swarm import MemorySwarm, open_memory_swarm, run_all
from tests.peer.test_swarm import Average

START: dict[str, Any] = {"mean": np.zeros(3, np.float32)}
TWO = ("alice", "bob")
ROUNDS = 4


async def run(swarm: MemorySwarm) -> set[str]:
    with trio.fail_after(60):
        return set((await run_all(swarm, {"alice": Average(1.0), "bob": Average(4.0)})).values())


async def test_a_receipt_of_a_block_that_is_gone_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission and a finalize have receipts, and no effect, as after a reorganisation on a chain that makes no more
    blocks by itself; they are wanted still, so they are sent again."""
    monkeypatch.setattr(context, "VIEW_PATIENCE", 0.1)
    vanished: list[str] = []

    class Forgetful(MemoryControl):
        async def _send(self, call: Callable[[Any], None], sent: Any = None) -> Receipt:
            kind = type(sent).__name__
            if getattr(sent, "round", 0) == 2 and kind not in vanished:
                vanished.append(kind)
                return Receipt(bytes(32), self._chain.model.block.number + 1000, 0)
            return await super()._send(call, sent)

    async with open_memory_swarm(START, TWO, rounds=ROUNDS, folder=tmp_path) as swarm:
        monkeypatch.setattr(swarm.chain, "control", lambda account: Forgetful(swarm.chain, account))
        assert len(await run(swarm)) == 1
    assert sorted(vanished) == ["FinalizeCall", "SubmitCall"]


@pytest.mark.parametrize("error", [ChainUnreachable("dead"), WrongChain("no contract"), TransactionFailed("odd")])
async def test_a_node_that_cannot_be_read_for_a_while_ends_no_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: SwarmError
) -> None:
    monkeypatch.setattr(driver, "CHAIN_RETRY", 0.05)
    monkeypatch.setattr(driver, "BOOTSTRAP_INTERVAL", 0.05)
    trouble, unread = [error] * 6, [error] * 2

    class Ill(MemoryControl):
        async def wait_for_change(self, seen: View | None, timeout: float) -> View:
            if seen is not None and seen.round == 2 and trouble:
                raise trouble.pop()
            return await super().wait_for_change(seen, timeout)

        async def addresses(self) -> dict[bytes, tuple[str, ...]]:
            if unread:
                raise unread.pop()
            return await super().addresses()

    async with open_memory_swarm(START, TWO, rounds=ROUNDS, folder=tmp_path) as swarm:
        monkeypatch.setattr(swarm.chain, "control", lambda account: Ill(swarm.chain, account))
        assert len(await run(swarm)) == 1
    assert not trouble
    assert not unread


@pytest.mark.parametrize("comes_back", [True, False])
async def test_an_enrolment_that_vanishes_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    monkeypatch.setattr(driver, "MISSING_PATIENCE", 60.0 if comes_back else 0.2)
    monkeypatch.setattr(driver, "LOOK_INTERVAL", 0.05)
    left = 3 if comes_back else 10**9

    class Without(MemoryControl):
        async def state(self) -> View:
            nonlocal left
            view = await super().state()
            if view.round < 2 or not left or self._account != swarm.keys["bob"].address:
                return view
            left -= 1
            members = tuple(member for member in view.members if member.address != self._account)
            return replace(view, members=members, block_number=view.block_number + left % 2)

        async def wait_for_change(self, seen: View | None, timeout: float) -> View:
            await trio.sleep(0.02)
            return await super().wait_for_change(seen, timeout)

    async with open_memory_swarm(START, TWO, rounds=ROUNDS, folder=tmp_path) as swarm:
        monkeypatch.setattr(swarm.chain, "control", lambda account: Without(swarm.chain, account))
        if comes_back:
            assert len(await run(swarm)) == 1
            assert left == 0
        else:
            with pytest.RaisesGroup(pytest.RaisesExc(NotAMember), flatten_subgroups=True, allow_unwrapped=True):
                await run(swarm)


class Restartable:
    """An embedded chain that a test ends and starts again, on the same port."""

    def __init__(self, nursery: trio.Nursery, folder: Path) -> None:
        self._nursery = nursery
        self._folder = folder
        self._port = 0
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def start(self) -> str:
        url: str = (await self._nursery.start(self._serve)).url
        self._port = int(url.rpartition(":")[2])
        return url

    async def _serve(self, *, task_status: Any) -> None:
        self._ended = trio.Event()
        try:
            with trio.CancelScope() as self._scope:
                await serve_chain("127.0.0.1", self._port, self._folder, task_status=task_status)
        finally:
            self._ended.set()

    async def end(self) -> None:
        self._scope.cancel()
        await self._ended.wait()


async def test_the_only_node_dies_and_returns(tmp_path: Path) -> None:
    """In the middle of a round, while all peers notice; nobody needs to tell them."""
    async with trio.open_nursery() as nursery:
        chain = Restartable(nursery, tmp_path / "chain")
        async with open_chain_swarm(await chain.start(), tmp_path, rounds=ROUNDS) as swarm:
            slow = swarm.learners["dave"]
            slow.hold_at = 2
            with trio.fail_after(60):
                async with swarm.running():
                    await swarm.until(lambda view: view.round == 2 and view.count == 3)
                    heard = [swarm.peers[name].events() for name in NAMES]
                    await chain.end()
                    for channel in heard:
                        async for event in channel:
                            if event.kind == "chain_unreachable":
                                break
                    slow.go_on.set()
                    await chain.start()
            await check_ended(swarm, ROUNDS)
        nursery.cancel_scope.cancel()
