"""Whole peers on a local swarm: leaving and coming back at any time, and users' mistakes."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from swarmp2p import ConfigError, HomeLocked, LearnerFailed, NotAMember, SchemaMismatch, SwarmError, SwarmPeer
from swarmp2p.testing.local_swarm import LocalSwarm, local_swarm


class Average:
    """Moves half-way to its own number at each batch."""

    def __init__(self, number: float, size: int = 3) -> None:
        self.number, self.mean = np.float32(number), np.zeros(size, np.float32)

    def train(self, interval: int) -> None:
        for _ in range(interval):
            self.mean = self.mean + np.float32(0.5) * (self.number - self.mean)

    def evaluate(self) -> float:
        return -float(np.abs(self.number - self.mean).max())

    def get_weights(self) -> Mapping[str, Any]:
        return {"mean": self.mean}

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        self.mean = weights["mean"]


pytestmark = [  # py-libp2p leaves sockets and streams of an ended host to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

BLOCKING = """
import sys
sys.path.insert(0, {here!r})
from tests.peer.test_swarm import Average
from swarmp2p import BlockingSwarmPeer
with BlockingSwarmPeer.open({manifest!r}, learner=Average({number}), weight=10, home={home!r}, invitation={invitation!r},
                            listen=["/ip4/127.0.0.1/tcp/0"]) as peer:
    print("open", flush=True)
    print(peer.run().head, flush=True)
"""


def start(swarm: LocalSwarm, name: str, number: float) -> "subprocess.Popen[str]":
    """A peer in the blocking form, as a process."""
    code = BLOCKING.format(
        here=str(Path(__file__).parents[2]),
        manifest=str(swarm.manifest),
        number=number,
        home=str(swarm.home(name)),
        invitation=str(swarm.invitation(name)),
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_ends_the_blocking_form_and_it_carries_on(tmp_path: Path) -> None:
    with local_swarm({"mean": np.zeros(3, np.float32)}, ["alice", "bob"], rounds=3, folder=tmp_path) as swarm:
        bob = start(swarm, "bob", 3.0)
        assert bob.stdout is not None
        assert bob.stdout.readline() == "open\n"
        bob.send_signal(signal.SIGINT)
        _, complaint = bob.communicate(timeout=30)
        assert bob.returncode != 0
        assert "KeyboardInterrupt" in complaint
        both = [start(swarm, "alice", 1.0), start(swarm, "bob", 3.0)]
        outputs = [process.communicate(timeout=90) for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        heads = {out.splitlines()[-1] for out, _ in outputs}
        assert len(heads) == 1


def test_a_peer_that_is_cancelled_at_any_step_carries_on(tmp_path: Path) -> None:
    """Both in one program: bob is cancelled at each kind of step, once, and opened again."""
    hit: list[str] = []
    rounds: dict[str, list[int]] = {"alice": [], "bob": []}
    heads = set()

    async def take_part(swarm: LocalSwarm, name: str, number: float, on_step: Any = None) -> None:
        async with SwarmPeer.open(
            swarm.manifest, learner=Average(number), weight=10, **swarm.options(name), on_step=on_step
        ) as peer:
            async for round_ in peer.rounds():
                rounds[name].append(round_.number)
            heads.add(str(peer.head))

    async def until_a_new_step(swarm: LocalSwarm) -> None:
        def cancel(step: str, _round: int, _rank: int | None) -> None:
            if step not in hit and not scope.cancel_called:
                hit.append(step)
                scope.cancel()

        with trio.CancelScope() as scope:
            await take_part(swarm, "bob", 3.0, cancel)

    async def both(swarm: LocalSwarm) -> None:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take_part, swarm, "alice", 1.0)
                while not heads:
                    await until_a_new_step(swarm)

    with local_swarm({"mean": np.zeros(3, np.float32)}, ["alice", "bob"], rounds=24, folder=tmp_path) as swarm:
        trio.run(both, swarm)
    assert {"train", "publish", "submit", "fetch", "claim", "attest", "apply"} <= set(hit)
    assert len(heads) == 1
    for applied in rounds.values():
        assert applied == sorted(applied)


class Wider(Average):
    """Not the swarm's model."""

    def __init__(self) -> None:
        super().__init__(1.0, size=4)


class Broken(Average):
    """A user's bug."""

    def train(self, interval: int) -> None:
        raise ZeroDivisionError("a bug of the user's")


def test_mistakes_are_named_with_their_mend(tmp_path: Path) -> None:
    async def opened(swarm: LocalSwarm, learner: Average, weight: int = 10, **options: Any) -> None:
        with trio.fail_after(30):
            async with SwarmPeer.open(
                swarm.manifest, learner=learner, weight=weight, **{**swarm.options("alice"), **options}
            ) as peer:
                async for _ in peer.rounds():
                    pass

    def refused(kind: type[SwarmError], match: str, *args: Any, **options: Any) -> None:
        with pytest.raises(kind, match=match) as caught:
            trio.run(lambda: opened(swarm, *args, **options))
        assert caught.value.mend

    with local_swarm({"mean": np.zeros(3, np.float32)}, ["alice", "bob"], rounds=1, folder=tmp_path) as swarm:
        stranger = {"home": tmp_path / "stranger", "invitation": None}
        refused(NotAMember, "not a member", Average(1.0), **stranger)
        bobs = swarm.invitation("bob")
        refused(SwarmError, "this key is", Average(1.0), invitation=bobs)
        refused(ConfigError, "weight", Average(1.0), weight=0)
        refused(ConfigError, "cannot be listened on", Average(1.0), listen=["nonsense"])
        refused(SchemaMismatch, "mean", Wider())
        refused(LearnerFailed, "ZeroDivisionError", Broken(1.0))

        async def twice() -> None:
            async with SwarmPeer.open(swarm.manifest, learner=Average(1.0), weight=1, **swarm.options("alice")):
                await opened(swarm, Average(1.0))

        with pytest.raises(HomeLocked, match="Another process"):
            trio.run(twice)
