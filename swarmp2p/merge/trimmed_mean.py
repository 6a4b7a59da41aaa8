"""The mean without the smallest and largest values, element by element (docs/protocol.md, section 8)."""

import math

import numpy as np

from swarmp2p.merge.base import BaseRule, Block
from swarmp2p.merge.floats import Elements
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.network import order_statistics
from swarmp2p.merge.parameters import Parameter


class TrimmedMean(BaseRule):
    """Rule `trimmed_mean/1;beta=…`: of n values the b = floor(beta n) smallest and the b largest are left out, and the
    others' mean is (x_(b+1) + … + x_(n-b)) / (n - 2b), summed in ascending order.

    The coordinate-wise trimmed mean of D. Yin et al., "Byzantine-robust distributed learning: towards optimal statistical
    rates", 2018 (definition 2). It withstands b liars; with fewer than 1 / beta updates that is none. Weights do not
    count: members declare them themselves. Integers round half to even, and bools that are tied are False.
    """

    NAME = "trimmed_mean"
    PARAMETERS = (Parameter("beta", 0.25, 0, 0.5, above=True, below=True),)

    @property
    def min_updates(self) -> int:
        """So many that one is left out at each end."""
        return math.ceil(1 / self.number("beta"))

    def _kept(self, rows: list[Elements], spare: Elements) -> list[Elements]:
        count = len(rows)
        cut = math.floor(self.number("beta") * count)
        return order_statistics(rows, range(cut, count - cut), spare)

    def floats(self, block: Block) -> None:
        """See `BaseRule.floats`."""
        kept = self._kept(block.values, block.spare)
        np.copyto(block.out, kept[0])
        for values in kept[1:]:
            np.add(block.out, values, out=block.out)
        np.divide(block.out, block.out.dtype.type(len(kept)), out=block.out)

    def integers(self, block: Block) -> None:
        """See `BaseRule.integers`."""
        rows = [values.copy() for values in block.values]
        kept = self._kept(rows, rows[0].copy())
        KERNELS[block.dtype][1](kept, [1] * len(kept), block.out)
