"""The median of all updates, element by element (docs/protocol.md, section 8)."""

import numpy as np

from swarmp2p.merge.base import BaseRule, Block
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.network import order_statistics


class CoordinateMedian(BaseRule):
    """Rule `coordinate_median/1`: the middle one of n values, or (a + b) / 2 of the two in the middle.

    The coordinate-wise median of D. Yin et al., "Byzantine-robust distributed learning: towards optimal statistical rates",
    2018 (definition 1). Weights do not count: members declare them themselves, and one that lies must not have more say.
    Integers round (a + b) / 2 half to even, and bools that are tied are False.
    """

    NAME = "coordinate_median"

    def floats(self, block: Block) -> None:
        """See `BaseRule.floats`."""
        middle_of(block)

    def integers(self, block: Block) -> None:
        """See `BaseRule.integers`."""
        count = len(block.values)
        rows = [values.copy() for values in block.values]
        middle = order_statistics(rows, {(count - 1) // 2, count // 2}, rows[0].copy())
        KERNELS[block.dtype][1](middle, [1] * len(middle), block.out)


def middle_of(block: Block) -> None:
    """Writes the median of a block's floats to its `out`; spoils its values."""
    count = len(block.values)
    middle = order_statistics(block.values, {(count - 1) // 2, count // 2}, block.spare)
    if len(middle) == 1:
        np.copyto(block.out, middle[0])
    else:
        np.add(middle[0], middle[1], out=block.out)
        np.multiply(block.out, block.out.dtype.type(0.5), out=block.out)
