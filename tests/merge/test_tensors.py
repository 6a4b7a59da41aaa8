"""Learners' tensors to files and back, as plain safetensors reads and writes them."""

import errno
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmp2p.core.errors import MalformedModel, QuotaExceeded, SchemaMismatch, SwarmError
from swarmp2p.core.schema import Schema, parse_schema, require_aligned
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge import tensors
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.tensors import kind_of, read_schema, read_weights, schema_of, write_watched, write_weights
from swarmp2p.merge.weighted_mean import WeightedMean
from tests.merge.files import merge_file

NUMPY = [np.dtype(name) for name in ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]]
TORCH = [getattr(torch, name) for name in tensors._TORCH.values()]


def numpy_model() -> dict[str, Any]:
    model: dict[str, Any] = {f"layer.{d.name}": np.arange(6).reshape(2, 3).astype(d) for d in NUMPY}
    model["half"] = np.array([1.5, -2, 0], ml_dtypes.bfloat16)
    model["scalar"] = np.float32(4.5)
    model["zero-dimensional"] = np.array(7, np.int64)
    model["empty"] = np.zeros((0, 4), np.float32)
    return model


def torch_model() -> dict[str, Any]:
    model = {f"layer.{dtype}": torch.arange(6).reshape(2, 3).to(dtype) for dtype in TORCH}
    model["scalar"] = torch.tensor(4.5, dtype=torch.bfloat16)
    model["empty"] = torch.zeros((3, 0))
    return model


def test_numpy_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = numpy_model()
    schema = write_weights(model, path)
    assert schema == read_schema(path) == schema_of(model)
    require_aligned(schema)
    back = read_weights(path, like=model)
    assert back.keys() == model.keys()
    for name, value in model.items():
        assert back[name].dtype == value.dtype
        assert back[name].shape == value.shape
        assert np.array_equal(back[name], value)
        assert back[name].flags.writeable
    assert list(tmp_path.iterdir()) == [path]


def test_torch_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = torch_model()
    write_weights(model, path)
    for kind in (model, "torch"):
        back = read_weights(path, like=kind)
        assert back.keys() == model.keys()
        for name, value in model.items():
            assert back[name].dtype == value.dtype
            assert back[name].shape == value.shape
            assert torch.equal(back[name], value)
    assert safetensors.torch.load_file(path).keys() == model.keys()


