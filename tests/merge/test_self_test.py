"""The kernel self-test: passes here, equals the exact reference, and notices a wrong kernel."""

from collections.abc import Iterator
from hashlib import sha256

import numpy as np
import pytest

from swarmp2p.core.errors import KernelFault
from swarmp2p.merge import kernels
from swarmp2p.merge.floats import Elements
from swarmp2p.merge.self_test import KNOWN, NOISE_COUNT, NOISE_DIGESTS, NOISE_WEIGHTS, noise, self_test
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
