"""The point with the smallest sum of distances to all updates (docs/protocol.md, section 8)."""

import math
from collections.abc import Sequence

from swarmp2p.merge.base import BaseRule, Block, RoundMerge
from swarmp2p.merge.coordinate_median import middle_of
from swarmp2p.merge.distances import Doubles, SquaredDistance
from swarmp2p.merge.floats import sum_of_products
from swarmp2p.merge.kernels import KERNELS, MAX_WEIGHT, shares
from swarmp2p.merge.parameters import Parameter


class GeometricMedian(BaseRule):
    """Rule `geometric_median/1;iterations=…;nu=…`: z minimises sum(a_i |x_i - z|), where a_i = w_i / sum(w).

    By the smoothed Weiszfeld algorithm of K. Pillutla, S. M. Kakade, Z. Harchaoui, "Robust aggregation for federated
    learning", 2022 (RFA): `iterations` times b_i = a_i / max(nu, |x_i - z|), z = sum(b_i x_i) / sum(b_i). It starts from the
    coordinate median. From the mean, as usual, each iteration only takes off a part of what a liar far away has moved it,
    so that a lie of 1e30 would outlast them all. It withstands liars that hold less than half of the weight, so invitations
    should cap weights. Distances are over all float elements together, one number an update and iteration, as distances.py
    sums them. Integers and bools get their mean by the last b_i, as whole numbers of 31 bits.

    Each iteration reads all updates once, with flat memory.
    """

    NAME = "geometric_median"
    WHOLE_VECTOR = True
    PARAMETERS = (Parameter("iterations", 8, 1, 100), Parameter("nu", 1e-6, 0, 1e6, above=True))

    def look(self, merge: RoundMerge) -> list[float]:
        """The final shares b_i / sum(b), from which z is made. Arithmetic in Python's floats, in merge order."""
        ours, current = shares(merge.inputs.weights), None
        nu = self.number("nu")
        for _ in range(int(self.number("iterations"))):
            distances = [math.sqrt(each) for each in self._squared_distances(merge, current)]
            pulls = [share / max(nu, distance) for share, distance in zip(ours, distances, strict=True)]
            total = 0.0
            for pull in pulls:
                total += pull
            current = [pull / total for pull in pulls]
        assert current is not None
        return current

    def _squared_distances(self, merge: RoundMerge, current: Sequence[float] | None) -> list[float]:
        """From z as these shares make it; None: from the coordinate median."""
        count = len(merge.inputs.updates)
        distance, doubles, totals = SquaredDistance(), Doubles(count + 1), [0.0] * count
        for blocks in merge.float_blocks():
            for block in blocks:
                rows = doubles(block.values)
                if current is None:
                    middle_of(block)
                else:
                    sum_of_products(block.values, current, block.out, block.spare)
                middle = doubles.another(block.out)
                totals = [total + distance(row, middle) for total, row in zip(totals, rows, strict=True)]
        return totals

    def floats(self, block: Block) -> None:
        """See `BaseRule.floats`."""
        sum_of_products(block.values, block.first_pass, block.out, block.spare)

    def integers(self, block: Block) -> None:
        """See `BaseRule.integers`."""
        weights = [min(1 + int(share * 2**31), MAX_WEIGHT) for share in block.first_pass]
        KERNELS[block.dtype][1](block.values, weights, block.out)
