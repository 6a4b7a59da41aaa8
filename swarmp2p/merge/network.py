"""Order statistics by sorting networks: minima and maxima in a fixed order (docs/protocol.md, section 8).

`median`, `sort` and `partition` of NumPy are not used: which of two zeros they give is chance, and they are slow along the
members' axis. A comparator is an element-wise minimum and maximum, both exact, and zeros come here without a sign.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from swarmp2p.merge.floats import Elements


@dataclass(frozen=True, slots=True)
class Comparator:
    """Puts the smaller of two rows at `low` and the larger at `high`, or only the one that is needed."""

    low: int
    high: int
    minimum: bool
    maximum: bool


def order_statistics(rows: Sequence[Elements], wanted: Collection[int], spare: Elements) -> list[Elements]:
    """The wanted order statistics of each element, ascending; row 0 is the smallest.

    Args:
        rows: one a member, without NaN and without -0. They are spoilt.
        wanted: places from 0 to len(rows) - 1.
        spare: scratch of a row's size and dtype.
    """
    for each in network(len(rows), tuple(sorted(wanted))):
        low, high = rows[each.low], rows[each.high]
        if each.minimum and each.maximum:
            np.minimum(low, high, out=spare)
            np.maximum(low, high, out=high)
            np.copyto(low, spare)
        elif each.minimum:
            np.minimum(low, high, out=low)
        else:
            np.maximum(low, high, out=high)
    return [rows[place] for place in sorted(wanted)]


@lru_cache(maxsize=64)
def network(count: int, wanted: tuple[int, ...]) -> tuple[Comparator, ...]:
    """The comparators that bring the wanted order statistics of `count` rows to their places.

    K. E. Batcher's merge exchange (D. E. Knuth, The Art of Computer Programming, volume 3, 5.2.2, algorithm M), less the
    comparators, and their halves, on which no wanted row depends.
    """
    needed, kept = set(wanted), list[Comparator]()
    for low, high in reversed(_merge_exchange(count)):
        if low in needed or high in needed:
            kept.append(Comparator(low, high, low in needed, high in needed))
            needed |= {low, high}
    return tuple(reversed(kept))


def _merge_exchange(count: int) -> list[tuple[int, int]]:
    pairs = []
    top = 1 << max(count - 1, 1).bit_length() - 1
    p = top
    while p:
        q, r, distance = top, 0, p
        while True:
            pairs += [(i, i + distance) for i in range(count - distance) if i & p == r]
            if q == p:
                break
            distance, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs
