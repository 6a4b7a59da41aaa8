"""Sizes of files on which the CIDs of different programs are compared, and the bytes of these files."""

import random
from collections.abc import Iterator

from swarmp2p.content.unixfs import LINKS_PER_NODE
from swarmp2p.core.types import CHUNK_SIZE
from tests.content.wire import pattern

COUNT = 200
SMALL = 4 * 1024 * 1024
"""Bytes below which most of them are."""
FULL = LINKS_PER_NODE * CHUNK_SIZE
"""Bytes below one full inner node: beyond it the tree has a level more."""


def sizes(seed: int) -> list[int]:
    """COUNT sizes, ascending: any at all, those about the borders of chunks, and those about full nodes."""
    chosen = random.Random(seed)
    found = {0, 1, CHUNK_SIZE, CHUNK_SIZE + 1, FULL, FULL + 1}
    while len(found) < COUNT - 12:
        if chosen.random() < 0.7:
            found.add(int(SMALL ** chosen.random()))
        else:
            found.add(max(0, chosen.randint(1, 16) * CHUNK_SIZE + chosen.choice((-1, 0, 1))))
    while len(found) < COUNT:
        found.add(FULL * chosen.choice((1, 1, 1, 2)) + chosen.randint(-2 * CHUNK_SIZE, 2 * CHUNK_SIZE))
    return sorted(found)


def files(seed: int) -> Iterator[bytes]:
    """A file of each size: the first bytes of one pattern."""
    longest = pattern(sizes(seed)[-1], seed)
    for size in sizes(seed):
        yield longest[:size]
