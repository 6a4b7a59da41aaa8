"""Heads of model files: what is read, what is refused, and which bytes of a chunk belong to which tensor."""

import json
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmp2p.core.errors import MalformedModel, SchemaMismatch
from swarmp2p.core.schema import (
    ITEM_SIZE,
    MAX_HEAD,
    Schema,
    canonical_schema,
    difference,
    head_length,
    parse_schema,
    require_aligned,
    segments,
)
from swarmp2p.core.types import CHUNK_SIZE
from tests.core import schema_vectors
from tests.core.schema_vectors import BAD_HEADS, entry, head_of

steady = settings(derandomize=True, deadline=None, max_examples=150)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 9), max_size=4).map(tuple)
models = st.dictionaries(names, st.tuples(st.sampled_from(list(ITEM_SIZE)), shapes), max_size=8).map(
    lambda entries: [(name, dtype, shape) for name, (dtype, shape) in entries.items()]
)


def test_a_file_of_the_library_is_read() -> None:
    import numpy as np

    data = safetensors.numpy.save({"w": np.zeros((2, 3), np.float32), "n": np.zeros((), np.int64)}, {"format": "pt"})
    schema = parse_schema(data, len(data))
    assert [(t.name, t.dtype, t.shape) for t in schema.tensors] == [("n", "I64", ()), ("w", "F32", (2, 3))]
    assert (schema.size, schema.chunks, schema.chunk_size(0)) == (len(data), 1, len(data))
    assert schema.digest == sha256(schema.head).digest()
    assert data.startswith(schema.head)
    require_aligned(schema)


@steady
@given(models, st.randoms(use_true_random=False))
def test_the_canonical_layout_is_one_and_aligned(model: list[tuple[str, str, tuple[int, ...]]], chance: Any) -> None:
    schema = canonical_schema(model)
    shuffled = list(model)
    chance.shuffle(shuffled)
    assert canonical_schema(shuffled) == schema
    assert parse_schema(schema.head + b"more", schema.size) == schema
    assert sorted((t.name, t.dtype, t.shape) for t in schema.tensors) == sorted(model)
    require_aligned(schema)


@steady
@given(models.filter(lambda model: all("F8" not in dtype and dtype not in ("BF16", "C64") for _, dtype, _ in model)))
def test_the_canonical_layout_is_the_librarys(model: list[tuple[str, str, tuple[int, ...]]]) -> None:
    import numpy as np

    numpy = {"BOOL": "?", **{f"{k}{8 * n}": f"{k.lower()}{n}" for k in "FIU" for n in (1, 2, 4, 8)}}
    data = safetensors.numpy.save({name: np.zeros(shape, numpy[dtype]) for name, dtype, shape in model})
    schema = canonical_schema(model)
    assert data[: len(schema.head)] == schema.head
    assert len(data) == schema.size


HUGE_HEADS = {
    "nested without end": head_of(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a number of a million digits": head_of(b'{"a":' + b"9" * 1_000_000 + b"}"),
}


@pytest.mark.parametrize("head", (BAD_HEADS | HUGE_HEADS).values(), ids=(BAD_HEADS | HUGE_HEADS).keys())
def test_bad_heads_are_refused_with_a_mend(head: bytes) -> None:
    with pytest.raises(MalformedModel) as caught:
        parse_schema(head)
    assert caught.value.mend
    assert len(str(caught.value)) < 700


def test_sizes_are_checked() -> None:
    schema = canonical_schema([("a", "F32", (3,))])
    for size, word in ((schema.size - 1, "truncated"), (schema.size + 1, "too long"), (10, "truncated")):
        with pytest.raises(MalformedModel, match=word):
            parse_schema(schema.head, size)
    with pytest.raises(MalformedModel, match="truncated"):
        parse_schema(schema.head[:-1])
    with pytest.raises(MalformedModel, match="ends after 3 bytes"):
        head_length(b"abc")
    with pytest.raises(MalformedModel, match="zip archive"):
        head_length(b"PK\x03\x04\x00\x00\x08\x00")
    with pytest.raises(MalformedModel, match="announces a head"):
        head_length((MAX_HEAD - 7).to_bytes(8, "little"))
    assert head_length((MAX_HEAD - 8).to_bytes(8, "little")) == MAX_HEAD


