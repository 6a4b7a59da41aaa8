"""When enough members recomputed every slice (docs/protocol.md, sections 1 and 4). Twin of the contract's check."""

from collections.abc import Iterable, Mapping

from swarmp2p.core.types import Address, bits


def coverage(masks: Iterable[int], k: int) -> tuple[int, ...]:
    """For each slice, how many masks name it. Each mask must be of another member; bits from k on do not count."""
    counts = [0] * k
    full = (1 << k) - 1
    for mask in masks:
        for slice_ in bits(mask & full):
            counts[slice_] += 1
    return tuple(counts)


def covers(masks: Iterable[int], k: int, q: int) -> bool:
    """Whether every one of the k slices is named by at least q masks."""
    return k > 0 and min(coverage(masks, k)) >= q


def choose_cover(masks: Mapping[Address, int], k: int, q: int) -> tuple[Address, ...] | None:
    """A set of members whose masks cover every slice q times and of which none can be spared; None if there is none.

    Greedy, so not always the smallest; deterministic in the masks, whatever their order. Ascending by address, so that
    the contract can check distinctness in one pass.
    """
    if not covers(masks.values(), k, q):
        return None
    missing = [q] * k
    left = dict(masks)
    chosen: list[Address] = []
    while any(missing):
        short = sum(1 << slice_ for slice_, count in enumerate(missing) if count)
        best = min(left, key=lambda member: (-(left[member] & short).bit_count(), member))
        for slice_ in bits(left.pop(best) & short):
            missing[slice_] -= 1
        chosen.append(best)
    for member in tuple(chosen):
        rest = [other for other in chosen if other != member]
        if covers((masks[other] for other in rest), k, q):
            chosen = rest
    return tuple(sorted(chosen))
