"""Learners that give and get their model as a file: what a learner in a process of its own does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from safetensors.numpy import load_file, save_file

from swarmp2p.peer.scratch import Scratch
from swarmp2p.testing.memory_content import MemoryStore
from swarmp2p.testing.memory_swarm import open_memory_swarm, run_all
from tests.peer.test_memory_swarm import SEED, check_agreed

NAMES = ("alice", "bob")


class FileLearner:
    """Holds nothing but a path; its own file has its tensors in another order than the swarm's."""

    def __init__(self, path: Path, number: float) -> None:
        self.path, self.number = path, np.float32(number)
        self.got: list[Path] = []
        save_file({"steps": np.zeros(2, np.int64), "mean": np.zeros(3, np.float32)}, path)

    def train(self, interval: int) -> None:
        model = load_file(self.path)
        save_file({"steps": model["steps"] + 1, "mean": model["mean"] + self.number}, self.path)

    def evaluate(self) -> float:
        return -float(np.abs(self.number - load_file(self.path)["mean"]).max())

    def get_weights(self) -> Path:
        return self.path

    def set_weights(self, weights: Any) -> None:
        assert isinstance(weights, Path)
        self.got.append(weights)
        save_file(load_file(weights), self.path)


@pytest.mark.parametrize("rule", ["weighted_mean", "fedavgm"])
@pytest.mark.parametrize("apply", ["replace/1", "elastic/1;alpha=0.5"])
async def test_a_learner_that_gives_a_file_gets_files_of_its_own_tensors(tmp_path: Path, rule: str, apply: str) -> None:
    (tmp_path / "models").mkdir()
    made = {name: FileLearner(tmp_path / "models" / name, number) for number, name in enumerate(NAMES, 1)}
    start = {"mean": np.zeros(3, np.float32), "steps": np.zeros(2, np.int64)}
    async with open_memory_swarm(
        start, NAMES, rounds=2, folder=tmp_path / "swarm", seed=SEED, rule=rule, apply=apply
    ) as swarm:
        with trio.fail_after(60):
            heads = await run_all(swarm, made)
        check_agreed(swarm, heads, members=len(NAMES))
        for learner in made.values():
            assert learner.got
            model = load_file(learner.path)
            assert set(model) == {"mean", "steps"}
            assert list(model["steps"]) == [2, 2]
        scratch = swarm.stores["bob"].scratch()
        # What else is there was written out for `path`, under its digest.
        assert not [path for path in scratch.parent.iterdir() if len(path.name) == len(scratch.name)]


def test_nothing_is_left_of_scratch_files_also_of_those_that_come_late(tmp_path: Path) -> None:
    store = MemoryStore()
    with Scratch(store.scratch) as scratch:
        early, late, never = scratch.path(), scratch.path(), scratch.path()
        early.write_bytes(b"early")
        scratch.sweep()
        assert early.exists()
    assert not early.exists()
    late.write_bytes(b"late")
    scratch.sweep()
    assert not late.exists()
    assert not never.exists()
    store.close()
