"""Every merge rule against its definition in NumPy."""

import io
from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest

from swarmp2p.core.schema import Schema, canonical_schema
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.network import network, order_statistics
from swarmp2p.merge.registry import rule_from_draft
from swarmp2p.merge.rule import Rule
from tests.merge.files import merge_file


def model_of(*rows: Sequence[float]) -> tuple[Schema, list[bytes]]:
    schema = canonical_schema([("w", "F64", (len(rows[0]),))])
    return schema, [schema.head + np.array(row, np.float64).tobytes() for row in rows]


def merged_values(rule: Rule, vectors: Any, weights: Sequence[int] | None = None, heads: Any = ()) -> Any:
    schema, files = model_of(*vectors)
    before = [schema.head + np.asarray(head, np.float64).tobytes() for head in heads]
    merged = merge_file(rule, schema, files, weights or [1] * len(files), before)
    return np.frombuffer(merged, np.float64, offset=len(schema.head))


@pytest.mark.parametrize("members", [1, 2, 3, 4, 5, 8, 9, 16, 33])
def test_numpy_agrees_on_order_statistics(members: int) -> None:
    vectors = np.random.default_rng(members).normal(size=(members, 40_000))
    median = merged_values(rule_from_draft("coordinate_median"), vectors)
    assert np.array_equal(median, np.median(vectors, axis=0))
    cut = int(0.2 * members)
    kept = np.sort(vectors, axis=0)[cut : members - cut]
    trimmed = merged_values(rule_from_draft("trimmed_mean;beta=0.2"), vectors)
    np.testing.assert_allclose(trimmed, kept.mean(axis=0), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 11])
