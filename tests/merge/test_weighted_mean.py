"""The weighted mean against exact fractions, the vectors, and itself in other portions and orders."""

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmp2p.core.errors import ConfigError, InvalidUpdate, KernelFault, SchemaMismatch
from swarmp2p.core.schema import ITEM_SIZE, Schema, canonical_schema, parse_schema
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.kernels import KERNELS, require_sound_arithmetic
from swarmp2p.merge.registry import DEFAULT_RULE_ID, rule_from_id
from swarmp2p.merge.rule import Rule, format_rule_id, parse_rule_id, rule_digest
from swarmp2p.merge.weighted_mean import WeightedMean
from tests.merge import reference
from tests.merge.files import begin, merge_chunk, merge_file

steady = settings(derandomize=True, deadline=None, max_examples=200)
RULE: Rule = WeightedMean()
CASES = json.loads(reference.VECTORS.read_text())["cases"]


def merge_tensor(dtype: str, inputs: Sequence[bytes], weights: Sequence[int]) -> bytes:
    """The mean of models with one tensor of less than a chunk."""
    schema = canonical_schema([("w", dtype, (len(inputs[0]) // ITEM_SIZE[dtype],))])
    merged = merge_chunk(RULE, schema, 0, [schema.head + data for data in inputs], weights)
    assert merged[: len(schema.head)] == schema.head
    return bytes(merged[len(schema.head) :])


def finite(dtype: str, bits: int) -> int:
    """The same bits, with an exponent of all ones made a smaller one; bools become 0 or 1; float32 stays below 1e38."""
    if dtype == "BOOL":
        return bits & 1
    if dtype in reference.FORMATS:
        top = 1 << (8 * ITEM_SIZE[dtype] - 2)
        fraction = reference.FORMATS[dtype][0] - 1
        exponent = (2 * top - 1) >> fraction << fraction
        if bits & exponent >= exponent - (2 << fraction):
            bits &= ~top
    return bits


@st.composite
def merges(draw: st.DrawFn) -> tuple[str, list[bytes], list[int]]:
    dtype = draw(st.sampled_from(sorted(KERNELS)))
    item = ITEM_SIZE[dtype]
    members = draw(st.integers(1, 6))
    count = draw(st.integers(1, 5))
    edge = st.sampled_from([0, 1, 2, 3, 2 ** (8 * item - 1), 2 ** (8 * item - 1) - 1, 2 ** (8 * item) - 1])
    element = (edge | st.integers(0, 2 ** (8 * item) - 1)).map(
        lambda bits: finite(dtype, bits).to_bytes(item, "little")
    )
    inputs = draw(st.lists(st.lists(element, min_size=count, max_size=count), min_size=members, max_size=members))
    weight = st.integers(1, 4) | st.integers(1, 2**32 - 1) | st.sampled_from([2**31, 2**32 - 1])
    weights = draw(st.lists(weight, min_size=members, max_size=members))
    return dtype, [b"".join(elements) for elements in inputs], weights


@steady
@given(merges())
def test_it_is_the_exact_reference(case: tuple[str, list[bytes], list[int]]) -> None:
    dtype, inputs, weights = case
    assert merge_tensor(dtype, inputs, weights) == reference.weighted_mean(dtype, inputs, weights)


@pytest.mark.parametrize("case", CASES, ids=[f"{case['dtype']}-{case['name']}" for case in CASES])
def test_vectors(case: dict[str, Any]) -> None:
    inputs = [bytes.fromhex(data) for data in case["inputs"]]
    assert merge_tensor(case["dtype"], inputs, case["weights"]).hex() == case["expected"]


def test_the_vectors_are_the_references() -> None:
    assert json.loads(reference.VECTORS.read_text()) == reference.vectors()


@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_the_reference_is_numpy_step_by_step(dtype: str) -> None:
    """A second opinion on the reference itself: one scalar operation at a time."""
    scalar: Any = np.float32 if dtype == "F32" else np.float64
    inputs = [reference.noise(dtype, seed, 50) for seed in (5, 6, 7)]
    weights = [3, 1000, 77]
    shares = [scalar(np.float64(weight) / np.float64(sum(weights))) for weight in weights]
    expected = []
    for xs in zip(*(np.frombuffer(data, scalar) for data in inputs), strict=True):
        acc = shares[0] * xs[0]
        for share, x in zip(shares[1:], xs[1:], strict=True):
            acc = acc + share * x
        expected.append(acc + scalar(0.0))
    assert reference.weighted_mean(dtype, inputs, weights) == np.array(expected, scalar).tobytes()


@pytest.mark.parametrize("dtype", sorted(KERNELS))
def test_blocks_and_vector_tails_do_not_show(dtype: str) -> None:
    """More than two of the kernels' blocks, in buffers of odd alignment: the same as each element alone."""
    count = 33_000 if ITEM_SIZE[dtype] < 8 else 17_000
    period = 331
    weights = [1000003, 3000000019, 2000000011]
    inputs = [reference.noise(dtype, seed, period) for seed in (21, 22, 23)]
    expected = reference.weighted_mean(dtype, inputs, weights)
    size = count * ITEM_SIZE[dtype]
    schema = canonical_schema([("w", dtype, (count,))])
    files = [b"\0" + schema.head + (data * (count // period + 1))[:size] for data in inputs]
    merged = merge_file(RULE, schema, [memoryview(data)[1:] for data in files], weights)
    assert merged == schema.head + (expected * (count // period + 1))[:size]


def mixed_model(seed: int) -> tuple[Schema, list[bytes]]:
    """Four updates of a model of all dtypes, over several chunks."""
    chance = random.Random(seed)
    tensors = [(f"{dtype}.{number}", dtype, (chance.randrange(60_000),)) for dtype in KERNELS for number in range(2)]
    schema = canonical_schema([*tensors, ("scalar", "F32", ()), ("empty", "F16", (0, 3))])
    files = []
    for member in range(4):
        parts = []
        for tensor in schema.tensors:
            unit = reference.noise(tensor.dtype, seed + member, 257)
            parts.append((unit * ((tensor.stop - tensor.start) // len(unit) + 1))[: tensor.stop - tensor.start])
        files.append(schema.head + b"".join(parts))
    return schema, files


def test_any_portioning_gives_the_same_bytes() -> None:
    """The chunks in any order, into one reused buffer, as k leaders would: the same file as in one go."""
    schema, files = mixed_model(1)
    weights = [10, 2, 7, 3_000_000_000]
    whole = merge_file(RULE, schema, files, weights)
    assert len(whole) == schema.size > 10 * CHUNK_SIZE
    buffer = bytearray(CHUNK_SIZE)
    order = list(range(schema.chunks))
    random.Random(2).shuffle(order)
    for index in order:
        part = slice(index * CHUNK_SIZE, (index + 1) * CHUNK_SIZE)
        merged = begin(RULE, schema, files, weights).chunk(index, buffer)
        assert merged == whole[part]
        assert merged.obj is buffer
    for tensor in schema.tensors[::5]:
        inputs = [data[tensor.start : tensor.stop][:800] for data in files]
        assert whole[tensor.start : tensor.stop][:800] == reference.weighted_mean(tensor.dtype, inputs, weights)


def test_the_order_of_arrival_does_not_matter() -> None:
    """Inputs sorted by address give one result, although floating addition would let another order show."""
    inputs = {bytes([9 * k % 7]) * 20: reference.noise("F32", k, 500) for k in range(1, 6)}
    weights = {address: 100 + address[0] for address in inputs}
    results = set()
    for seed in range(5):
        arrival = list(inputs)
        random.Random(seed).shuffle(arrival)
        ordered = sorted(arrival)
        results.add(merge_tensor("F32", [inputs[a] for a in ordered], [weights[a] for a in ordered]))
    assert len(results) == 1
    backwards = sorted(inputs, reverse=True)
    assert merge_tensor("F32", [inputs[a] for a in backwards], [weights[a] for a in backwards]) not in results


def test_the_callers_numpy_settings_do_not_matter() -> None:
    tiny = np.array([1e-30, -1e-45, 6e4], np.float32).tobytes()
    half = np.array([6e-8, -6e-8, 65504], np.float16).tobytes()
    expected = merge_tensor("F32", [tiny, tiny], [1, 2]), merge_tensor("F16", [half, half], [1, 2])
    with np.errstate(all="raise"):
        assert (merge_tensor("F32", [tiny, tiny], [1, 2]), merge_tensor("F16", [half, half], [1, 2])) == expected


def test_inputs_are_not_written_to() -> None:
    schema, files = mixed_model(3)
    copies = [bytearray(data) for data in files]
    merge_file(RULE, schema, [memoryview(copy) for copy in copies], [1, 2, 3, 4])
    assert [bytes(copy) for copy in copies] == files


def test_wrong_arguments() -> None:
    schema = canonical_schema([("w", "F32", (2,))])
    good = schema.head + bytes(8)
    with pytest.raises(InvalidUpdate, match="chunk 0 has"):
        merge_chunk(RULE, schema, 0, [good, good[:-1]], [1, 1])
    for inputs, weights in (([], []), ([good], [1, 2]), ([good], [0]), ([good], [2**32]), ([good] * 257, [1] * 257)):
        with pytest.raises(ValueError, match="weights"):
            merge_chunk(RULE, schema, 0, inputs, weights)
    for out in (bytearray(3), memoryview(bytes(len(good)))):
        with pytest.raises(ValueError, match="out must be"):
            merge_chunk(RULE, schema, 0, [good], [1], out)
    with pytest.raises(IndexError):
        merge_chunk(RULE, schema, 1, [good], [1])


def test_schemas_that_cannot_be_merged() -> None:
    odd = canonical_schema([("fine", "F32", (1,)), ("scale", "F8_E4M3", (4,))])
    with pytest.raises(SchemaMismatch, match="'scale' F8_E4M3") as caught:
        RULE.check_schema(odd)
    assert "leave it out" in caught.value.mend
    with pytest.raises(SchemaMismatch, match="'scale' F8_E4M3"):
        merge_chunk(RULE, odd, 0, [bytes(odd.size)], [1])
    text = b'{"w":{"dtype":"F32","shape":[100000],"data_offsets":[0,400000]}}'
    text += b" " * ((1 - len(text)) % 4)
    crooked = parse_schema(len(text).to_bytes(8, "little") + text)
    with pytest.raises(SchemaMismatch, match="not a multiple"):
        RULE.check_schema(crooked)
    with pytest.raises(SchemaMismatch, match="straddles"):
        merge_chunk(RULE, crooked, 0, [bytes(CHUNK_SIZE)], [1])
    RULE.check_schema(canonical_schema([(dtype, dtype, (3,)) for dtype in KERNELS]))


def test_rule_ids() -> None:
    assert DEFAULT_RULE_ID == RULE.id == "weighted_mean/1"
    assert RULE.id_digest == rule_digest(RULE.id)
    assert rule_from_id(DEFAULT_RULE_ID).id == DEFAULT_RULE_ID
    assert parse_rule_id("trimmed/2;alpha=0.1;beta=3") == ("trimmed", 2, {"alpha": "0.1", "beta": "3"})
    assert format_rule_id("trimmed", 2, {"beta": "3", "alpha": "0.1"}) == "trimmed/2;alpha=0.1;beta=3"
    for wrong, word in {
        "": "not a merge rule",
        "weighted_mean": "not a merge rule",
        "weighted_mean/01": "not a merge rule",
        "weighted_mean/1;": "not a merge rule",
        "a/1;b=1;a=1": "not sorted",
        "a/1;b=1;b=1": "not sorted",
        "a/1;b=" + "1" * 300: "not a merge rule",
        "weighted_mean/2": "kernel version 2",
        "weighted_mean/1;a=1": "no parameter 'a'",
        "mode/1": "no merge rule 'mode'",
    }.items():
        with pytest.raises(ConfigError, match=word) as caught:
            rule_from_id(wrong)
        assert caught.value.mend


def test_a_thread_that_flushes_denormals_does_not_merge() -> None:
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        with pytest.raises(KernelFault, match="flushes denormal"):
            merge_tensor("F32", [bytes(4)], [1])
    finally:
        torch.set_flush_denormal(False)
    require_sound_arithmetic()
