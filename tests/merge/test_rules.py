"""Every merge rule against exact references, its definition in NumPy, and itself in other portions and orders."""

import io
import json
import random
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmp2p.core.errors import ConfigError, InvalidUpdate, KernelFault, SchemaMismatch
from swarmp2p.core.schema import ITEM_SIZE, Schema, canonical_schema
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.floats import FLOATS
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.network import network, order_statistics
from swarmp2p.merge.registry import RULES, rule_from_draft, rule_from_id
from swarmp2p.merge.rule import ANY_LEADERS, RoundInputs, Rule
from swarmp2p.merge.validate import check_chunk
from swarmp2p.merge.wire import WIRES
from tests.merge import rule_reference
from tests.merge.files import begin, merge_file, source
from tests.merge.noise_files import file_with
from tests.merge.test_weighted_mean import finite

steady = settings(derandomize=True, deadline=None, max_examples=60)
CASES = json.loads(rule_reference.VECTORS.read_text())["cases"]
WHOLE_VECTOR = {"geometric_median", "krum", "multi_krum", "norm_clipping"}
IDS = [f"{name};wire={wire}" if wire != "plain" else name for name in sorted(RULES) for wire in sorted(WIRES)]


@pytest.mark.parametrize("case", CASES, ids=[f"{case['rule']}-{case['dtype']}-{case['name']}" for case in CASES])
def test_vectors(case: dict[str, Any]) -> None:
    rule = rule_reference.rule_of(case)
    model = rule.model_schema(canonical_schema([("w", case["dtype"], (case["count"],))]))
    update = rule.update_schema(model)
    files = [update.head + bytes.fromhex(data) for data in case["updates"]]
    heads = [model.head + bytes.fromhex(data) for data in case["heads"]]
    merged = merge_file(rule, model, files, case["weights"], heads)
    assert merged[: len(model.head)] == model.head
    assert merged[len(model.head) :].hex() == case["expected"]


def test_the_vectors_are_the_references() -> None:
    assert json.loads(rule_reference.VECTORS.read_text()) == rule_reference.vectors()


@st.composite
def tensors(draw: st.DrawFn, dtype: str, count: int, *, positive: bool = False) -> bytes:
    """Elements of any bits that an update may have: zeros of both signs, denormals, large ones."""
    item = ITEM_SIZE[dtype]
    edge = st.sampled_from([0, 1, 2, 3, 2 ** (8 * item - 1), 2 ** (8 * item - 1) + 1, 2 ** (8 * item - 1) - 1])
    bits = (edge | st.integers(0, 2 ** (8 * item) - 1)).map(lambda each: finite(dtype, each))
    if dtype in FLOATS and dtype != "F16":  # beyond 1e36 no update is valid
        place, width = {"F64": (52, 11), "F32": (23, 8), "BF16": (7, 8)}[dtype]
        most, top = (1 << width - 1) - 1 + 118, 1 << place + width - 1
        bits = bits.map(lambda each: each & ~top if each >> place & (1 << width) - 1 > most else each)
    if positive:
        bits = bits.map(lambda each: each & ~(1 << (8 * item - 1)))
    elements = draw(st.lists(bits, min_size=count, max_size=count))
    return b"".join(each.to_bytes(item, "little") for each in elements)


@st.composite
def rounds(draw: st.DrawFn, name: str) -> tuple[Rule, Schema, list[bytes], list[int], list[bytes]]:
    wire = draw(st.sampled_from(sorted(WIRES)))
    rule = rule_from_draft(f"{name};wire={wire}")
    dtype = draw(st.sampled_from(sorted(KERNELS)))
    count, members = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    model = rule.model_schema(canonical_schema([("w", dtype, (count,))]))
    update = rule.update_schema(model)

    def file(schema: Schema) -> bytes:
        return schema.head + b"".join(
            draw(tensors(t.dtype, *t.shape, positive=t.name.endswith((":v", ":scale")))) for t in schema.tensors
        )

    weights = draw(st.lists(st.integers(1, 2**32 - 1), min_size=members, max_size=members))
    return rule, model, [file(update) for _ in range(members)], weights, [file(model) for _ in range(rule.heads)]


