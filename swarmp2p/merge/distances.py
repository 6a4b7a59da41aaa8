"""Squared distances of whole vectors, equal to the bit on every machine (docs/protocol.md, section 8).

Whole-vector rules look at all float elements of the updates, in the order of the file, block by block; integers and bools
do not count. Of each block the differences are squared in float64, zeros are added up to a power of two, and then the
upper half is added to the lower half until one number is left. The blocks' numbers are added in their order. These are
element-wise operations only, which no machine can order otherwise, as it can with np.sum and np.dot.
"""

from collections.abc import Sequence

import numpy as np

from swarmp2p.merge.floats import Elements
from swarmp2p.merge.kernels import BLOCK


class SquaredDistance:
    """Squared Euclidean distances of blocks; one object's memory serves one thread."""

    def __init__(self) -> None:
        self._sums = np.empty(BLOCK, np.float64)

    def __call__(self, first: Elements, second: Elements) -> float:
        """The sum of (first - second)^2, each operation rounded to float64. At most BLOCK elements, of float64.

        Finite for elements of up to 1e36: the squares of 2^63 of them stay below 1e92.
        """
        count = first.size
        width = 1 << max(count - 1, 0).bit_length()
        sums = self._sums[:width]
        np.subtract(first, second, out=sums[:count])
        np.multiply(sums[:count], sums[:count], out=sums[:count])
        sums[count:] = 0.0
        while width > 1:
            width //= 2
            np.add(sums[:width], sums[width : 2 * width], out=sums[:width])
        return float(sums[0])


class Doubles:
    """Rows of a block in float64, which holds them exactly: NumPy is several times slower where it converts on the way."""

    def __init__(self, rows: int) -> None:
        self._rows = np.empty((rows, BLOCK), np.float64)

    def __call__(self, rows: Sequence[Elements]) -> list[Elements]:
        """The rows; the next call takes the memory."""
        wide = list(self._rows[: len(rows), : rows[0].size])
        for row, values in zip(wide, rows, strict=True):
            np.copyto(row, values)
        return wide

    def another(self, values: Elements) -> Elements:
        """One more row, in the last of the memory."""
        row = self._rows[-1, : values.size]
        np.copyto(row, values)
        return row
