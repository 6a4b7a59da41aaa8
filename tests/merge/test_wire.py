"""Encoding updates: what they decode to, error feedback, and what cannot be sent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swarmp2p.core.errors import InvalidUpdate, MalformedModel
from swarmp2p.core.schema import Schema, canonical_schema
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.floats import FLOATS
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.registry import rule_from_draft
from swarmp2p.merge.tensors import read_schema, read_weights, write_weights
from swarmp2p.merge.validate import check_file
from tests.merge.files import merge_file
from tests.merge.noise_files import file_with
from tests.merge.test_rules import MIXED

LOSSY = ["bf16", "f16", "int8"]
SIZE = 200_001
"""Elements: more than two batches, and no multiple of a scale's block."""


def model(folder: Path, name: str, values: Any) -> Path:
    path = folder / name
    write_weights({"w": np.asarray(values, np.float32), "n": np.arange(3)}, path)
    return path


def values(dtype: str, data: bytes) -> Any:
    """Elements as numbers."""
    stored = np.frombuffer(data, KERNELS[dtype][0])
    return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32) if dtype == "BF16" else stored


def decoded(wire: str, update: Path, head: Path) -> Any:
    """What a swarm of one member merges it to."""
    rule = rule_from_draft(f"krum;wire={wire}")
    heads = [head.read_bytes()][: rule.heads]
    schema = read_schema(head)
    merged = merge_file(rule, schema, [update.read_bytes()], [1], heads)
    tensor = schema.by_name()["w"]
    return np.frombuffer(merged[tensor.start : tensor.stop], np.float32)


@pytest.mark.parametrize("wire", LOSSY)
def test_an_update_says_nearly_the_weights_and_the_residual_the_rest(wire: str, tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    before = chance.normal(size=SIZE).astype(np.float32)
    weights = before + chance.normal(scale=0.01, size=SIZE).astype(np.float32)
    head, own = model(tmp_path, "head", before), model(tmp_path, "own", weights)
    update, left = tmp_path / "update", tmp_path / "left"
    rule = rule_from_draft(f"weighted_mean;wire={wire}")
    rule.wire.encode(own, head, None, update, left)
    check_file(update, rule.update_schema(read_schema(head)))
    assert update.stat().st_size < (0.27 if wire == "int8" else 0.51) * own.stat().st_size
    said = decoded(wire, update, head)
    step = {"bf16": np.abs(weights).max() / 256, "f16": np.abs(weights).max() / 2048, "int8": 0.06 / 127}[wire]
    assert 0 < np.abs(said - weights).max() <= step
    np.testing.assert_array_equal(read_weights(left)["w"], weights - said)
    assert set(read_weights(left)) == {"w"}


@pytest.mark.parametrize("wire", ["bf16", "f16"])
def test_halves_are_torchs_roundings(wire: str, tmp_path: Path) -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(3)) * 3
    head = model(tmp_path, "head", np.zeros(5000))
    rule_from_draft(f"krum;wire={wire}").wire.encode(
        model(tmp_path, "own", values.numpy()), head, None, tmp_path / "update", tmp_path / "left"
    )
    rounded = values.to(torch.bfloat16 if wire == "bf16" else torch.float16).float().numpy()
    np.testing.assert_array_equal(decoded(wire, tmp_path / "update", head), rounded)


@pytest.mark.parametrize("wire", LOSSY)
def test_small_changes_add_up_by_error_feedback(wire: str, tmp_path: Path) -> None:
    """Each round moves one element by far less than the wire can say; without feedback it would stay for ever."""
    head_values = np.full(256, 1.0, np.float32)
    change = np.full(256, 2e-4, np.float32)
    change[0] = 0.1  # sets the scale of the block on int8
    residual: Path | None = None
    for round_ in range(40):
        head = model(tmp_path, "head", head_values)
        own = model(tmp_path, "own", head_values + change)
        left = tmp_path / f"left{round_}"
        rule_from_draft(f"krum;wire={wire}").wire.encode(own, head, residual, tmp_path / "update", left)
        residual = left
        head_values = decoded(wire, tmp_path / "update", head)
    assert head_values[1:] == pytest.approx(1.008, abs={"bf16": 2**-7, "f16": 2**-10, "int8": 1e-3}[wire])
    assert head_values[0] == pytest.approx(5.0, rel=0.01)
    still = np.full(256, 1.0, np.float32)
    for _ in range(3):  # the same without feedback
        head = model(tmp_path, "head", still)
        own = model(tmp_path, "own", still + change)
        rule_from_draft(f"krum;wire={wire}").wire.encode(own, head, None, tmp_path / "update", tmp_path / "left")
        still = decoded(wire, tmp_path / "update", head)
    assert (still[1:] == 1.0).all()