def test_sorting_networks_sort_all_zeros_and_ones(count: int) -> None:
    """What sorts these sorts everything (the 0-1 principle), here all of them at once."""
    rows = [row.copy() for row in np.array(list(product([0.0, 1.0], repeat=count))).T]
    expected = np.sort(np.array(rows), axis=0)
    for wanted in [set(range(count)), {count // 2}, {0}, {count - 1}]:
        made = order_statistics([row.copy() for row in rows], wanted, rows[0].copy())
        assert np.array_equal(np.array(made), expected[sorted(wanted)])
    assert len(network(count, (count // 2,))) <= len(network(count, tuple(range(count))))


def test_numpy_agrees_on_large_networks() -> None:
    rows = np.random.default_rng(5).normal(size=(256, 50))
    made = order_statistics([row.copy() for row in rows], range(256), np.empty(50))
    assert np.array_equal(np.array(made), np.sort(rows, axis=0))


def test_the_geometric_median_minimises_the_sum_of_distances() -> None:
    chance = np.random.default_rng(3)
    vectors = chance.normal(size=(6, 50))
    weights = [1, 5, 2, 2, 3, 4]
    shares = np.array(weights) / sum(weights)

    def cost(point: Any) -> float:
        return float(shares @ np.linalg.norm(vectors - point, axis=1))

    median = merged_values(rule_from_draft("geometric_median;iterations=60"), vectors, weights)
    for _ in range(200):
        assert cost(median) <= cost(median + chance.normal(scale=chance.choice([1e-3, 1e-1, 1]), size=50)) + 1e-12
    # A liar far away, however far, pulls the mean away and not the median.
    for far in (1e3, 1e9, 1e29):
        vectors[0] = far
        assert np.abs(merged_values(rule_from_draft("geometric_median"), vectors, weights)).max() < 5
    # The median of points on a line is the middle one.
    line = merged_values(rule_from_draft("geometric_median;iterations=100"), [[0.0], [1.0], [50.0]])
    assert line[0] == pytest.approx(1.0, abs=1e-3)


def test_krum_by_its_definition() -> None:
    vectors = np.random.default_rng(4).normal(size=(9, 30))
    vectors[2] += 100
    vectors[7] -= 5
    squares = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    scores = np.array([np.sort(np.delete(squares[i], i))[: 9 - 2 - 2].sum() for i in range(9)])
    assert np.array_equal(merged_values(rule_from_draft("krum;f=2"), vectors), vectors[scores.argmin()])
    best = np.sort(scores.argsort()[: 9 - 2 - 2])
    multi = merged_values(rule_from_draft("multi_krum;f=2"), vectors)
    np.testing.assert_allclose(multi, vectors[best].mean(axis=0), rtol=1e-12, atol=1e-14)
    assert 2 not in best


def test_krum_takes_the_lower_address_of_equals() -> None:
    assert merged_values(rule_from_draft("krum"), [[5.0], [1.0], [2.0], [3.0], [2.0], [9.0]])[0] == 2.0
    for few in permutations([[4.0], [8.0]]):
        assert merged_values(rule_from_draft("krum"), few)[0] == few[0][0]


def test_clipping_by_its_definition() -> None:
    chance = np.random.default_rng(6)
    head, vectors = chance.normal(size=40), chance.normal(size=(5, 40))
    weights, norm = [3, 1, 4, 1, 5], 4.0
    delta = vectors - head
    factors = np.minimum(1, norm / np.linalg.norm(delta, axis=1)) * weights / sum(weights)
    clipped = merged_values(rule_from_draft(f"norm_clipping;norm={norm}"), vectors, weights, [head])
    np.testing.assert_allclose(clipped, head + factors @ delta, rtol=1e-12, atol=1e-13)
    assert np.linalg.norm(clipped - head) <= norm


def test_momentum_by_its_definition() -> None:
    """FedAvgM with its velocity carried along gives the same models as without, over several rounds."""
    chance = np.random.default_rng(7)
    rule, momentum, rate = rule_from_draft("fedavgm;momentum=0.8;rate=0.5"), 0.8, 0.5
    models, velocity = [chance.normal(size=20)], np.zeros(20)
    before = models[0]
    for _ in range(6):
        vectors = models[-1] + chance.normal(size=(3, 20))
        made = merged_values(rule, vectors, [1, 2, 3], [models[-1], before])
        velocity = momentum * velocity + np.average(vectors - models[-1], axis=0, weights=[1, 2, 3])
        np.testing.assert_allclose(made, models[-1] + rate * velocity, rtol=1e-9, atol=1e-10)
        before = models[-1]
        models.append(made)


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_adaptive_rules_by_their_definition(name: str) -> None:
    """From the genesis that `found` makes, over several rounds; learners and updates have the weights only."""
    chance = np.random.default_rng(8)
    rule = rule_from_draft(f"{name};beta1=0.7;beta2=0.9;rate=0.1;tau=0.01")
    weights = canonical_schema([("a", "F32", (9,)), ("n", "I64", (2,)), ("z", "F64", (4,))])
    model = rule.model_schema(weights)
    assert rule.weights_schema(model) == rule.update_schema(model) == weights
    assert [tensor.name for tensor in model.tensors] == ["n", "z", "z:m", "z:v", "a", "a:m", "a:v"]
    state: dict[str, Any] = {"a": np.zeros(9), "z": np.ones(4)}
    genesis = io.BytesIO()
    genesis.write(model.head)
    for tensor in model.tensors:
        if not rule.write_state(weights, genesis, tensor):
            genesis.write(np.asarray(state.get(tensor.name, np.zeros(2)), KERNELS[tensor.dtype][0]).tobytes())
    head = genesis.getvalue()
    moments = {key: (np.zeros_like(value), np.full_like(value, 1e-4)) for key, value in state.items()}
    for _ in range(5):
        updates = []
        for _ in range(3):
            sent = {key: value + chance.normal(size=value.shape) for key, value in state.items()} | {"n": np.ones(2)}
            updates.append({t.name: np.asarray(sent[t.name], KERNELS[t.dtype][0]) for t in weights.tensors})
        files = [weights.head + b"".join(u[t.name].tobytes() for t in weights.tensors) for u in updates]
        head = merge_file(rule, model, files, [1, 1, 2], [head])
        for key, value in state.items():
            d = np.average([u[key] for u in updates], axis=0, weights=[1, 1, 2]) - value
            m, v = moments[key]
            m = 0.7 * m + 0.3 * d
            v = 0.9 * v + 0.1 * d**2 if name == "fedadam" else v - 0.1 * d**2 * np.sign(v - d**2)
            moments[key] = m, v
            state[key] = value + 0.1 * m / (np.sqrt(v) + 0.01)
            tensor = model.by_name()[key]
            made = np.frombuffer(head[tensor.start : tensor.stop], KERNELS[tensor.dtype][0])
            np.testing.assert_allclose(made, state[key], rtol=1e-4, atol=1e-4)