@pytest.mark.parametrize("name", sorted(RULES))
def test_it_is_the_exact_reference(name: str) -> None:
    """With -0, denormals and numbers up to 1e35, on every wire, for every dtype."""

    @steady
    @given(rounds(name))
    def check(case: tuple[Rule, Schema, list[bytes], list[int], list[bytes]]) -> None:
        rule, model, files, weights, heads = case
        merged = merge_file(rule, model, files, weights, heads)
        assert merged[len(model.head) :] == rule_reference.expected(rule, model, files, weights, heads)

    check()


# ---- portions and orders

MIXED: list[tuple[str, str, tuple[int, ...]]] = []
MIXED += [(f"{dtype}.{part}", dtype, (20_000 + 7_001 * part,)) for dtype in KERNELS for part in range(2)]
MIXED += [("scalar", "F32", ()), ("empty", "F16", (0, 3))]


@pytest.mark.parametrize("text", IDS)
def test_any_portioning_and_any_number_of_leaders_give_the_same_bytes(text: str) -> None:
    """Chunks in any order into one buffer, and slices each by a merge of its own, are the file made in one go."""
    rule = rule_from_draft(text)
    model = rule.model_schema(canonical_schema(MIXED))
    update = rule.update_schema(model)
    files = [file_with(update, 50 * member) for member in range(4)]
    heads = [file_with(model, 7_000 + 50 * number) for number in range(rule.heads)]
    weights = [10, 2, 7, 3_000_000_000]
    whole = merge_file(rule, model, files, weights, heads)
    assert len(whole) == model.size > 3 * CHUNK_SIZE
    assert whole == merge_file(rule, model, files, weights, heads)
    order = list(range(model.chunks))
    random.Random(2).shuffle(order)
    buffer = bytearray(CHUNK_SIZE)
    merge = begin(rule, model, files, weights, heads)
    for index in order:
        assert merge.chunk(index, buffer) == whole[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]
    assert rule.max_leaders == (1 if text.partition(";")[0] in WHOLE_VECTOR else ANY_LEADERS)
    if rule.max_leaders > 1:
        for index in order:
            assert _alone(rule, model, files, weights, heads, index) == whole[index * CHUNK_SIZE :][:CHUNK_SIZE]


def _alone(
    rule: Rule, model: Schema, files: Sequence[bytes], weights: Sequence[int], heads: Sequence[bytes], index: int
) -> bytes:
    """One chunk, where of the updates only those chunks are there that the rule asks for."""
    wanted = rule.update_chunks(model, [index])
    size = rule.update_schema(model).size
    holed = [bytearray(size) for _ in files]
    for hole, file in zip(holed, files, strict=True):
        for chunk in wanted:
            part = slice(chunk * CHUNK_SIZE, (chunk + 1) * CHUNK_SIZE)
            hole[part] = file[part]
    return bytes(begin(rule, model, holed, weights, heads).chunk(index))


@pytest.mark.parametrize("name", sorted(RULES))
def test_the_order_of_arrival_does_not_matter(name: str) -> None:
    """Updates are put in the order of addresses, whatever order they came in; some rules would not even need that."""
    rule = rule_from_draft(name)
    model = rule.model_schema(canonical_schema([("w", "F32", (500,)), ("n", "I32", (9,))]))
    update = rule.update_schema(model)
    files = {bytes([member]) * 20: file_with(update, 50 * member) for member in range(7)}
    heads = [file_with(model, 900 + number) for number in range(rule.heads)]
    weights = {address: 7 + address[0] for address in files}
    results, unsorted = set(), set()
    for seed in range(5):
        arrival = list(files)
        random.Random(seed).shuffle(arrival)
        ordered = sorted(arrival)
        results.add(merge_file(rule, model, [files[a] for a in ordered], [weights[a] for a in ordered], heads))
        unsorted.add(merge_file(rule, model, [files[a] for a in arrival], [weights[a] for a in arrival], heads))
    assert len(results) == 1
    if name in ("coordinate_median", "trimmed_mean", "krum"):
        assert unsorted == results
    else:
        assert len(unsorted) > 1


