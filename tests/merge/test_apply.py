"""Elastic averaging and plain replacement as a peer's apply step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swarmp2p.core.errors import ConfigError
from swarmp2p.core.schema import canonical_schema
from swarmp2p.merge.apply import Elastic, apply_from_text
from swarmp2p.merge.registry import rule_from_draft
from swarmp2p.merge.tensors import read_weights, write_weights
from tests.merge.noise_files import file_with
from tests.merge.test_rules import MIXED


def test_elastic_averaging_by_its_definition(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    own: dict[str, Any] = {
        "a": chance.normal(size=100_000).astype(np.float32),
        "b": chance.normal(size=7),
        "n": np.arange(4),
    }
    merged: dict[str, Any] = {
        "a": chance.normal(size=100_000).astype(np.float32),
        "b": chance.normal(size=7),
        "n": np.arange(4) + 9,
    }
    write_weights(own, tmp_path / "own")
    write_weights(merged, tmp_path / "merged")
    apply_from_text("elastic/1;alpha=0.25").mix(tmp_path / "own", tmp_path / "merged", tmp_path / "out")
    mixed = read_weights(tmp_path / "out")
    for name in ("a", "b"):
        expected = own[name] - 0.25 * (own[name] - merged[name])
        np.testing.assert_allclose(mixed[name], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(mixed["n"], merged["n"])


def test_all_of_the_merged_model_and_every_dtype(tmp_path: Path) -> None:
    """alpha = 1 is the merged model, here one with moments, which the learner's weights have not."""
    rule, weights = rule_from_draft("fedadam"), canonical_schema(MIXED)
    model = rule.model_schema(weights)
    (tmp_path / "own").write_bytes(file_with(weights, 1))
    (tmp_path / "merged").write_bytes(file_with(model, 2))
    Elastic(1.0).mix(tmp_path / "own", tmp_path / "merged", tmp_path / "out")
    out, merged = (tmp_path / "out").read_bytes(), (tmp_path / "merged").read_bytes()
    assert out[: len(weights.head)] == weights.head
    for tensor in weights.tensors:
        place = model.by_name()[tensor.name]
        if tensor.dtype not in ("F16", "BF16", "F32", "F64"):
            assert out[tensor.start : tensor.stop] == merged[place.start : place.stop]
        elif tensor.dtype in ("F32", "F64"):
            dtype = f"<f{tensor.dtype[1:]}".replace("32", "4").replace("64", "8")
            got, wanted = (np.frombuffer(d[t.start : t.stop], dtype) for d, t in ((out, tensor), (merged, place)))
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_ids() -> None:
    assert apply_from_text("replace/1").replaces
    assert apply_from_text("replace", complete=False).id == "replace/1"
    assert apply_from_text("elastic", complete=False).id == "elastic/1;alpha=0.5"
    assert apply_from_text("elastic;alpha=0.10", complete=False).id == "elastic/1;alpha=0.1"
    for text, word in {
        "elastic": "not a merge rule's id",
        "elastic/1": "not written in full",
        "elastic/2;alpha=0.5": "version 1",
        "elastic/1;alpha=0": "alpha=0 is not possible",
        "elastic/1;alpha=1.5": "alpha=1.5 is not possible",
        "elastic/1;beta=1": "no parameter 'beta'",
        "replace/1;alpha=1": "no apply rule",
        "swap/1": "no apply rule",
    }.items():
        with pytest.raises(ConfigError, match=word) as caught:
            apply_from_text(text)
        assert caught.value.mend
