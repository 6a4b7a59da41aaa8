"""Merges chunks of one round in a worker thread, each as soon as all that it is made of is here."""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import partial

import trio

from swarmp2p.content.exchange import Arrivals
from swarmp2p.content.interface import ContentStore, Part, ServesUnchecked
from swarmp2p.core.errors import ContentUnavailable, InvalidUpdate, SwarmError
from swarmp2p.core.schema import Schema
from swarmp2p.core.types import Digest
from swarmp2p.core.view import Member
from swarmp2p.merge import rule as rules
from swarmp2p.merge.validate import check_chunk

LOOK_AGAIN = 0.1
"""Seconds after which a thread that waits for a chunk looks whether it is still wanted."""


class InvalidChunk(Exception):
    """A chunk that must not be merged, and whose it is."""

    def __init__(self, index: int, chunk: int) -> None:
        super().__init__(index, chunk)
        self.index = index
        self.chunk = chunk


class Inputs:
    """The updates of a round as the rule reads them: each chunk is waited for, verified and looked at first.

    Args:
        content: where they are.
        schema: of updates.
        max_abs: the manifest's bound.
        arrived: told when a chunk has come.
    """

    def __init__(self, content: ContentStore, schema: Schema, max_abs: float, arrived: Arrivals) -> None:
        # Each chunk was hashed by this process when it came, or when the part was opened: once is enough.
        self._chunk = content.serve_chunk if isinstance(content, ServesUnchecked) else content.read_chunk
        self._schema, self._max_abs, self._arrived = schema, max_abs, arrived
        self.complete = threading.Event()
        """Nothing more will come: what is not here now is missing."""

    def of(self, member: Member) -> rules.ChunkSource:
        """Chunks of one update. For worker threads of trio.

        Raises:
            InvalidChunk: it must not be merged. ContentUnavailable, ContentCorrupt: it cannot be had.
        """

        def chunk(index: int) -> bytes:
            data = self._read(member.digest, index)
            try:
                check_chunk(self._schema, index, data, self._max_abs)
            except InvalidUpdate:
                raise InvalidChunk(member.index, index) from None
            return data

        return chunk

    def _read(self, digest: Digest, index: int) -> bytes:
        trio.from_thread.check_cancelled()  # some rules read everything, and more than once
        with contextlib.suppress(ContentUnavailable):
            return self._chunk(digest, index)
        with self._arrived.expected(digest, index) as came:
            while True:
                trio.from_thread.check_cancelled()
                final = self.complete.is_set()
                try:
                    return self._chunk(digest, index)
                except ContentUnavailable:
                    if final:
                        raise
                if came.wait(LOOK_AGAIN):
                    came.clear()  # should it be gone again


def merge_chunks(
    rule: rules.Rule,
    inputs: rules.RoundInputs,
    part: Part,
    todo: Sequence[int],
    proven: Callable[[int], bool],
    done: Callable[[int], None],
) -> None:
    """Make these chunks of the merged model and write them. Blocking, for a worker thread of trio.

    Args:
        proven: whether the chunk in the part, if there is one, is what enough members claim.
        done: called after each chunk.

    Raises:
        SwarmError: a chunk comes out differently than enough members claim.
    """
    merge = rule.begin(inputs)
    for chunk in todo:
        merged = merge.chunk(chunk)
        there = part.leaf_list(chunk, chunk + 1)
        if there is None or not proven(chunk):
            part.write_chunk(chunk, merged)
        elif hashlib.sha256(merged).digest() != there:
            raise SwarmError(
                f"Chunk {chunk} of the merge comes out differently here than enough members claim.",
                "Either they collude, or this machine computes wrongly; nothing is signed.",
            )
        done(chunk)


def head_sources(content: ContentStore, heads: Sequence[Digest]) -> list[rules.ChunkSource]:
    """Earlier models, as the rule reads them."""
    return [partial(content.read_chunk, digest) for digest in heads]
