"""Whether an update may be merged at all (docs/protocol.md, section 6: INVALID).

The verdict depends on bytes only, so that all honest members reach the same one. Floats are judged by their bits: for
one sign they rise with the value, and infinity and NaN come after every finite number.
"""

import struct
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import numpy as np

from swarmp2p.core.errors import ConfigError, InvalidUpdate, SwarmError
from swarmp2p.core.schema import Schema, Segment, Tensor, difference, head_length, parse_schema, segments
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.rule import Buffer

DEFAULT_MAX_ABS = 1e30
MAX_MAX_ABS = 1e36
"""Up to here float32 sums of 256 updates stay finite."""

_FLOATS = {"F64": ("<i8", "<u8"), "F32": ("<i4", "<u4"), "F16": ("<i2", "<u2"), "BF16": ("<i2", "<u2")}
"""Bits of each float dtype as signed and as unsigned integers."""
_MEND = "The member must look at its training: gradients that explode, or a division by zero in a normalisation."


def check_chunk(schema: Schema, chunk_index: int, buffer: Buffer, max_abs: float = DEFAULT_MAX_ABS) -> None:
    """Passes one chunk of an update, or raises.

    Args:
        schema: of the model.
        chunk_index: which chunk of the file.
        buffer: its bytes; only read.
        max_abs: largest absolute value of a float, whatever its dtype: above 0, at most MAX_MAX_ABS. It is compared
            exactly: the float32 that is nearest to 1e30 is a little above it, and refused.

    Raises:
        InvalidUpdate: wrong size or head, or, with the tensor's name, NaN, infinity, a float beyond `max_abs`, or a
            bool that is neither 0 nor 1.
    """
    size = schema.chunk_size(chunk_index)
    got = memoryview(buffer).nbytes
    if got != size:
        _refuse(f"Chunk {chunk_index} has {got} bytes, expected {size}.", chunk_index)
    for part in segments(schema, chunk_index):
        tensor = part.tensor
        if tensor is None:
            first = chunk_index * CHUNK_SIZE
            if memoryview(buffer).cast("B")[: part.stop] != schema.head[first : first + part.stop]:
                _refuse(_head_problem(schema, buffer), chunk_index, "Write updates with the schema of the genesis.")
        elif tensor.dtype in _FLOATS:
            _check_floats(tensor, part, buffer, max_abs, chunk_index)
        elif tensor.dtype == "BOOL" and np.frombuffer(buffer, "u1", part.stop - part.start, part.start).max() > 1:
            _refuse(f"Tensor {tensor} has a bool that is neither 0 nor 1.", chunk_index)


def check_file(path: Path, schema: Schema, max_abs: float = DEFAULT_MAX_ABS) -> None:
    """Passes a whole file, one chunk in memory at a time, or raises as `check_chunk` does, for its first bad chunk."""
    size = path.stat().st_size
    if size != schema.size:
        _refuse(f"The update has {size} bytes, expected {schema.size}.", 0)
    chunk = bytearray(CHUNK_SIZE)
    with path.open("rb", buffering=0) as file:
        for index in range(schema.chunks):
            view = memoryview(chunk)[: schema.chunk_size(index)]
            filled = 0
            while filled < len(view) and (count := file.readinto(view[filled:])):
                filled += count
            check_chunk(schema, index, view[:filled], max_abs)


def _check_floats(tensor: Tensor, part: Segment, buffer: Buffer, max_abs: float, chunk_index: int) -> None:
    signed, unsigned = (np.dtype(name) for name in _FLOATS[tensor.dtype])
    count = (part.stop - part.start) // signed.itemsize
    bound = _bound(tensor.dtype, max_abs)
    sign = 1 << (8 * signed.itemsize - 1)
    # As signed integers the positive numbers are the largest, as unsigned ones the negative numbers are.
    highest = int(np.frombuffer(buffer, signed, count, part.start).max())
    lowest = int(np.frombuffer(buffer, unsigned, count, part.start).max())
    if highest > bound or lowest > sign | bound:
        bits = np.frombuffer(buffer, unsigned, count, part.start) & unsigned.type(sign - 1)
        position = int(np.argmax(bits > bound))
        first = (chunk_index * CHUNK_SIZE + part.start - tensor.start) // signed.itemsize
        _refuse_float(tensor, first + position, int(bits[position]), max_abs, chunk_index)


def _refuse_float(tensor: Tensor, index: int, value: int, max_abs: float, chunk_index: int) -> NoReturn:
    """`value`: the bits of element `index`, without the sign."""
    infinity = _infinity(tensor.dtype)
    if value > infinity:
        what = "NaN"
    elif value == infinity:
        what = "an infinity"
    else:
        what = f"a value beyond {max_abs:g}"
    _refuse(f"Tensor {tensor} has {what} at element {index}.", chunk_index)


@lru_cache(maxsize=64)
def _bound(dtype: str, max_abs: float) -> int:
    """Bits of the largest finite number of the dtype that is at most `max_abs`."""
    if not 0.0 < max_abs <= MAX_MAX_ABS:
        raise ConfigError(f"maxAbs is {max_abs}; it must be above 0 and at most {MAX_MAX_ABS:g}.", "Use 1e30.")
    low, high = 0, _infinity(dtype) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _value(dtype, middle) <= max_abs:
            low = middle
        else:
            high = middle - 1
    return low


def _infinity(dtype: str) -> int:
    return {"F64": 0x7FF0_0000_0000_0000, "F32": 0x7F80_0000, "F16": 0x7C00, "BF16": 0x7F80}[dtype]


def _value(dtype: str, bits: int) -> float:
    """The number with these bits, exactly."""
    if dtype == "BF16":
        dtype, bits = "F32", bits << 16
    code, size = {"F64": ("<d", 8), "F32": ("<f", 4), "F16": ("<e", 2)}[dtype]
    (value,) = struct.unpack(code, bits.to_bytes(size, "little"))
    return float(value)


def _head_problem(schema: Schema, buffer: Buffer) -> str:
    """What is wrong with a head, in terms of tensors where the chunk holds all of it."""
    general = "The update's head differs from the schema's."
    data = bytes(buffer)
    try:
        if head_length(data) > len(data):
            return general
        return difference(schema, parse_schema(data)) or general
    except SwarmError as error:
        return str(error.args[0])


def _refuse(problem: str, chunk_index: int, mend: str = _MEND) -> NoReturn:
    raise InvalidUpdate(problem, mend, chunk=chunk_index)
