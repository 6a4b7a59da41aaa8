"""The weighted mean of updates that may each move the model only so far (docs/protocol.md, section 8)."""

import math

import numpy as np

from swarmp2p.merge.base import BaseRule, Block, RoundMerge
from swarmp2p.merge.distances import Doubles, SquaredDistance
from swarmp2p.merge.floats import limit
from swarmp2p.merge.kernels import shares
from swarmp2p.merge.parameters import Parameter


class NormClipping(BaseRule):
    """Rule `norm_clipping/1;norm=…`: h' = h + sum(a_i min(1, norm / |x_i - h|) (x_i - h)), where a_i = w_i / sum(w) and h is
    the head that the updates were trained from.

    Z. Sun, P. Kairouz, A. T. Suresh, H. B. McMahan, "Can you really backdoor federated learning?", 2019 (norm thresholding
    of updates). It bounds what one member can do in a round, and does not stop one that is patient. |x - h| is the
    Euclidean norm over all float elements, as distances.py sums it. Integers and bools get their weighted mean.
    """

    NAME = "norm_clipping"
    WHOLE_VECTOR = True
    HEADS = 1
    PARAMETERS = (Parameter("norm", 1.0, 0, 1e30, above=True),)

    def look(self, merge: RoundMerge) -> list[float]:
        """a_i min(1, norm / |x_i - h|), in Python's floats."""
        count = len(merge.inputs.updates)
        distance, doubles, totals = SquaredDistance(), Doubles(count + 1), [0.0] * count
        for blocks in merge.float_blocks():
            for block in blocks:
                *rows, head = doubles([*block.values, block.heads[0]])
                totals = [total + distance(row, head) for total, row in zip(totals, rows, strict=True)]
        norm = self.number("norm")
        clipped = []
        for share, total in zip(shares(merge.inputs.weights), totals, strict=True):
            length = math.sqrt(total)
            clipped.append(share if length <= norm else share * (norm / length))
        return clipped

    def floats(self, block: Block) -> None:
        """See `BaseRule.floats`. The sum starts from h, in merge order."""
        head = block.heads[0]
        np.copyto(block.out, head)
        for values, coefficient in zip(block.values, block.first_pass, strict=True):
            np.subtract(values, head, out=block.spare)
            np.multiply(block.spare, block.spare.dtype.type(coefficient), out=block.spare)
            np.add(block.out, block.spare, out=block.out)
        limit(block.dtype, block.out)