@pytest.mark.parametrize("wire", LOSSY)
def test_every_dtype_travels(wire: str, tmp_path: Path) -> None:
    rule = rule_from_draft(f"krum;wire={wire}")
    schema = canonical_schema(MIXED)
    own, head = tmp_path / "own", tmp_path / "head"
    own.write_bytes(file_with(schema, 3))
    head.write_bytes(file_with(schema, 4))
    rule.wire.encode(own, head, None, tmp_path / "update", tmp_path / "left")
    update = (tmp_path / "update").read_bytes()
    assert len(update) == rule.update_schema(schema).size
    merged = merge_file(rule, schema, [update], [1], [head.read_bytes()][: rule.heads])
    for tensor in schema.tensors:
        sent, got = own.read_bytes()[tensor.start : tensor.stop], merged[tensor.start : tensor.stop]
        wanted, made = values(tensor.dtype, sent), values(tensor.dtype, got)
        if tensor.dtype not in FLOATS or (wire != "int8" and tensor.dtype in ("F16", "BF16")):
            np.testing.assert_array_equal(made, wanted)
        else:
            np.testing.assert_allclose(made, wanted, rtol=2**-7, atol=64 / 254)


def test_a_block_that_has_not_moved_has_scale_zero(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 600, dtype=np.float32)
    head = model(tmp_path, "head", values)
    values[:256] += 1
    rule_from_draft("krum;wire=int8").wire.encode(
        model(tmp_path, "own", values), head, None, tmp_path / "update", tmp_path / "left"
    )
    update = read_weights(tmp_path / "update")
    assert list(update["w:scale"] > 0) == [True, False, False]
    np.testing.assert_array_equal(decoded("int8", tmp_path / "update", head)[256:], values[256:])


def test_what_a_wire_cannot_hold(tmp_path: Path) -> None:
    head = model(tmp_path, "head", np.zeros(4))
    large = model(tmp_path, "large", [0, 7e4, 0, 0])
    with pytest.raises(InvalidUpdate, match=r"'w' F32.*f16 cannot hold") as caught:
        rule_from_draft("krum;wire=f16").wire.encode(large, head, None, tmp_path / "update", tmp_path / "left")
    assert "bf16" in caught.value.mend
    assert {path.name for path in tmp_path.iterdir()} == {"head", "large"}


def test_a_residual_of_another_model(tmp_path: Path) -> None:
    head = model(tmp_path, "head", np.zeros(4))
    with pytest.raises(MalformedModel, match="another model"):
        rule_from_draft("krum;wire=int8").wire.encode(head, head, head, tmp_path / "update", tmp_path / "left")


@pytest.mark.parametrize("wire", ["plain", *LOSSY])
def test_which_chunks_of_updates_a_chunk_of_the_model_needs(wire: str) -> None:
    """Together all; and of a slice only its part, so that k leaders do not fetch everything k times."""
    rule = rule_from_draft(f"weighted_mean;wire={wire}")
    schema: Schema = canonical_schema([(f"t{number:02}", "F32", (CHUNK_SIZE // 16,)) for number in range(64)])
    update = rule.update_schema(schema)
    wanted = [rule.update_chunks(schema, [chunk]) for chunk in range(schema.chunks)]
    assert set.union(*wanted) == set(range(update.chunks)) == rule.update_chunks(schema, range(schema.chunks))
    most = {"plain": 1, "bf16": 2, "f16": 2, "int8": 3}[wire]
    assert max(map(len, wanted)) <= most