@pytest.mark.parametrize("name", sorted(RULES))
def test_minus_zero_and_the_callers_numpy_settings_do_not_show(name: str) -> None:
    rule = rule_from_draft(name)
    zeros = canonical_schema([(dtype, dtype, (300,)) for dtype in FLOATS])
    model = rule.model_schema(zeros)
    update = rule.update_schema(model)

    def minus(schema: Schema, member: int) -> bytes:
        parts = [schema.head]
        for tensor in schema.tensors:
            item, count = ITEM_SIZE[tensor.dtype], 300
            data = bytearray(item * count)
            if not tensor.name.endswith(":v"):
                data[item - 1 :: item * (1 + member)] = b"\x80" * len(data[item - 1 :: item * (1 + member)])
            parts.append(bytes(data))
        return b"".join(parts)

    files = [minus(update, member) for member in range(4)]
    heads = [minus(model, number) for number in range(rule.heads)]
    with np.errstate(all="raise"):
        merged = merge_file(rule, model, files, [1, 2, 3, 4], heads)
    assert merged == model.head + bytes(model.size - len(model.head))


# ---- definitions


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


# ---- limits and mistakes


@pytest.mark.parametrize("text", IDS)
def test_updates_at_the_limit_give_finite_models(text: str) -> None:
    rule = rule_from_draft(text)
    model = rule.model_schema(canonical_schema([(dtype, dtype, (3,)) for dtype in FLOATS]))
    update = rule.update_schema(model)

    def full(schema: Schema, sign: float) -> bytes:
        parts = [schema.head]
        for tensor in schema.tensors:
            top = {"F16": 65504, "I8": 127}.get(tensor.dtype, 9e35)
            value = np.full((tensor.stop - tensor.start) // ITEM_SIZE[tensor.dtype], sign * top)
            if tensor.dtype == "BF16":
                parts.append((value.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes())
            else:
                parts.append(
                    np.abs(value).astype(KERNELS[tensor.dtype][0]).tobytes()
                    if tensor.name.endswith(":v")
                    else value.astype(KERNELS[tensor.dtype][0]).tobytes()
                )
        return b"".join(parts)

    for signs in ([1, 1, 1, 1, 1], [1, -1, 1, -1, 1]):
        files = [full(update, sign) for sign in signs]
        for other in (1.0, -1.0):
            heads = [full(model, other if number % 2 else -other) for number in range(rule.heads)]
            merged = merge_file(rule, model, files, [1, 2, 3, 4, 5], heads)
            for tensor in model.tensors:
                data: Any = np.frombuffer(merged[tensor.start : tensor.stop], KERNELS[tensor.dtype][0])
                if tensor.dtype == "BF16":
                    data = (data.astype(np.uint32) << np.uint32(16)).view(np.float32)
                assert np.isfinite(data).all()


@pytest.mark.parametrize("wire", sorted(WIRES))
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e31])
def test_nan_infinity_and_beyond_max_abs_are_refused_on_every_wire(wire: str, bad: float) -> None:
    rule = rule_from_draft(f"coordinate_median;wire={wire}")
    model = canonical_schema([("w", "F32", (600,))])
    update = rule.update_schema(model)
    file = bytearray(file_with(update, 1))
    check_chunk(update, 0, file)
    name = "w:scale" if wire == "int8" else "w"
    tensor = update.by_name()[name]
    value = np.float32(bad)
    if tensor.dtype == "BF16":
        data = (value.reshape(1).view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()
    else:
        with np.errstate(over="ignore"):
            data = value.astype(KERNELS[tensor.dtype][0]).tobytes()
    file[tensor.stop - len(data) : tensor.stop] = data
    with pytest.raises(InvalidUpdate, match=f"'{name}'"):
        check_chunk(update, 0, file)


@pytest.mark.parametrize("name", sorted(RULES))
def test_wrong_arguments(name: str) -> None:
    rule = rule_from_draft(name)
    model = rule.model_schema(canonical_schema([("w", "F32", (2,))]))
    update = rule.update_schema(model)
    file, heads = file_with(update, 1), [file_with(model, 2)] * rule.heads
    for count, weights in ((0, []), (1, [1, 2]), (1, [0]), (1, [2**32]), (257, [1] * 257)):
        with pytest.raises(ValueError, match="weights"):
            begin(rule, model, [file] * count, weights, heads)
    with pytest.raises(ValueError, match="earlier models"):
        begin(rule, model, [file], [1], [*heads, file])
    with pytest.raises(InvalidUpdate, match="expected"):
        begin(rule, model, [file[:-1]], [1], heads).chunk(0)
    with pytest.raises(IndexError):
        begin(rule, model, [file], [1], heads).chunk(1)


def test_a_thread_that_flushes_denormals_does_not_begin() -> None:
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    schema, files = model_of([1.0], [2.0])
    try:
        with pytest.raises(KernelFault, match="flushes denormal"):
            begin(rule_from_draft("krum"), schema, files, [1, 1])
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("mode", "no merge rule 'mode'"),
        ("trimmed_mean;beta=0.5", "beta=0.5 is not possible"),
        ("trimmed_mean;beta=nan", "beta=nan is not possible"),
        ("trimmed_mean;trim=1", "no parameter 'trim'"),
        ("krum;f=1.5", "f=1.5 is not possible"),
        ("geometric_median;iterations=0", "iterations=0"),
        ("fedavgm;momentum=1", "momentum=1"),
        ("norm_clipping;norm=inf", "norm=inf"),
        ("weighted_mean;wire=zip", "wire=zip"),
        ("weighted_mean/2", "kernel version 2"),
        ("Weighted Mean", "no merge rule"),
        ("krum;f", "not a merge rule's id"),
    ],
)
def test_bad_rules_are_named_with_the_mend(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        rule_from_draft(text)
    assert caught.value.mend


@pytest.mark.parametrize("name", sorted(RULES))
def test_ids_are_complete_and_have_one_spelling(name: str) -> None:
    rule = rule_from_draft(name)
    assert rule_from_id(rule.id).id == rule.id
    assert rule.id.startswith(f"{name}/1")
    assert (RULES[name].__doc__ or "").startswith(f"Rule `{name}/1")
    with pytest.raises(ConfigError, match="not written in full") as caught:
        rule_from_id(rule.id + ";wire=plain" if ";" not in rule.id else rule.id.partition(";")[0])
    assert rule.id in caught.value.mend
    assert rule_from_draft(f"{name};wire=int8").id.endswith("wire=int8")


def test_names_that_a_rule_or_wire_needs() -> None:
    for text, taken in (("fedadam", "w:m"), ("weighted_mean;wire=int8", "w:scale")):
        rule, schema = rule_from_draft(text), canonical_schema([("w", "F32", (3,)), (taken, "F32", (3,))])
        derive = rule.update_schema if "wire" in text else rule.model_schema
        with pytest.raises(SchemaMismatch, match=taken) as caught:
            derive(schema)
        assert "Rename" in caught.value.mend
    with pytest.raises(SchemaMismatch, match="moments"):
        rule_from_draft("fedyogi").check_schema(canonical_schema([("w", "F32", (3,))]))


@pytest.mark.parametrize("text", ["weighted_mean", "multi_krum", "geometric_median;wire=bf16", "fedadam;wire=int8"])
def test_memory_does_not_grow_with_the_model(text: str) -> None:
    """Updates and earlier models are made chunk by chunk as they are asked for, so what is held is the merge's own."""
    rule = rule_from_draft(text)
    unit = np.random.default_rng(1).normal(size=CHUNK_SIZE // 4).astype(np.float32).tobytes()

    def made(schema: Schema) -> Callable[[int], bytes]:
        return lambda index: unit[: schema.chunk_size(index)]

    def peak(chunks: int) -> int:
        model = rule.model_schema(canonical_schema([("w", "F32", (chunks * CHUNK_SIZE // 4,))]))
        update = rule.update_schema(model)
        inputs = RoundInputs(model, [made(update)] * 4, [1, 2, 3, 4], [made(model)] * rule.heads)
        buffer = bytearray(CHUNK_SIZE)
        tracemalloc.start()
        merge = rule.begin(inputs)
        for index in range(model.chunks):
            merge.chunk(index, buffer)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few = peak(4)
    assert few < 40 * CHUNK_SIZE
    assert peak(40) < few + CHUNK_SIZE


def test_no_input_is_written_to_or_kept() -> None:
    for text in IDS:
        rule = rule_from_draft(text)
        model = rule.model_schema(canonical_schema([("w", "F32", (700,)), ("h", "BF16", (5,)), ("n", "U8", (5,))]))
        files = [file_with(rule.update_schema(model), member) for member in range(5)]
        heads = [file_with(model, 70 + number) for number in range(rule.heads)]
        copies = [bytearray(each) for each in (*files, *heads)]
        merge_file(rule, model, copies[:5], [1, 2, 3, 4, 5], copies[5:])
        assert [bytes(each) for each in copies] == [*files, *heads]
    assert source(b"ab")(0) == b"ab"
