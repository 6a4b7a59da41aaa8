"""Who works on what in a round (docs/protocol.md, section 5). Twin of the contract's election library.

Leaders and workers only schedule: nothing here decides whether a merged model counts.
"""

from collections.abc import Sequence
from functools import lru_cache

from swarmp2p.core.types import Bitmap, Digest, Keccak, bits, word


def round_seed(salt: Digest, round_: int, head: Digest, keccak: Keccak) -> Digest:
    """keccak256(abi.encode(bytes32 salt, uint32 round, bytes32 head)): known as soon as the round opens."""
    return keccak(salt + word(round_) + head)


@lru_cache(maxsize=64)
def permutation(members: Bitmap, seed: Digest, keccak: Keccak) -> tuple[int, ...]:
    """The members' indexes, ascending by keccak256(abi.encode(seed, uint256 index)) read as a big-endian number.

    Remembered for the latest arguments, since `decide` asks for the same order again and again.
    """
    return tuple(sorted(bits(members), key=lambda index: keccak(seed + word(index))))


def start_of(slice_: int, k: int, members: int) -> int:
    """Position in the permutation of the leader (rank 0) of a slice."""
    return slice_ * members // k


def worker(order: Sequence[int], slice_: int, rank: int, k: int) -> int:
    """Index of the member with this rank for the slice; ranks wrap around the roster.

    Args:
        order: the roster's permutation, not empty.
        slice_: 0 <= slice_ < k.
        rank: 0 is the leader.
        k: leaders in force, at most len(order).
    """
    return order[(start_of(slice_, k, len(order)) + rank) % len(order)]


def leaders(order: Sequence[int], k: int) -> tuple[int, ...]:
    """The workers of rank 0 for the slices 0..k-1. They are distinct, since k <= len(order)."""
    return tuple(worker(order, slice_, 0, k) for slice_ in range(k))


def rank_of(position: int, slice_: int, k: int, members: int) -> int:
    """Rank for a slice of the member at this position of the permutation: 0 <= rank < members."""
    return (position - start_of(slice_, k, members)) % members


def duty_width(q: int, doublings: int, members: int) -> int:
    """How many ranks are on duty after so many leader timeouts without the evidence that is waited for."""
    # An exponent beyond 256 cannot change the minimum, and keeps the number small when a clock jumps.
    return min(members, q << min(doublings, 256))


def duties(order: Sequence[int], index: int, k: int, q: int) -> list[int]:
    """The slices that a member is on duty for from the start; none for one outside the order."""
    if index not in order:
        return []
    position = order.index(index)
    return [slice_ for slice_ in range(k) if rank_of(position, slice_, k, len(order)) < q]
