"""Whole swarms on every merge rule, wire and apply rule: members agree on each merged model, and a deep audit does too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from multiformats import CID

from swarmp2p.control.manifest import Manifest
from swarmp2p.core.errors import ConfigError
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.registry import RULES, rule_from_id
from swarmp2p.merge.tensors import read_schema, read_weights, write_weights
from swarmp2p.merge.wire import WIRES
from swarmp2p.peer.founding import complete, genesis_file
from swarmp2p.peer.training import RESIDUAL_FILE
from swarmp2p.testing.local_swarm import local_draft
from swarmp2p.testing.memory_content import MemoryStore
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


async def test_what_compression_leaves_out_goes_with_the_next_update(tmp_path: Path) -> None:
    """It is in the home, for the next process too; one that is broken is thrown away."""
    weights = {"mean": np.zeros(600, np.float32)}
    names = NAMES[:2]

    class Slow:
        """Moves all but one element by a hundredth of what int8 can say."""

        def __init__(self) -> None:
            self.weights = dict(weights)

        def train(self, interval: int) -> None:
            self.weights["mean"] = self.weights["mean"] + np.float32(1e-4)
            self.weights["mean"][::100] += np.float32(1)

        def evaluate(self) -> None:
            return None

        def get_weights(self) -> Mapping[str, Any]:
            return self.weights

        def set_weights(self, new: Mapping[str, Any]) -> None:
            self.weights = dict(new)

    async with open_memory_swarm(
        weights, names, rounds=60, folder=tmp_path, seed=SEED, rule="weighted_mean;wire=int8"
    ) as swarm:

        async def some(name: str, rounds: int) -> None:
            async with swarm.peer(name, Slow()) as peer:
                await peer.wait_for_round(rounds - 1)

        for until in (30, 60):
            with trio.fail_after(120):
                async with trio.open_nursery() as nursery:
                    for name in names:
                        nursery.start_soon(some, name, until)
            for name in names:
                residual = read_weights(tmp_path / name / RESIDUAL_FILE)["mean"]
                assert 0 < np.abs(residual).max() < 0.005
        (tmp_path / names[0] / RESIDUAL_FILE).write_bytes(b"broken")
        swarm.stores[names[0]].export(swarm.chain.model.state().head, tmp_path / "head.safetensors")
    mean = read_weights(tmp_path / "head.safetensors")["mean"]
    assert mean[1] == pytest.approx(60e-4, abs=0.005)
    assert mean[1] != 0


async def test_elastic_members_train_on_from_their_own_weights(tmp_path: Path) -> None:
    swarm, learners = await run(tmp_path, "weighted_mean", apply="elastic;alpha=0.5")
    assert swarm.manifest.apply == "elastic/1;alpha=0.5"
    head = read_weights(tmp_path / "head.safetensors")["mean"]
    ends = [learner.weights["mean"][-1] for learner in learners.values()]
    assert len({float(end) for end in ends}) == len(NAMES)
    assert min(ends) < head[-1] < max(ends)
    plain, others = await run(tmp_path / "plain", "weighted_mean")
    assert len({float(learner.weights["mean"][-1]) for learner in others.values()}) == 1
    assert plain.manifest.digest != swarm.manifest.digest


async def test_a_rules_own_tensors_are_in_the_model_and_not_in_what_is_exported(tmp_path: Path) -> None:
    async with open_memory_swarm(
        start(), NAMES[:2], rounds=2, folder=tmp_path, seed=SEED, rule="fedadam;rate=0.1"
    ) as swarm:
        learners = {name: Drift(number) for number, name in enumerate(NAMES[:2], 1)}
        exported = tmp_path / "exported.safetensors"

        async def alice() -> None:
            async with swarm.peer("alice", learners["alice"]) as peer:
                async for _ in peer.rounds():
                    pass
                await peer.export(exported, "head")

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice)
                nursery.start_soon(run_all, swarm, learners, ["bob"])
        swarm.stores["bob"].export(swarm.chain.model.state().head, tmp_path / "head.safetensors")
    whole, weights = read_weights(tmp_path / "head.safetensors"), read_weights(exported)
    assert set(weights) == {"mean", "seen"}
    assert set(whole) == {"mean", "mean:m", "mean:v", "seen"}
    np.testing.assert_array_equal(weights["mean"], whole["mean"])
    assert (whole["mean:v"] > 0).all()
    assert swarm.manifest.size > 2.9 * exported.stat().st_size


def test_what_founding_makes_of_a_rule(tmp_path: Path) -> None:
    """The id in full, one leader where the rule needs whole vectors, the genesis with the rule's state; and clear errors."""
    model = tmp_path / "model.safetensors"
    write_weights(start(), model)

    def draft(**settings: Any) -> Manifest:
        return local_draft((bytes(20),), 5, 3, ("memory:",), **settings)

    krum = complete(draft(rule="krum", min_updates=5), model)
    assert (krum.rule, krum.k_max) == ("krum/1;f=1", 1)
    assert complete(draft(rule="trimmed_mean;beta=0.4", min_updates=3), model).k_max == 16
    adam = complete(draft(rule="fedadam;tau=0.5", apply="elastic"), model)
    assert (adam.rule, adam.apply) == ("fedadam/1;beta1=0.9;beta2=0.99;rate=0.01;tau=0.5", "elastic/1;alpha=0.5")
    assert adam.update_size == read_schema(model).size
    with genesis_file(rule_from_id(adam.rule), model) as genesis:
        assert (read_weights(genesis)["mean:v"] == 0.25).all()
        assert genesis.stat().st_size == adam.size
        again = tmp_path / "genesis.safetensors"
        again.write_bytes(genesis.read_bytes())
    assert not genesis.exists()
    assert complete(adam, again) == complete(adam, model) == adam  # who joins may check either file
    for settings, word in (
        ({"rule": "krum;f=2", "min_updates": 5}, "needs 7 updates"),
        ({"rule": "trimmed_mean", "min_updates": 3}, "needs 4 updates"),
        ({"rule": "median"}, "no merge rule 'median'"),
        ({"rule": "fedavgm;momentum=2"}, "momentum=2"),
        ({"apply": "elastic;alpha=7"}, "alpha=7"),
    ):
        with pytest.raises(ConfigError, match=word) as caught:
            complete(draft(**settings), model)
        assert caught.value.mend


