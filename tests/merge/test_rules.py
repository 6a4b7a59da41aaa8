"""Every merge rule against exact references, and itself in other portions and orders."""

import json
import random
import tracemalloc
from collections.abc import Callable, Sequence
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
from swarmp2p.merge.registry import RULES, rule_from_draft, rule_from_id
from swarmp2p.merge.rule import ANY_LEADERS, RoundInputs, Rule
from swarmp2p.merge.validate import check_chunk
from swarmp2p.merge.wire import WIRES
from tests.merge import rule_reference
from tests.merge.files import begin, merge_file, source
from tests.merge.noise_files import file_with
from tests.merge.test_rule_definitions import model_of
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
