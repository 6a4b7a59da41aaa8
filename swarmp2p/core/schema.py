"""What a model's file says of itself: the head of a safetensors file, read strictly (docs/protocol.md, 2, 5 and 8).

A safetensors file is eight bytes (the length of the JSON, little-endian), the JSON, and the tensors' bytes without a
gap. The eight bytes and the JSON are the *head*; its sha2-256 is the schema hash that the contract keeps. All offsets
in this module are absolute: byte 0 is the first byte of the file.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NoReturn

from swarmp2p.core.errors import MalformedModel, SchemaMismatch
from swarmp2p.core.types import CHUNK_SIZE, Digest

ITEM_SIZE: Mapping[str, int] = {
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
    "F32": 4, "U32": 4, "I32": 4,
    "BF16": 2, "F16": 2, "U16": 2, "I16": 2,
    "F8_E8M0": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of an element of each known dtype, in the order in which a canonical file sorts its tensors: falling size, so
that every offset is aligned, and among equal sizes the order that the safetensors library writes."""

LENGTH_SIZE = 8
"""Bytes before the JSON."""
MAX_HEAD = 16 * 2**20
"""Largest head in bytes. The format allows 100 MB; a quarter of a million tensors fit into this."""
MAX_DEPTH = 4
"""Deepest nesting of brackets in a head: a tensor's shape stands three deep."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
MAX_RANK = 32
"""Most dimensions of a tensor: what NumPy 1 can hold."""
MAX_ELEMENTS = 2**63 - 1
METADATA = "__metadata__"

_RANK = {dtype: rank for rank, dtype in enumerate(ITEM_SIZE)}
_SAVE_AGAIN = "Save it again with safetensors' save_file, or fetch it again if it was copied only in part."
_KINDS = {b"PK\x03\x04": "a zip archive, as torch.save and numpy.savez write", b"\x89HDF": "HDF5", b"GGUF": "GGUF"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's place in the file: bytes [start, stop)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.name!r} {self.dtype} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of bytes [start, stop) of one chunk, counted from the chunk's first byte.

    Attributes:
        tensor: the tensor the bytes belong to; None for bytes of the head.
    """

    tensor: Tensor | None
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Schema:
    """Head and layout of a model's file. Two schemas are equal when their heads are.

    Attributes:
        head: the length bytes and the JSON, exactly as in the file.
        tensors: in the order of their bytes.
        size: bytes of the whole file.
        digest: sha2-256 of the head (`Config.schema`).
    """

    head: bytes
    tensors: tuple[Tensor, ...] = field(compare=False, repr=False)
    size: int = field(compare=False)
    digest: Digest = field(init=False, compare=False)
    _stops: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256(self.head).digest())
        object.__setattr__(self, "_stops", tuple(tensor.stop for tensor in self.tensors))

    @property
    def chunks(self) -> int:
        """Content chunks in the file."""
        return -(-self.size // CHUNK_SIZE)

    def chunk_size(self, index: int) -> int:
        """Bytes of chunk `index`: CHUNK_SIZE, or less for the last one. IndexError when there is no such chunk."""
        if not 0 <= index < self.chunks:
            raise IndexError(f"chunk {index} of a file of {self.chunks} chunks")
        return min(CHUNK_SIZE, self.size - index * CHUNK_SIZE)

    def by_name(self) -> dict[str, Tensor]:
        """The tensors by their names, in file order."""
        return {tensor.name: tensor for tensor in self.tensors}


def head_length(prefix: bytes | bytearray | memoryview, file_size: int | None = None) -> int:
    """Bytes of the head, from a file's first eight bytes.

    Raises:
        MalformedModel: too few bytes, or a length that no safetensors file of this size can have.
    """
    first = bytes(prefix[:LENGTH_SIZE])
    if len(first) < LENGTH_SIZE:
        _malformed(f"the file ends after {len(first)} bytes, within the length of its head")
    length = int.from_bytes(first, "little")
    total = LENGTH_SIZE + length
    if total > MAX_HEAD:
        kind = next((kind for magic, kind in _KINDS.items() if first.startswith(magic)), None)
        if kind is not None:
            _malformed(f"the file is not safetensors: it looks like {kind}")
        _malformed(f"the file is not safetensors: it announces a head of {total} bytes, and at most {MAX_HEAD} may be")
    if file_size is not None and total > file_size:
        _malformed(f"the file is truncated or not safetensors: head of {total} bytes in a file of {file_size}")
    return total


def parse_schema(data: bytes | bytearray | memoryview, file_size: int | None = None) -> Schema:
    """Reads the head at the start of `data`, which may go on after it.

    Args:
        data: at least the whole head (`head_length` says how much that is).
        file_size: bytes of the whole file, which must be what the head says; None leaves that unchecked.

    Raises:
        MalformedModel: not a safetensors head, or not one that describes each byte of the file exactly once.
    """
    total = head_length(data, file_size)
    head = bytes(data[:total])
    if len(head) < total:
        _malformed(f"the file is truncated: its head has {total} bytes, {len(head)} are there")
    entries = _parse_json(head[LENGTH_SIZE:])
    tensors = [_parse_tensor(name, entry, total) for name, entry in entries.items() if name != METADATA]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.stop))
    end = total
    for tensor in tensors:
        if tensor.start != end:
            what = "overlaps the tensor before it" if tensor.start < end else "leaves a gap before it"
            _malformed(f"tensor {tensor} {what}: it starts at byte {tensor.start}, expected {end}")
        end = tensor.stop
    if file_size is not None and end != file_size:
        what = "truncated" if file_size < end else "too long"
        _malformed(f"the file is {what}: its head describes {end} bytes, it has {file_size}")
    return Schema(head, tuple(tensors), end)


