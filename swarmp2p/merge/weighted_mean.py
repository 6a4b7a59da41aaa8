"""The weighted mean of all updates, element by element (docs/protocol.md, section 8)."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from swarmp2p.core.errors import ConfigError, InvalidUpdate, SchemaMismatch
from swarmp2p.core.schema import Schema, Segment, Tensor, require_aligned, segments
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.kernels import KERNELS, MAX_INPUTS, MAX_WEIGHT, VERSION, require_sound_arithmetic
from swarmp2p.merge.rule import Buffer, format_rule_id, rule_digest


class WeightedMean:
    """Rule `weighted_mean/1`: each element's mean, weighted by what the members declared."""

    NAME = "weighted_mean"

    @classmethod
    def from_parameters(cls, version: int, parameters: Mapping[str, str]) -> "WeightedMean":
        """For the registry. ConfigError when this library has another kernel version, or a parameter is unknown."""
        if version != VERSION:
            raise ConfigError(
                f"The swarm merges with kernel version {version} of {cls.NAME}, this library has {VERSION}.",
                "Install the release of swarmp2p that the other members use.",
            )
        for parameter in parameters:
            raise ConfigError(f"Merge rule {cls.NAME} has no parameter {parameter!r}.", "Leave it out: it has none.")
        return cls()

    @cached_property
    def id(self) -> str:
        return format_rule_id(self.NAME, VERSION)

    @cached_property
    def id_digest(self) -> bytes:
        return rule_digest(self.id)

    def check_schema(self, schema: Schema) -> None:
        """See `Rule.check_schema`."""
        for tensor in schema.tensors:
            _require_mergeable(tensor)
        require_aligned(schema)

    def merge_chunk(
        self,
        schema: Schema,
        chunk_index: int,
        inputs: Sequence[Buffer],
        weights: Sequence[int],
        out: bytearray | memoryview | None = None,
    ) -> memoryview:
        """See `Rule.merge_chunk`."""
        require_sound_arithmetic()
        size = schema.chunk_size(chunk_index)
        _require_arguments(inputs, weights, size, chunk_index)
        merged = memoryview(np.empty(size, np.uint8).data if out is None else out).cast("B")[:size]
        if len(merged) != size or merged.readonly:
            raise ValueError(f"out must be {size} writable bytes")
        with np.errstate(all="ignore"):  # the user's own np.seterr must not decide whether a merge succeeds
            for dtype, start, stop in _runs(segments(schema, chunk_index)):
                if dtype is None:
                    first = chunk_index * CHUNK_SIZE
                    merged[start:stop] = schema.head[first + start : first + stop]
                    continue
                stored, kernel = KERNELS[dtype]
                count = (stop - start) // stored.itemsize
                arrays = [np.frombuffer(chunk, stored, count, start) for chunk in inputs]
                kernel(arrays, weights, np.frombuffer(merged, stored, count, start))
        return merged


def _runs(parts: Sequence[Segment]) -> Iterator[tuple[str | None, int, int]]:
    """(dtype, start, stop) of neighbouring segments joined where their dtypes are equal; None for the head.

    The mean is element by element, so joining changes no bit; it saves a model of many small tensors a call for each.
    """
    dtype: str | None = None
    start = stop = 0
    for part in parts:
        if part.tensor is not None:
            _require_mergeable(part.tensor)
        following = part.tensor.dtype if part.tensor is not None else None
        if following != dtype and stop > start:
            yield dtype, start, stop
            start = stop
        dtype, stop = following, part.stop
        if part.tensor is not None and (part.stop - part.start) % KERNELS[part.tensor.dtype][0].itemsize:
            raise SchemaMismatch(
                f"Tensor {part.tensor} has an element that straddles two chunks.", "Found the swarm on an aligned file."
            )
    if stop > start:
        yield dtype, start, stop


def _require_mergeable(tensor: Tensor) -> None:
    if tensor.dtype not in KERNELS:
        raise SchemaMismatch(
            f"Tensor {tensor} cannot be merged: {tensor.dtype} has no defined mean.",
            f"Convert it to one of {', '.join(KERNELS)}, or leave it out of get_weights.",
        )


def _require_arguments(inputs: Sequence[Buffer], weights: Sequence[int], size: int, chunk_index: int) -> None:
    if not 1 <= len(inputs) <= MAX_INPUTS or len(inputs) != len(weights):
        raise ValueError(f"{len(inputs)} inputs with {len(weights)} weights; 1 to {MAX_INPUTS} of each are needed")
    if not all(1 <= weight <= MAX_WEIGHT for weight in weights):
        raise ValueError(f"weights must be 1 to {MAX_WEIGHT}: {list(weights)}")
    for position, chunk in enumerate(inputs):
        got = memoryview(chunk).nbytes
        if got != size:
            raise InvalidUpdate(
                f"Input {position} of chunk {chunk_index} has {got} bytes, expected {size}.",
                "The update must have exactly the schema's size.",
                chunk=chunk_index,
            )