@steady
@given(st.binary(max_size=300))
def test_garbage_never_raises_anything_else(data: bytes) -> None:
    for head in (data, head_of(data), head_of(b"{" + data + b"}")):
        with suppress(MalformedModel):
            assert isinstance(parse_schema(head), Schema)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(list(ITEM_SIZE)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@steady
@given(st.dictionaries(st.text(max_size=5) | st.just("__metadata__"), json_values, max_size=3))
def test_strange_json_never_raises_anything_else(entries: dict[str, object]) -> None:
    with suppress(MalformedModel):
        parse_schema(head_of(entries))


@steady
@given(models.filter(bool), st.data())
def test_a_damaged_head_is_refused_or_described_as_different(model: Any, data: st.DataObject) -> None:
    schema = canonical_schema(model)
    position = data.draw(st.integers(0, len(schema.head) - 1))
    damaged = bytearray(schema.head)
    damaged[position] ^= data.draw(st.integers(1, 255))
    try:
        other = parse_schema(damaged, schema.size)
    except MalformedModel:
        return
    assert difference(schema, other)


def test_misaligned_layouts_are_refused_by_name() -> None:
    tensors = {"flag": entry("BOOL", [1], [0, 1]), "weight": entry("F32", [1], [1, 5])}
    schema = parse_schema(head_of(tensors, b" " * (-len(json.dumps(tensors)) % 8)))
    with pytest.raises(SchemaMismatch, match=r"'weight' F32 \[1\] starts at byte .* multiple") as caught:
        require_aligned(schema)
    assert "write_weights" in caught.value.mend


def test_an_odd_head_is_misaligned_too() -> None:
    tensors = {"w": entry("F64", [1], [0, 8])}
    padding = -len(json.dumps(tensors)) % 8
    require_aligned(parse_schema(head_of(tensors, b" " * padding)))
    with pytest.raises(SchemaMismatch, match="'w'"):
        require_aligned(parse_schema(head_of(tensors, b" " * (padding + 4))))


def test_differences_name_the_first_tensor() -> None:
    base = [("a", "F32", (2,)), ("b", "F32", (3,))]
    schema = canonical_schema(base)

    def against(*tensors: tuple[str, str, tuple[int, ...]]) -> str | None:
        return difference(schema, canonical_schema(tensors))

    assert against(*base) is None
    assert against(base[0]) == "Tensor 'b' F32 [3] is missing."
    assert against(base[0], ("b", "F16", (3,))) == "Tensor 'b' is F16 [3], expected F32 [3]."
    assert against(base[0], ("b", "F32", (3, 1))) == "Tensor 'b' is F32 [3, 1], expected F32 [3]."
    assert against(*base, ("c", "I8", ())) == "Tensor 'c' I8 [] is not in the schema."
    turned = parse_schema(head_of({"b": entry(shape=[3], offsets=[0, 12]), "a": entry(shape=[2], offsets=[12, 20])}))
    assert "comes tensor" in str(difference(schema, turned))


def test_only_metadata_differs() -> None:
    tensors = {"a": entry()}
    one = parse_schema(head_of({"__metadata__": {"x": "1"}, **tensors}))
    two = parse_schema(head_of({"__metadata__": {"x": "2"}, **tensors}))
    assert "metadata" in str(difference(one, two))


def test_names_must_be_unique_and_known() -> None:
    with pytest.raises(SchemaMismatch, match="taken"):
        canonical_schema([("a", "F32", ()), ("a", "F32", ())])
    with pytest.raises(SchemaMismatch, match="taken"):
        canonical_schema([("__metadata__", "F32", ())])
    with pytest.raises(SchemaMismatch, match="dtype F5"):
        canonical_schema([("a", "F5", ())])
    with pytest.raises(SchemaMismatch, match="not JSON"):
        canonical_schema([("\ud800", "F32", ())])


def test_segments_cover_each_byte_once() -> None:
    schema = canonical_schema(
        [("big", "F32", (200_000,)), ("none", "F32", (0,)), ("small", "BF16", (3,)), ("wide", "F64", (5, 7_000))]
    )
    seen: dict[str, int] = {}
    for index in range(schema.chunks):
        position = 0
        for part in segments(schema, index):
            assert part.start == position < part.stop
            position = part.stop
            key = part.tensor.name if part.tensor else ""
            seen[key] = seen.get(key, 0) + part.stop - part.start
            if part.tensor:
                item = ITEM_SIZE[part.tensor.dtype]
                assert (index * CHUNK_SIZE + part.start - part.tensor.start) % item == 0
                assert (part.stop - part.start) % item == 0
        assert position == schema.chunk_size(index)
    assert seen == {"": len(schema.head), "big": 800_000, "small": 6, "wide": 280_000}
    for index in (-1, schema.chunks):
        with pytest.raises(IndexError):
            segments(schema, index)


def test_a_head_may_fill_several_chunks() -> None:
    schema = canonical_schema([(f"layer.{number:06}.weight", "F32", (2,)) for number in range(9_000)])
    assert len(schema.head) > 2 * CHUNK_SIZE
    assert [part.tensor for part in segments(schema, 1)] == [None]
    parts = segments(schema, len(schema.head) // CHUNK_SIZE)
    assert parts[0].tensor is None
    assert parts[1].tensor == schema.tensors[0]


def test_the_empty_model() -> None:
    schema = canonical_schema([])
    assert schema.head == b"\x08\0\0\0\0\0\0\0{}      "
    assert (schema.size, schema.chunks) == (16, 1)
    assert [part.tensor for part in segments(schema, 0)] == [None]


def test_the_vectors_are_current() -> None:
    assert json.loads(schema_vectors.GOOD_FILE.read_text()) == schema_vectors.good()
    assert json.loads(schema_vectors.BAD_FILE.read_text()) == schema_vectors.bad()
    for case in schema_vectors.good()["cases"]:
        schema = parse_schema(bytes.fromhex(case["head"]), case["size"])
        assert {tensor.name: tensor.start for tensor in schema.tensors} == case["starts"]
        assert sha256(schema.head).hexdigest() == case["digest"]
