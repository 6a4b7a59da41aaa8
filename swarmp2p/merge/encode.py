"""Writes a member's own update in its swarm's wire, with error feedback (see wire.py).

Only the member itself computes here, so nothing of it needs to be equal on other machines: what counts is what the
update decodes to.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from swarmp2p.core.errors import MalformedModel
from swarmp2p.core.schema import ITEM_SIZE, Schema, Tensor, canonical_schema
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.floats import FLOATS, Elements, widen
from swarmp2p.merge.layout import FileReader, Part, places
from swarmp2p.merge.rule import ChunkSource
from swarmp2p.merge.tensors import atomic_file, read_schema

BATCH = 65_536
"""Elements worked on at a time: a multiple of the wires' blocks."""


class Encoder(Protocol):
    """What of a wire is needed here; see `BaseWire`."""

    def schema(self, weights: Schema) -> Schema: ...

    def encode_part(
        self, part: Part, target: Elements, head: Elements
    ) -> tuple[list[tuple[Part, Elements]], Elements]: ...


def residual_schema(weights: Schema) -> Schema:
    """What updates have left unsaid of each float tensor, in the dtype computed in."""
    return canonical_schema(
        (tensor.name, "F64" if tensor.dtype == "F64" else "F32", tensor.shape)
        for tensor in weights.tensors
        if tensor.dtype in FLOATS
    )


def encode_update(wire: Encoder, weights: Path, head: Path, residual: Path | None, update: Path, left: Path) -> None:
    """See `Wire.encode`."""
    schema, model = read_schema(weights), read_schema(head)
    target, rest = wire.schema(schema), residual_schema(schema)
    if residual is not None and read_schema(residual).head != rest.head:
        raise MalformedModel(f"{residual.name} is of another model.", "Delete it: the next update begins without it.")
    with (
        weights.open("rb") as own,
        head.open("rb") as before,
        (residual or weights).open("rb") as kept,
        atomic_file(update) as out,
        atomic_file(left) as remains,
    ):
        out.write(target.head)
        remains.write(rest.head)
        reader, heads = FileReader(schema, chunks_in(own)), FileReader(model, chunks_in(before))
        feedback = None if residual is None else FileReader(rest, chunks_in(kept))
        for part in batches(schema):
            if part.tensor.dtype not in FLOATS:
                _write(out, target, part, reader.read([part]))
                continue
            wanted = _wide(part, reader)
            if feedback is not None:
                wanted += feedback.read([part])
            pieces, decoded = wire.encode_part(part, wanted, _wide(part, heads))
            for place, elements in pieces:
                _write(out, target, place, elements)
            _write(remains, rest, part, wanted - decoded)
        out.truncate(target.size)
        remains.truncate(rest.size)


def chunks_in(file: IO[bytes]) -> ChunkSource:
    """The chunks of an open file."""

    def chunk(index: int) -> bytes:
        file.seek(index * CHUNK_SIZE)
        return file.read(CHUNK_SIZE)

    return chunk


def batches(schema: Schema) -> Iterator[Part]:
    """All elements of a file, tensor by tensor."""
    for tensor in schema.tensors:
        count = (tensor.stop - tensor.start) // ITEM_SIZE[tensor.dtype]
        for first in range(0, count, BATCH):
            yield Part(tensor, first, min(BATCH, count - first))


def _wide(part: Part, reader: FileReader) -> Elements:
    values = np.empty(part.count, FLOATS[part.tensor.dtype])
    widen(part.tensor.dtype, reader.read([part]), values)
    return values


def _write(file: IO[bytes], schema: Schema, part: Part, elements: Elements) -> None:
    tensor: Tensor = places(schema)[part.tensor.name]
    file.seek(tensor.start + part.first * ITEM_SIZE[tensor.dtype])
    file.write(np.ascontiguousarray(elements).data)