def test_torch_and_numpy_give_the_same_file(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    schema = write_weights({"w": values, "b": np.int64(3)}, tmp_path / "numpy")
    assert write_weights({"b": torch.tensor(3), "w": torch.from_numpy(values)}, tmp_path / "torch") == schema
    assert (tmp_path / "numpy").read_bytes() == (tmp_path / "torch").read_bytes()


def test_any_memory_order_is_written_in_c_order(tmp_path: Path) -> None:
    plain = np.arange(24, dtype=np.float32).reshape(4, 6)
    forms = {
        "fortran": np.asfortranarray(plain),
        "strided": np.repeat(plain, 2, axis=1)[:, ::2],
        "backwards": plain[::-1, ::-1][::-1, ::-1],
        "big-endian": plain.astype(">f4"),
        "read-only": np.broadcast_to(plain, plain.shape),
        "transposed torch": torch.from_numpy(plain.T.copy()).T,
        "requires grad": torch.nn.Parameter(torch.from_numpy(plain.copy())),
        "view with an offset": torch.cat([torch.zeros(3), torch.from_numpy(plain).reshape(-1)])[3:].reshape(4, 6),
    }
    write_weights(forms, tmp_path / "file")
    for name, value in safetensors.numpy.load_file(tmp_path / "file").items():
        assert np.array_equal(value, plain), name


def test_a_state_dict_can_be_loaded_again(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    write_weights(model.state_dict(), tmp_path / "file")
    torch.manual_seed(2)
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    other.load_state_dict(read_weights(tmp_path / "file", like=other.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_schemas_head_is_kept(tmp_path: Path) -> None:
    """A genesis that another program wrote, with metadata: updates get its head byte for byte, from any source."""
    genesis = tmp_path / "genesis.safetensors"
    first: dict[str, Any] = {"b": np.zeros(3, np.float32), "a": np.zeros((2, 2), np.float16)}
    safetensors.numpy.save_file(first, genesis, {"format": "pt"})
    schema = read_schema(genesis)
    second: dict[str, Any] = {"a": np.ones((2, 2), np.float16), "b": np.full(3, 2, np.float32)}
    write_weights(second, tmp_path / "arrays", schema)
    safetensors.numpy.save_file(second, tmp_path / "plain", {"other": "metadata"})
    write_weights(tmp_path / "plain", tmp_path / "copied", schema)
    write_weights(tmp_path / "plain", tmp_path / "plain", schema)
    for name in ("arrays", "copied", "plain"):
        data = (tmp_path / name).read_bytes()
        assert data.startswith(schema.head)
        assert len(data) == schema.size
        assert all(np.array_equal(value, second[key]) for key, value in safetensors.numpy.load(data).items())
    canonical = write_weights(genesis, tmp_path / "canonical")
    assert canonical != schema
    assert canonical == schema_of(genesis) == schema_of(first)
    assert kind_of(genesis) == "numpy"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"w": np.zeros((2, 3), np.float32)}, r"Tensor 'b' F32 \[3\] is missing"),
        (
            {"w": np.zeros((3, 2), np.float32), "b": np.zeros(3, np.float32)},
            r"'w' is F32 \[3, 2\], expected F32 \[2, 3\]",
        ),
        ({"w": torch.zeros(2, 3), "b": torch.zeros(3).bfloat16()}, r"'b' is BF16 \[3\], expected F32 \[3\]"),
        ({"w": np.zeros((2, 3)), "b": np.zeros(3, np.float32)}, r"'w' is F64 \[2, 3\], expected F32"),
        (
            {"w": np.zeros((2, 3), "f4"), "b": np.zeros(3, "f4"), "c": np.zeros(1)},
            r"Tensor 'c' F64 \[1\] is not in the schema",
        ),
        ({}, "is missing"),
        ({"w": [1.0, 2.0]}, "'w' is list, not an array"),
        ({"w": None}, "'w' is NoneType, not an array"),
        ({"w": np.zeros(2, np.complex64)}, "'w' is complex64"),
        ({"w": np.array(["a"])}, "'w' is <U1"),
        ({"w": np.array([None])}, "'w' is object"),
        ({"w": np.zeros(2, ml_dtypes.float8_e4m3fn)}, "'w' is float8_e4m3fn"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "'w' is torch.complex64"),
        ({"w": torch.zeros(2).to_sparse()}, "'w' is sparse"),
        ({"w": torch.zeros(2, device="meta")}, r"without data \(meta\)"),
        ({3: np.zeros(1)}, "3 cannot name a tensor"),
        ({"__metadata__": np.zeros(1)}, "cannot name a tensor"),
        ({"\udcff": np.zeros(1)}, "JSON|Unicode"),
        ([np.zeros(1)], "are list, not a mapping"),
        ("model.safetensors", "are str, not a mapping"),
    ],
)
def test_what_does_not_fit_is_named(weights: Any, message: str, tmp_path: Path) -> None:
    schema = schema_of({"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)})
    with pytest.raises(SchemaMismatch, match=message) as caught:
        write_weights(weights, tmp_path / "file", schema)
    assert caught.value.mend
    assert list(tmp_path.iterdir()) == []


def test_the_empty_mapping(tmp_path: Path) -> None:
    path = tmp_path / "file"
    schema = write_weights({}, path)
    assert schema.size == 16
    assert read_weights(path) == read_weights(path, "torch") == safetensors.numpy.load_file(path) == {}


def test_broken_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_weights({"w": np.zeros(100, np.float32)}, path)
    data = path.read_bytes()
    torch.save({"w": torch.zeros(3)}, tmp_path / "model.pt")
    with pytest.raises(MalformedModel, match=r"model\.pt: .*zip archive") as caught:
        read_weights(tmp_path / "model.pt")
    assert "save_file" in caught.value.mend
    for broken in (b"", data[:5], data[:50], data[:-1], data + b"\0", b"\0" * 500):
        path.write_bytes(broken)
        for use in (read_schema, read_weights, schema_of, lambda p: write_weights(p, tmp_path / "out")):
            with pytest.raises(MalformedModel, match=r"model\.safetensors: "):
                use(path)
    assert not (tmp_path / "out").exists()


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_garbage_raises_nothing_else(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage"
    path.write_bytes(data)
    with pytest.raises(SwarmError):
        read_weights(path)


class Unwilling:
    """An array whose bytes cannot be had."""

    dtype = np.dtype("f4")

    def __init__(self) -> None:
        self.asked = 0

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self.asked += 1
        if self.asked > 1:
            raise RuntimeError("the device is gone")
        return np.zeros(3, np.float32)


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_weights({"w": np.ones(3, np.float32)}, path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="device is gone"):
        write_weights({"w": Unwilling()}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, QuotaExceeded), (errno.EDQUOT, QuotaExceeded), (errno.EIO, OSError)]
)
def test_a_full_disk(number: int, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(number, "as if")

    monkeypatch.setattr(tensors.os, "fsync", full)  # type: ignore[attr-defined]
    with pytest.raises(error):
        write_weights({"w": np.ones(3, np.float32)}, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_in_numpy_needs_ml_dtypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_weights({"w": torch.ones(3, dtype=torch.bfloat16)}, path)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(SchemaMismatch, match=r"'w' BF16 \[3\]") as caught:
        read_weights(path)
    assert "pip install ml_dtypes" in caught.value.mend
    assert torch.equal(read_weights(path, "torch")["w"], torch.ones(3, dtype=torch.bfloat16))


def test_torch_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    monkeypatch.setitem(sys.modules, "torch", None)
    write_weights({"w": np.ones(3, np.float32)}, path)
    assert read_weights(path)["w"].sum() == 3
    with pytest.raises(SchemaMismatch, match="torch is not installed"):
        read_weights(path, "torch")


def test_float8_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    safetensors.torch.save_file({"scale": torch.zeros(4).to(torch.float8_e4m3fn)}, path)
    for use in (read_weights, lambda p: write_weights(p, tmp_path / "out")):
        with pytest.raises(SchemaMismatch, match=r"'scale'.*F8_E4M3"):
            use(path)


def merge_files(paths: list[Path], out: Path) -> Schema:
    schema = read_schema(paths[0])
    inputs = [path.read_bytes() for path in paths]
    assert schema.chunks == 1
    out.write_bytes(merge_file(WeightedMean(), schema, inputs, [1] * len(inputs)))
    return schema


def test_a_merged_float32_model_opens_with_plain_safetensors(tmp_path: Path) -> None:
    for number in (1, 2):
        write_weights({"w": np.full((2, 2), number, np.float32)}, tmp_path / f"{number}")
    merge_files([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    assert np.array_equal(safetensors.numpy.load_file(tmp_path / "merged")["w"], np.full((2, 2), 1.5))


def test_a_merged_bfloat16_model_opens_with_safetensors_torch(tmp_path: Path) -> None:
    for number in (1, 2):
        write_weights({"w": torch.full((2, 2), number, dtype=torch.bfloat16)}, tmp_path / f"{number}")
    merge_files([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    merged = safetensors.torch.load_file(tmp_path / "merged")["w"]
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged, torch.full((2, 2), 1.5, dtype=torch.bfloat16))


def test_each_mergeable_dtype_can_be_read_and_written() -> None:
    assert set(tensors._TORCH) == set(KERNELS) == set(tensors._NUMPY) | {"BF16"}
    assert parse_schema(schema_of({}).head).tensors == ()


@pytest.mark.parametrize("first", [0, 1, 3, 6, 7, 100])
def test_a_file_is_the_same_whichever_chunk_it_begins_with(tmp_path: Path, first: int) -> None:
    sizes = [3, 3 * CHUNK_SIZE // 4, 0, CHUNK_SIZE // 8, CHUNK_SIZE // 2 + 5]
    model = {f"layer{i}": np.arange(size, dtype=np.float32) + i for i, size in enumerate(sizes)}
    schema = write_weights(model, tmp_path / "plain")
    plain = (tmp_path / "plain").read_bytes()
    shown: list[int] = []

    def look(index: int, chunk: memoryview) -> None:
        assert chunk == plain[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]
        shown.append(index)

    write_watched(model, tmp_path / "watched", schema, look, first=first)
    assert (tmp_path / "watched").read_bytes() == plain
    cut = min(first, schema.chunks)
    assert shown == [*range(cut, schema.chunks), *range(cut)]
