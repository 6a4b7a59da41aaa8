"""Whole swarms on every merge rule, wire and apply rule: members agree on each merged model, and a deep audit does too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from multiformats import CID

from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.registry import RULES, rule_from_id
from swarmp2p.merge.tensors import read_weights
from swarmp2p.merge.wire import WIRES
from swarmp2p.testing.memory_swarm import MemorySwarm, open_memory_swarm, run_all

SEED = 20_261_127
NAMES = ("alice", "bob", "carol", "dave", "erin")
SIZE = 3 * CHUNK_SIZE // 4 - 64
"""Elements of a float32 tensor that takes three chunks."""


class Drift:
    """Moves half-way to its own number at each interval, and counts intervals in an integer tensor."""

    def __init__(self, number: float) -> None:
        self.number = np.float32(number)
        self.weights = start()
        self.seen: list[set[str]] = []

    def train(self, interval: int) -> None:
        ramp = np.linspace(0, 1, SIZE, dtype=np.float32)
        self.weights["mean"] += np.float32(0.5) * (self.number * ramp - self.weights["mean"])
        self.weights["seen"] += 1

    def evaluate(self) -> float:
        return -float(np.abs(self.number - self.weights["mean"]).max())

    def get_weights(self) -> Mapping[str, Any]:
        return self.weights

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        self.seen.append(set(weights))
        self.weights = dict(weights)


def start() -> dict[str, Any]:
    return {"mean": np.zeros(SIZE, np.float32), "seen": np.zeros(3, np.int64)}


async def run(tmp_path: Path, rule: str, rounds: int = 3, **settings: Any) -> tuple[MemorySwarm, dict[str, Drift]]:
    """A whole swarm on this rule; all members end with the contract's head."""
    learners = {name: Drift(number) for number, name in enumerate(NAMES, 1)}
    async with open_memory_swarm(
        start(), NAMES, rounds=rounds, folder=tmp_path, seed=SEED, rule=rule, min_updates=5, **settings
    ) as swarm:
        with trio.fail_after(120):
            heads = await run_all(swarm, learners)
        head = swarm.chain.model.state().head
        assert {bytes(CID.decode(text).raw_digest) for text in heads.values()} == {head}
        assert set(heads) == set(NAMES)
        for store in swarm.stores.values():
            store.export(head, tmp_path / "head.safetensors")
        return swarm, learners


@pytest.mark.parametrize("name", sorted(RULES))
async def test_a_swarm_on_each_rule(tmp_path: Path, name: str) -> None:
    swarm, learners = await run(tmp_path, name)
    rule = rule_from_id(swarm.manifest.rule)
    assert swarm.manifest.k_max == rule.max_leaders
    head = read_weights(tmp_path / "head.safetensors")
    assert 0 < head["mean"][-1] < 20
    assert list(head["seen"]) == [3, 3, 3]
    for learner in learners.values():
        assert all(names == {"mean", "seen"} for names in learner.seen)


@pytest.mark.parametrize("wire", sorted(set(WIRES) - {"plain"}))
async def test_compressed_updates(tmp_path: Path, wire: str) -> None:
    swarm, _ = await run(tmp_path, f"weighted_mean;wire={wire}", rounds=4)
    config = swarm.manifest.config()
    assert config.update_size < 0.53 * config.size
    mean = read_weights(tmp_path / "head.safetensors")["mean"]
    whole, _ = await run(tmp_path / "plain", "weighted_mean", rounds=4)
    plain = read_weights(tmp_path / "plain" / "head.safetensors")["mean"]
    assert np.abs(mean - plain).max() < 0.02
    assert (whole.manifest.update_size, whole.manifest.update_schema) == (0, b"")
