"""The kernel self-test: passes here, equals the exact reference, and notices a wrong kernel."""

from collections.abc import Iterator
from hashlib import sha256

import numpy as np
import pytest

from swarmp2p.core.errors import KernelFault
from swarmp2p.merge import kernels
from swarmp2p.merge.base import BaseRule, RoundMerge
from swarmp2p.merge.floats import Elements
from swarmp2p.merge.layout import Run
from swarmp2p.merge.registry import RULES, rule_from_id
from swarmp2p.merge.self_test import (
    KNOWN,
    NOISE_COUNT,
    NOISE_DIGESTS,
    NOISE_WEIGHTS,
    RULE_DIGESTS,
    noise,
    self_test,
)
from swarmp2p.merge.wire import WIRES
from tests.merge.reference import ITEM, decode, weighted_mean


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    self_test.cache_clear()
    yield
    self_test.cache_clear()


def test_this_machine_passes_once() -> None:
    self_test()
    self_test()
    assert self_test.cache_info().misses == 1


@pytest.mark.parametrize("dtype", sorted(kernels.KERNELS))
def test_the_digests_are_the_references(dtype: str) -> None:
    inputs = [noise(dtype, position) for position in range(3)]
    assert sha256(weighted_mean(dtype, inputs, NOISE_WEIGHTS)).hexdigest() == NOISE_DIGESTS[dtype]
    if dtype in ITEM:
        values = decode(dtype, inputs[0])
        assert len(values) == NOISE_COUNT
        assert max(map(abs, values)) < 32


def test_the_known_vectors_are_the_references() -> None:
    for dtype, weights, inputs, expected in KNOWN:
        assert weighted_mean(dtype, [bytes.fromhex(data) for data in inputs], weights).hex() == expected


def test_every_rule_and_wire_is_tested() -> None:
    tested = [rule_from_id(rule_id) for rule_id in RULE_DIGESTS]
    assert {type(rule) for rule in tested} == set(RULES.values())
    assert {rule.wire.name for rule in tested} == set(WIRES)


@pytest.mark.parametrize("rule_id", RULE_DIGESTS)
def test_a_wrong_rule_is_noticed(rule_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = RULES[rule_id.partition("/")[0]]
    honest = rule.run

    def careless(self: BaseRule, merge: RoundMerge, run: Run, out: Elements) -> None:
        honest(self, merge, run, out)
        out.view(np.uint8)[-1] ^= 1

    monkeypatch.setattr(rule, "run", careless)
    with pytest.raises(KernelFault):
        self_test()


@pytest.mark.parametrize("dtype", sorted(kernels.KERNELS))
def test_a_wrong_kernel_is_noticed(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, kernel = kernels.KERNELS[dtype]

    def careless(inputs: list[Elements], weights: list[int], out: Elements) -> None:
        kernel(inputs, weights, out)
        out.view(np.uint8)[-1] ^= 1

    monkeypatch.setitem(kernels.KERNELS, dtype, (stored, careless))
    for _ in range(2):  # a failure is not remembered as a success
        with pytest.raises(KernelFault, match=f"Merging {dtype} ") as caught:
            self_test()
        assert caught.value.mend
