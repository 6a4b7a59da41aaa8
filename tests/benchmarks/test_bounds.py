"""The formulas that benchmarks print their figures beside (docs/benchmarks.md)."""

import pytest

from benchmarks.peers import Setting
from benchmarks.primitives import Primitives, bound


@pytest.mark.parametrize(
    ("peers", "f", "models"), [(4, 0, 1.5), (4, 1, 2.0), (4, 2, 2.5), (4, 3, 3.0), (8, 0, 1.75), (8, 1, 2.5), (1, 0, 0)]
)
def test_models_that_a_peer_receives(peers: int, f: int, models: float) -> None:
    assert Setting(peers=peers, f=f).models_in == pytest.approx(models)


def test_the_bound_counts_each_primitive_once() -> None:
    setting = Setting(peers=4, mib=1e6 / 2**20, f=1)  # a model of a megabyte
    free = 1e12
    assert bound(setting, Primitives(1, free, free, free), 1) == pytest.approx(4 * (2.0 + 1 + 0.5))
    assert bound(setting, Primitives(free, 1, free, free), 1) == pytest.approx(4 * 2.0)
    assert bound(setting, Primitives(free, free, 1, free), 1) == pytest.approx(4 * (2.0 + 1 + 0.5))
    assert bound(setting, Primitives(free, free, free, 1), 2) == pytest.approx(4 * 2.0 / 2)
