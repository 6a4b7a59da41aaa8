"""The small file beside each content file: its size and the leaf lists known for it, one span of chunks each."""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from swarmp2p.content.unixfs import HASH_SIZE, chunk_count, leaf_at
from swarmp2p.core.types import Digest

_MAGIC = b"swarmp2p-leaves-1\n"
_HEAD = struct.Struct(">QI")
_SPAN = struct.Struct(">32sII")


def record_beside(path: Path) -> Path:
    """Where the record of the whole file at this path is."""
    return path.with_name(path.name + ".leaves")


@dataclass(frozen=True, slots=True)
class Span:
    """Chunks [first, first + len(leaf_list) / 32) of a file, served as the object `name`."""

    name: Digest
    first: int
    leaf_list: bytes

    @property
    def count(self) -> int:
        """Chunks in it."""
        return len(self.leaf_list) // HASH_SIZE

    def leaf(self, index: int) -> bytes:
        """Expected hash of the span's chunk `index` (from the span's first chunk)."""
        return leaf_at(self.leaf_list, index)


@dataclass(frozen=True, slots=True)
class Record:
    """Size of a file in bytes, and its spans."""

    size: int
    spans: tuple[Span, ...]

    def encode(self) -> bytes:
        """Bytes for the disk, with a checksum at the end."""
        out = bytearray(_MAGIC + _HEAD.pack(self.size, len(self.spans)))
        for span in self.spans:
            out += _SPAN.pack(span.name, span.first, span.count) + span.leaf_list
        return bytes(out + hashlib.sha256(out).digest())

    @staticmethod
    def decode(data: bytes) -> "Record | None":
        """The record in these bytes, or None when they are not a whole one."""
        body, checksum = data[:-HASH_SIZE], data[-HASH_SIZE:]
        if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != checksum:
            return None
        at = len(_MAGIC)
        size, count = _HEAD.unpack_from(body, at)
        at += _HEAD.size
        spans = []
        for _ in range(count):
            name, first, chunks = _SPAN.unpack_from(body, at)
            at += _SPAN.size
            spans.append(Span(name, first, body[at : at + HASH_SIZE * chunks]))
            at += HASH_SIZE * chunks
            if first + chunks > chunk_count(size):
                return None
        return Record(size, tuple(spans))
