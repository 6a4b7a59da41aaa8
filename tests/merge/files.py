"""Whole files and single chunks through a rule."""

from collections.abc import Sequence

from swarmp2p.core.schema import Schema
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.rule import Buffer, ChunkSource, Merge, RoundInputs, Rule


def source(data: Buffer) -> ChunkSource:
    """The chunks of a whole file."""
    view = memoryview(data).cast("B")
    return lambda index: view[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]


def begin(
    rule: Rule, schema: Schema, files: Sequence[Buffer], weights: Sequence[int], heads: Sequence[Buffer] = ()
) -> Merge:
    """A merge of whole updates, on whole earlier models."""
    return rule.begin(RoundInputs(schema, [source(file) for file in files], weights, [source(head) for head in heads]))


def merge_file(
    rule: Rule, schema: Schema, files: Sequence[Buffer], weights: Sequence[int], heads: Sequence[Buffer] = ()
) -> bytes:
    """The merged model, chunk by chunk."""
    merge = begin(rule, schema, files, weights, heads)
    return b"".join(bytes(merge.chunk(index)) for index in range(schema.chunks))


def merge_chunk(
    rule: Rule,
    schema: Schema,
    index: int,
    chunks: Sequence[Buffer],
    weights: Sequence[int],
    out: bytearray | memoryview | None = None,
) -> memoryview:
    """One chunk, from that chunk of plain updates."""

    def always(data: Buffer) -> ChunkSource:
        return lambda _: data

    return rule.begin(RoundInputs(schema, list(map(always, chunks)), weights)).chunk(index, out)