async def test_models_before_the_head_are_kept_and_had_by_who_comes_back_without_them(tmp_path: Path) -> None:
    """Two members, both of whom have to recompute every merge; one comes back on an empty disk."""
    names, rounds, left_after = NAMES[:2], 7, 3
    async with open_memory_swarm(
        start(), names, rounds=rounds, folder=tmp_path, seed=SEED, rule="fedavgm;momentum=0.5", f=1
    ) as swarm:

        async def bob() -> None:
            async with swarm.peer("bob", Drift(2.0)) as peer:
                await peer.wait_for_round(left_after - 1)
            swarm.stores["bob"].close()
            swarm.stores["bob"] = MemoryStore()
            await run_all(swarm, {"bob": Drift(2.0)})

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_all, swarm, {"alice": Drift(1.0)})
                nursery.start_soon(bob)
        model = swarm.chain.model
        assert model.head_round == rounds
        models = {round_: result.merged for round_, result in model.results.items()}
        for name in names:
            assert {models[rounds - back] for back in range(3)} <= swarm.stores[name].digests()
        best = model.best_round
        gone = {round_ for round_ in models if round_ < rounds - 3} - {best, best - 1}
        assert gone
        assert not {models[round_] for round_ in gone} & swarm.stores["alice"].digests()


async def test_which_models_the_merge_of_a_round_reads(tmp_path: Path) -> None:
    """Of the round under way, and of one that is over, whose head may have to be merged again."""
    async with open_memory_swarm(
        start(), ["alice"], rounds=5, folder=tmp_path, seed=SEED, rule="fedavgm;wire=int8"
    ) as swarm:
        genesis, seen = swarm.manifest.genesis, list[int]()

        with trio.fail_after(60):
            async with swarm.peer("alice", Drift(1.0)) as peer:
                async for _ in peer.rounds():
                    view, results = peer._ctx.view, swarm.chain.model.results
                    models = [genesis, genesis, *(results[r].merged for r in range(1, view.head_round + 1))]
                    seen.append(view.head_round)
                    for round_ in range(1, view.head_round + 1):
                        assert await peer._ctx.earlier_heads(round_) == [models[round_], models[round_ - 1]]
                    if view.round == view.head_round + 1:
                        assert await peer._ctx.earlier_heads(view.round) == [models[-1], models[-2]]
        assert seen[-1] == 5


class Liar(Drift):
    """Sends 1e20 in every element of whatever it has trained."""

    def get_weights(self) -> Mapping[str, Any]:
        return {**self.weights, "mean": np.full(SIZE, 1e20, np.float32)}


@pytest.mark.parametrize(
    ("rule", "withstands"),
    [
        ("weighted_mean", False),
        ("coordinate_median", True),
        ("trimmed_mean", True),
        ("geometric_median", True),
        ("krum", True),
        ("multi_krum", True),
        ("geometric_median;wire=bf16", True),
        ("trimmed_mean;wire=int8", True),
    ],
)
async def test_one_liar_among_five(tmp_path: Path, rule: str, withstands: bool) -> None:
    learners = {name: Drift(1.0 + number / 10) for number, name in enumerate(NAMES)} | {"erin": Liar(1.0)}
    async with open_memory_swarm(
        start(), NAMES, rounds=3, folder=tmp_path, seed=SEED, rule=rule, min_updates=5
    ) as swarm:
        with trio.fail_after(60):
            await run_all(swarm, learners)
        swarm.stores["alice"].export(swarm.chain.model.state().head, tmp_path / "head.safetensors")
    mean = read_weights(tmp_path / "head.safetensors")["mean"]
    # Three times half-way from 0 to numbers from 1.0 to 1.3.
    assert (0.8 < mean[-1] < 1.2 and abs(mean[0]) < 0.2) == withstands