def canonical_schema(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> Schema:
    """The one layout for these (name, dtype, shape): sorted by falling element size, dtype and name; no metadata.

    The same tensors give the same head whatever their order, every offset is aligned, and it is the layout that the
    safetensors library itself writes.

    Raises:
        SchemaMismatch: a name is used twice or cannot be one, or a dtype is unknown.
    """
    listed = list(tensors)
    for name, dtype, _ in listed:
        if dtype not in ITEM_SIZE:
            raise SchemaMismatch(
                f"Tensor {name!r} has dtype {dtype}, which no model's file here can hold.", _mend_dtype()
            )
    entries: dict[str, object] = {}
    offset = 0
    for name, dtype, shape in sorted(listed, key=lambda tensor: (_RANK[tensor[1]], tensor[0])):
        if name in entries or name == METADATA:
            raise SchemaMismatch(f"{name!r} cannot name a tensor here: it is taken.", "Give every tensor its own name.")
        size = ITEM_SIZE[dtype]
        for extent in shape:
            size *= extent
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % LENGTH_SIZE)
    return parse_schema(len(text).to_bytes(LENGTH_SIZE, "little") + text)


def require_aligned(schema: Schema) -> None:
    """Refuses a layout in which an element could straddle two chunks (section 5).

    Chunks begin at multiples of 262,144, so it is enough that each tensor starts at a multiple of its element size.

    Raises:
        SchemaMismatch: names the first such tensor.
    """
    for tensor in schema.tensors:
        item = ITEM_SIZE[tensor.dtype]
        if tensor.start % item:
            raise SchemaMismatch(
                f"Tensor {tensor} starts at byte {tensor.start}, not a multiple of its element's {item} bytes: "
                "an element could straddle two chunks.",
                "Write the genesis with swarmp2p's write_weights or safetensors' save_file, which align tensors.",
            )


