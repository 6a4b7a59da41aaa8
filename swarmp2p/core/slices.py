"""How a model is cut into slices (docs/protocol.md, section 5)."""

import hashlib
from collections.abc import Iterable, Iterator

from swarmp2p.core.types import Digest


def leaders_in_force(k_max: int, members: int, chunks: int) -> int:
    """k of a round: min(kMax, |roster|, chunks). A model of one chunk has one leader whatever kMax is."""
    return min(k_max, members, chunks)


def chunk_range(slice_: int, k: int, chunks: int) -> range:
    """The chunks of a slice: floor(jC/k) up to, not including, floor((j+1)C/k). Never empty, since k <= chunks."""
    return range(slice_ * chunks // k, (slice_ + 1) * chunks // k)


def slice_of(chunk: int, k: int, chunks: int) -> int:
    """The slice that holds a chunk."""
    # The largest j with floor(jC/k) <= chunk is the largest j with jC < (chunk + 1)k.
    return ((chunk + 1) * k - 1) // chunks


def slice_digest(leaf_hashes: Iterable[Digest]) -> Digest:
    """sha256 over the concatenated leaf hashes of a slice, so that its leaf list is a raw block of that hash."""
    return hashlib.sha256(b"".join(leaf_hashes)).digest()


def stretches(chunks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The same chunks as ranges [first, end), ascending, as few as there can be."""
    first = end = None
    for chunk in sorted(set(chunks)):
        if chunk != end:
            if first is not None and end is not None:
                yield first, end
            first = chunk
        end = chunk + 1
    if first is not None and end is not None:
        yield first, end
