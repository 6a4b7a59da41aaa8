"""The updates that lie closest to the others (docs/protocol.md, section 8)."""

from collections.abc import Sequence

import numpy as np

from swarmp2p.merge.base import BaseRule, Block, RoundMerge
from swarmp2p.merge.distances import Doubles, SquaredDistance
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.parameters import Parameter


class Krum(BaseRule):
    """Rule `krum/1;f=…`: the one update with the smallest score, as it is; its score is the sum of the squared distances to
    the n - f - 2 updates nearest to it.

    P. Blanchard, E. M. El Mhamdi, R. Guerraoui, J. Stainer, "Machine learning with adversaries: Byzantine tolerant gradient
    descent", 2017. It withstands f liars among n >= 2 f + 3 updates, so min_updates has to be that; with fewer the nearest
    one is counted at least. Of equal scores the lower address wins. Weights do not count. Distances are over all float
    elements, as distances.py sums them.
    """

    NAME = "krum"
    WHOLE_VECTOR = True
    PARAMETERS = (Parameter("f", 1, 0, 126),)

    @property
    def min_updates(self) -> int:
        """2 f + 3."""
        return 2 * int(self.number("f")) + 3

    def look(self, merge: RoundMerge) -> list[int]:
        """Places of the chosen updates, ascending."""
        count = len(merge.inputs.updates)
        scores = self.scores(_squared_distances(merge))
        best = sorted(range(count), key=lambda place: (scores[place], place))
        return sorted(best[: self.chosen(count)])

    def scores(self, squared: Sequence[Sequence[float]]) -> list[float]:
        """Of each update, from the squared distances of all pairs: its smallest ones summed, ascending."""
        nearest = max(1, len(squared) - int(self.number("f")) - 2)
        scores = []
        for place, row in enumerate(squared):
            score = 0.0
            for each in sorted((*row[:place], *row[place + 1 :]))[:nearest]:
                score += each
            scores.append(score)
        return scores

    def chosen(self, count: int) -> int:
        """How many of `count` updates are merged."""
        return 1

    def floats(self, block: Block) -> None:
        """See `BaseRule.floats`. The chosen ones' mean: summed in merge order, divided by their number."""
        chosen = [block.values[place] for place in block.first_pass]
        np.copyto(block.out, chosen[0])
        for values in chosen[1:]:
            np.add(block.out, values, out=block.out)
        np.divide(block.out, block.out.dtype.type(len(chosen)), out=block.out)

    def integers(self, block: Block) -> None:
        """See `BaseRule.integers`."""
        chosen = [block.values[place] for place in block.first_pass]
        KERNELS[block.dtype][1](chosen, [1] * len(chosen), block.out)


class MultiKrum(Krum):
    """Rule `multi_krum/1;f=…`: the mean of the n - f - 2 updates (at least one) with the smallest scores of Krum.

    P. Blanchard et al. 2017, as `Krum`; this many keeps its bound (E. M. El Mhamdi, R. Guerraoui, S. Rouault, "The hidden
    vulnerability of distributed learning in Byzantium", 2018). It learns from more data than Krum does.
    """

    NAME = "multi_krum"

    def chosen(self, count: int) -> int:
        """See `Krum.chosen`."""
        return max(1, count - int(self.number("f")) - 2)


def _squared_distances(merge: RoundMerge) -> list[list[float]]:
    count = len(merge.inputs.updates)
    squared, distance, doubles = [[0.0] * count for _ in range(count)], SquaredDistance(), Doubles(count)
    for blocks in merge.float_blocks():
        for block in blocks:
            rows = doubles(block.values)
            for i in range(count):
                for j in range(i):
                    squared[i][j] += distance(rows[i], rows[j])
    for i in range(count):
        for j in range(i):
            squared[j][i] = squared[i][j]
    return squared
