"""Which updates are INVALID (docs/protocol.md, section 6)."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmp2p.core.errors import ConfigError, InvalidUpdate, SwarmError
from swarmp2p.core.schema import ITEM_SIZE, Schema, canonical_schema
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.validate import check_chunk, check_file

steady = settings(derandomize=True, deadline=None, max_examples=200)
FLOATS = {"F64": ("<d", 8), "F32": ("<f", 4), "F16": ("<e", 2), "BF16": ("", 2)}


def number(dtype: str, bits: bytes) -> float:
    if dtype == "BF16":
        dtype, bits = "F32", b"\0\0" + bits
    (value,) = struct.unpack(FLOATS[dtype][0], bits)
    return float(value)


def update(dtype: str, *elements: bytes) -> tuple[Schema, bytes]:
    schema = canonical_schema([("layer.bias", dtype, (len(elements),))])
    return schema, schema.head + b"".join(elements)


@steady
@given(st.data(), st.sampled_from(sorted(FLOATS)), st.floats(min_value=1e-40, max_value=1e36) | st.just(1e30))
def test_the_verdict_is_that_of_each_number(data: st.DataObject, dtype: str, max_abs: float) -> None:
    size = ITEM_SIZE[dtype]
    elements = data.draw(st.lists(st.binary(min_size=size, max_size=size), min_size=1, max_size=4))
    schema, chunk = update(dtype, *elements)
    wrong = [not abs(number(dtype, bits)) <= max_abs for bits in elements]
    if any(wrong):
        with pytest.raises(InvalidUpdate, match=f"'layer.bias'.* at element {wrong.index(True)}\\."):
            check_chunk(schema, 0, chunk, max_abs)
    else:
        check_chunk(schema, 0, chunk, max_abs)


@pytest.mark.parametrize(
    ("dtype", "bits", "what"),
    [
        ("F32", 0x7FC00000, "NaN"),
        ("F32", 0xFF800001, "NaN"),
        ("F32", 0xFF800000, "an infinity"),
        ("F32", 0x7F000000, r"a value beyond 1e\+30"),
        ("F64", 0xFFF0000000000000, "an infinity"),
        ("F64", 0x7FF0000000000001, "NaN"),
        ("F16", 0x7C00, "an infinity"),
        ("F16", 0xFE00, "NaN"),
        ("BF16", 0xFF80, "an infinity"),
        ("BF16", 0x7FC0, "NaN"),
        ("BF16", 0x7F7F, "a value beyond"),
        ("BOOL", 2, "a bool that is neither"),
    ],
)
def test_what_is_wrong_is_named(dtype: str, bits: int, what: str) -> None:
    schema, chunk = update(dtype, bytes(ITEM_SIZE[dtype]), bits.to_bytes(ITEM_SIZE[dtype], "little"))
    with pytest.raises(InvalidUpdate, match=what) as caught:
        check_chunk(schema, 0, chunk)
    assert caught.value.mend
    assert caught.value.chunk == 0


def test_limits_pass() -> None:
    for dtype, bits in (
        ("F16", 0x7BFF),
        ("F16", 0xFBFF),
        ("F32", 0x80000001),
        ("F64", 0x8000000000000000),
        ("I8", 0x80),
    ):
        check_chunk(*_first(dtype, bits))
    for max_abs in (float("nan"), float("inf"), 0.0, 2e38):
        with pytest.raises(ConfigError, match="maxAbs"):
            check_chunk(*_first("F32", 0), max_abs=max_abs)


def _first(dtype: str, bits: int) -> tuple[Schema, int, bytes]:
    schema, chunk = update(dtype, bits.to_bytes(ITEM_SIZE[dtype], "little"))
    return schema, 0, chunk


def large() -> tuple[Schema, bytearray]:
    schema = canonical_schema([("a", "F32", (100_000,)), ("b", "F32", (100_000,)), ("none", "F32", (0,))])
    return schema, bytearray(schema.head + np.linspace(-5, 5, 200_000, dtype="<f4").tobytes())


def test_a_file_names_chunk_tensor_and_element(tmp_path: Path) -> None:
    schema, data = large()
    path = tmp_path / "update.safetensors"
    path.write_bytes(data)
    check_file(path, schema)
    position = schema.by_name()["b"].start + 4 * 60_000
    data[position : position + 4] = struct.pack("<f", float("nan"))
    path.write_bytes(data)
    with pytest.raises(InvalidUpdate, match=r"'b' F32 \[100000\] has NaN at element 60000") as caught:
        check_file(path, schema)
    assert caught.value.chunk == position // CHUNK_SIZE == 2
    path.write_bytes(data[:-1])
    with pytest.raises(InvalidUpdate, match=f"{schema.size - 1} bytes, expected {schema.size}"):
        check_file(path, schema)


def test_another_head_is_invalid() -> None:
    schema, data = large()
    other = canonical_schema([("a", "F16", (100_000,)), ("b", "F32", (100_000,)), ("none", "F32", (0,))])
    with pytest.raises(InvalidUpdate, match="'a' is F16"):
        check_chunk(schema, 0, (other.head + data)[:CHUNK_SIZE])
    damaged = data[:CHUNK_SIZE]
    damaged[9] ^= 1
    with pytest.raises(InvalidUpdate, match="model file"):
        check_chunk(schema, 0, damaged)
    with pytest.raises(InvalidUpdate, match="Chunk 0 has 10 bytes"):
        check_chunk(schema, 0, data[:10])


@steady
@given(st.binary(max_size=400), st.booleans())
def test_garbage_raises_nothing_else(data: bytes, sized: bool) -> None:
    schema = canonical_schema([("w", "F32", (30,)), ("flag", "BOOL", (9,))])
    if sized:
        data = (schema.head + data)[: schema.size].ljust(schema.size, b"\0")
    try:
        check_chunk(schema, 0, data)
    except SwarmError as error:
        assert isinstance(error, InvalidUpdate)  # noqa: PT017