def difference(expected: Schema, got: Schema) -> str | None:
    """One sentence on the first thing in which two schemas differ; None when their heads are equal.

    Names, dtypes and shapes come first; equal tensors in another layout, or other metadata, are said to be that.
    """
    if expected.head == got.head:
        return None
    have = got.by_name()
    for tensor in expected.tensors:
        other = have.pop(tensor.name, None)
        if other is None:
            return f"Tensor {tensor} is missing."
        if (tensor.dtype, tensor.shape) != (other.dtype, other.shape):
            return f"Tensor {tensor.name!r} is {_form(other)}, expected {_form(tensor)}."
    for extra in have.values():
        return f"Tensor {extra} is not in the schema."
    for tensor, other in zip(expected.tensors, got.tensors, strict=True):
        if tensor != other:
            return f"At byte {other.start} comes tensor {other}, expected {tensor} at byte {tensor.start}."
    return "The tensors are equal, but the JSON of the head or its metadata is not."


def segments(schema: Schema, chunk_index: int) -> list[Segment]:
    """The parts of chunk `chunk_index`, in order and without a gap: first the head's, then each tensor's.

    Raises:
        IndexError: there is no such chunk.
    """
    first = chunk_index * CHUNK_SIZE
    last = first + schema.chunk_size(chunk_index)
    parts: list[Segment] = []
    if first < len(schema.head):
        parts.append(Segment(None, 0, min(len(schema.head), last) - first))
    position = bisect_right(schema._stops, first)
    while position < len(schema.tensors):
        tensor = schema.tensors[position]
        if tensor.start >= last:
            break
        start, stop = max(tensor.start, first), min(tensor.stop, last)
        if start < stop:
            parts.append(Segment(tensor, start - first, stop - first))
        position += 1
    return parts


def _depth(text: bytes) -> int:
    """How deeply brackets are nested. The parser recurses, and where some library has raised the interpreter's limit
    (py-evm does), thousands of brackets would end the process instead of raising RecursionError."""
    deepest = depth = 0
    for bracket in _STRING.sub(b"", text).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _parse_json(text: bytes) -> dict[str, object]:
    """The head's JSON object. Padding after it is spaces only."""
    if not text.startswith(b"{") or not text.rstrip(b" ").endswith(b"}"):
        _malformed("the head is not a JSON object")
    if _depth(text) > MAX_DEPTH:
        _malformed("the brackets in the head are nested too deeply")
    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except ValueError as error:
        raise MalformedModel(f"Bad model file: its head is not JSON ({_short(str(error))}).", _SAVE_AGAIN) from None
    metadata = entries.get(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _malformed(f"{METADATA} in the head is not a map of strings to strings")
    result: dict[str, object] = entries
    return result


def _parse_tensor(name: str, entry: object, base: int) -> Tensor:
    """One entry of the head; `base` is the file's byte at which the tensors' bytes begin."""
    label = f"tensor {_short(repr(name))}"
    try:
        name.encode()
    except UnicodeEncodeError:
        _malformed(f"{label} has a name that is not Unicode text")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _malformed(f"{label} does not have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_SIZE:
        raise MalformedModel(f"Bad model file: {label} has the unknown dtype {_short(repr(dtype))}.", _mend_dtype())
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(map(_is_count, shape)):
        _malformed(f"{label} has an impossible shape: {_short(repr(shape))}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        _malformed(f"{label} has impossible data_offsets: {_short(repr(offsets))}")
    size = ITEM_SIZE[dtype]
    for extent in shape:
        size *= extent
        if size > MAX_ELEMENTS:
            _malformed(f"{label} has an impossible shape: {_short(repr(shape))}")
    begin, end = offsets
    if end - begin != size:
        _malformed(f"{label} needs {size} bytes, its data_offsets say {_short(repr(end - begin))}")
    return Tensor(name, dtype, tuple(shape), base + begin, base + end)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_ELEMENTS


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Two entries of one name would let two readers see two models in the same bytes."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a key occurs twice")
    return entries


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _malformed(problem: str) -> NoReturn:
    raise MalformedModel(f"Bad model file: {problem}.", _SAVE_AGAIN)


def _mend_dtype() -> str:
    return f"Convert it to one of {', '.join(ITEM_SIZE)}."


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def _short(text: str, limit: int = 120) -> str:
    """Foreign text in an error message, cut to a readable length."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
