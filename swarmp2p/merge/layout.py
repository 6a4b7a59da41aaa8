"""Which elements a chunk holds, and the elements of a file that is given chunk by chunk (docs/protocol.md, section 8)."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from swarmp2p.core.errors import InvalidUpdate, SchemaMismatch
from swarmp2p.core.schema import ITEM_SIZE, Schema, Segment, Tensor, segments
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.floats import Elements
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.rule import Buffer, ChunkSource


@dataclass(frozen=True, slots=True)
class Part:
    """A range of a tensor's elements, in C order."""

    tensor: Tensor
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring elements of one dtype within a chunk, as much as can be worked on at a time.

    Attributes:
        dtype: None for bytes of the head, which have no parts.
        start, stop: bytes, counted from the chunk's first.
    """

    dtype: str | None
    start: int
    stop: int
    parts: tuple[Part, ...]


def chunk_runs(schema: Schema, chunk_index: int) -> list[Run]:
    """All of a chunk, in order. Tensors that follow each other with one dtype are one run: it saves a model of many small
    tensors a call for each.

    Raises:
        IndexError: there is no such chunk.
        SchemaMismatch: a dtype that no rule merges, or an element that straddles two chunks.
    """
    runs: list[Run] = []
    for segment in segments(schema, chunk_index):
        dtype = None if segment.tensor is None else segment.tensor.dtype
        part = () if segment.tensor is None else (_part(segment.tensor, segment, chunk_index),)
        if runs and runs[-1].dtype == dtype:
            last = runs[-1]
            runs[-1] = Run(dtype, last.start, segment.stop, last.parts + part)
        else:
            runs.append(Run(dtype, segment.start, segment.stop, part))
    return runs


def _part(tensor: Tensor, segment: Segment, chunk_index: int) -> Part:
    require_mergeable(tensor)
    item = ITEM_SIZE[tensor.dtype]
    first = chunk_index * CHUNK_SIZE + segment.start - tensor.start
    if first % item or (segment.stop - segment.start) % item:
        raise SchemaMismatch(
            f"Tensor {tensor} has an element that straddles two chunks.", "Found the swarm on an aligned file."
        )
    return Part(tensor, first // item, (segment.stop - segment.start) // item)


def require_mergeable(tensor: Tensor) -> None:
    """SchemaMismatch for a dtype without a defined mean."""
    if tensor.dtype not in KERNELS:
        raise SchemaMismatch(
            f"Tensor {tensor} cannot be merged: {tensor.dtype} has no defined mean.",
            f"Convert it to one of {', '.join(KERNELS)}, or leave it out of get_weights.",
        )


@lru_cache(maxsize=8)
def places(schema: Schema) -> Mapping[str, Tensor]:
    """A schema's tensors by name."""
    return schema.by_name()


def spans(schema: Schema, parts: Iterable[Part]) -> list[tuple[int, int]]:
    """Bytes [start, stop) of the file at which the elements of tensors of these names stand; neighbours are joined."""
    found: list[tuple[int, int]] = []
    for part in parts:
        tensor = places(schema)[part.tensor.name]
        start = tensor.start + part.first * ITEM_SIZE[tensor.dtype]
        stop = start + part.count * ITEM_SIZE[tensor.dtype]
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], stop
        elif stop > start:
            found.append((start, stop))
    return found


def chunks_of(ranges: Iterable[tuple[int, int]]) -> set[int]:
    """The chunks that these bytes of a file lie in."""
    return {chunk for start, stop in ranges for chunk in range(start // CHUNK_SIZE, -(-stop // CHUNK_SIZE))}


class FileReader:
    """Elements of a file by tensor. One thread at a time.

    Args:
        schema: of the file.
        source: gives its chunks.
        keep: chunks to remember: those that neighbouring runs may need again.
    """

    def __init__(self, schema: Schema, source: ChunkSource, keep: int = 1) -> None:
        self.schema = schema
        self._source = source
        self._keep = keep
        self._chunks: OrderedDict[int, memoryview] = OrderedDict()

    def chunk(self, index: int) -> memoryview:
        """A chunk's bytes.

        Raises:
            InvalidUpdate: the source gave another number of bytes.
        """
        known = self._chunks.get(index)
        if known is not None:
            return known
        data = _bytes(self._source(index))
        size = self.schema.chunk_size(index)
        if len(data) != size:
            raise InvalidUpdate(
                f"A file's chunk {index} has {len(data)} bytes, expected {size}.",
                "The file must have exactly the schema's size.",
                chunk=index,
            )
        self._chunks[index] = data
        if len(self._chunks) > self._keep:
            self._chunks.popitem(last=False)
        return data

    def read(self, parts: Sequence[Part]) -> Elements:
        """The elements of these parts one after the other, in the dtype in which this file stores them; only to be read.

        Tensors are found by their names: the parts may be of another schema that has them too.
        """
        stored = KERNELS[places(self.schema)[parts[0].tensor.name].dtype][0]
        ranges = spans(self.schema, parts)
        pieces = list(self._pieces(ranges))
        if len(pieces) == 1:
            return np.frombuffer(pieces[0], stored)
        data = np.empty(sum(map(len, pieces)), np.uint8)
        position = 0
        for piece in pieces:
            data[position : position + len(piece)] = piece
            position += len(piece)
        return data.view(stored)

    def _pieces(self, ranges: Iterable[tuple[int, int]]) -> Iterator[memoryview]:
        for start, stop in ranges:
            for index in range(start // CHUNK_SIZE, -(-stop // CHUNK_SIZE)):
                first = index * CHUNK_SIZE
                yield self.chunk(index)[max(start - first, 0) : stop - first]


def _bytes(buffer: Buffer) -> memoryview:
    return memoryview(buffer).cast("B")
