"""A swarm of real peers in memory that ran honestly, and lived through everything that members can decide.

    round 1, 2   five members merge
    round 3      dave is expelled (vote 0) while its update is in a round that collects: it is forced out
    round 4      erin leaves; three merge
    round 5      the head goes back to round 2 (vote 1): rounds 3 and 4 are left behind
    round 6, 7   three merge; nobody finds the models better, so round 2 stays the best
    round 8      the swarm is stopped (vote 2) and reopened on its best model (vote 3): rounds 6 and 7 are left behind
    round 9      three merge, and that was the last round

Members train as far as they are allowed to, so nothing of this depends on who is faster.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import trio

from swarmp2p import SwarmPeer
from swarmp2p.core.errors import NotAMember
from swarmp2p.core.types import VoteKind
from swarmp2p.failures import unwrapped
from swarmp2p.testing.contract_model import ContractModel
from swarmp2p.testing.memory_swarm import MEMORY_KNOBS, MemorySwarm, open_memory_swarm
from tests.audit.honest_run import SIZE, Run, ended
from tests.peer.test_swarm import Average

NAMES = ("alice", "bob", "carol", "dave", "erin")
LEFT = ("alice", "bob", "carol")
LINEAGE = [1, 2, 9]
LEFT_BEHIND = {3: 1, 4: 1, 6: 3, 7: 3}
"""Rounds, and the votes that left them behind."""


class Allowed(Average):
    """Trains in rounds up to the one that it is allowed; finds each model better, until it is told otherwise."""

    def __init__(self, number: float, model: ContractModel) -> None:
        super().__init__(number, SIZE)
        self._model = model
        self.last_round = 0
        self.pleased = True
        self._score = 0.0

    def train(self, interval: int) -> None:
        while self._model.round > self.last_round:
            time.sleep(0.005)
        # No two rounds have the same updates, even when they are trained from the same model; nor are they merged to one.
        self.number = np.float32(self.number * 1.0625)
        super().train(interval)

    def evaluate(self) -> float:
        self._score += 1.0 if self.pleased else -1.0
        return self._score


class _Story:
    def __init__(self, swarm: MemorySwarm, nursery: trio.Nursery) -> None:
        self.swarm, self.model, self._nursery = swarm, swarm.chain.model, nursery
        self.learners = {name: Allowed(float(number) ** 2, self.model) for number, name in enumerate(NAMES, 1)}
        self.peers: dict[str, SwarmPeer] = {}

    async def start(self) -> None:
        for name in NAMES:
            await self._nursery.start(self._run, name)

    async def _run(self, name: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            with unwrapped():
                async with self.swarm.peer(name, self.learners[name]) as peer:
                    self.peers[name] = peer
                    task_status.started()
                    async for _ in peer.rounds():
                        pass
                    await trio.sleep_forever()
        except NotAMember:
            pass

    def allow(self, round_: int, *names: str) -> None:
        for name in names:
            self.learners[name].last_round = round_

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            with trio.move_on_after(0.05):
                await self.swarm.chain.mined()

    async def submitted(self, *names: str) -> None:
        members, model = [self.swarm.keys[name].address for name in names], self.model
        await self.until(lambda: all(model.submitted >> model.members[each].index & 1 for each in members))

    async def merge(self, round_: int, *names: str) -> None:
        """Up to this round, all of these."""
        self.allow(round_, *names)
        await self.until(lambda: self.model.head_round == round_)

    async def vote(self, kind: VoteKind, signers: tuple[str, ...], **what: Any) -> None:
        ballots, proposer = self.model.ballot, self.peers["alice"]
        await self.until(lambda: not any(peer.papers() for peer in self.peers.values()))
        await proposer.propose(kind, **what)
        await self.until(lambda: any(proposer.papers()) or self.model.ballot > ballots)
        for id_ in proposer.papers():
            for name in signers:
                await self.until(lambda name=name, id_=id_: id_ in self.peers[name].papers())  # type: ignore[misc]
                await self.peers[name].sign(id_)
        await self.until(lambda: self.model.ballot > ballots)

    async def tell(self) -> None:
        await self.start()
        await self.merge(2, *NAMES)
        self.allow(3, "alice", "bob", "dave", "erin")
        await self.submitted("alice", "bob", "dave", "erin")
        await self.vote(VoteKind.EXPEL, ("bob", "erin"), target=self.swarm.keys["dave"].address)
        del self.peers["dave"]
        await self.merge(3, "carol")
        await self.peers.pop("erin").leave()
        await self.merge(4, *LEFT)
        for learner in self.learners.values():
            learner.pleased = False
        await self.vote(VoteKind.ROLLBACK, ("bob",), arg=2)
        await self.merge(7, *LEFT)
        await self.vote(VoteKind.STOP, ("bob",))
        await self.vote(VoteKind.REOPEN, ("bob",), arg=7)
        await self.merge(9, *LEFT)


@cache
def eventful_run() -> Run:
    """Run once for all tests: the outcome is only read."""

    async def run(folder: Path) -> Run:
        knobs = replace(MEMORY_KNOBS, keep_rounds=100)
        start = {"mean": np.zeros(SIZE, np.float32)}
        async with open_memory_swarm(
            start, NAMES, rounds=50, folder=folder, seed=7, knobs=knobs, k_max=2, grace=60
        ) as swarm:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    story = _Story(swarm, nursery)
                    await story.tell()
                    story.allow(100, *NAMES)
                    nursery.cancel_scope.cancel()
            return ended(swarm)

    with TemporaryDirectory() as folder:
        return trio.run(run, Path(folder))
