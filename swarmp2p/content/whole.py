"""Files that are here whole: reading them, and seeing one as a part, so that `begin` answers alike whatever is held."""

import hashlib
import os
from pathlib import Path
from typing import Protocol

from swarmp2p.content.disk import read_all
from swarmp2p.content.record import Record, Span
from swarmp2p.content.unixfs import HASH_SIZE, chunk_count, chunk_length, slice_digest
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import CHUNK_SIZE, Digest


class Holder(Protocol):
    """Where chunks of a span can be read: a whole file or a part. Indexes count from the file's first chunk."""

    @property
    def spans(self) -> list[Span]: ...

    def holds(self, span: Span, index: int) -> bool: ...

    def read_chunk(self, index: int) -> bytes: ...

    def serve_chunk(self, index: int) -> bytes: ...


class WholeFile:
    """A whole file on disk.

    Args:
        path: its data.
        record: its size and spans; the first span is the file itself.
        hashed: this process has hashed its data.
    """

    def __init__(self, path: Path, record: Record, *, hashed: bool) -> None:
        self.path = path
        self.record = record
        self.whole = record.spans[0]
        self._hashed = bytearray([hashed]) * self.whole.count

    def with_record(self, record: Record) -> "WholeFile":
        """The same data, under more names."""
        other = WholeFile(self.path, record, hashed=False)
        other._hashed = self._hashed
        return other

    @property
    def spans(self) -> list[Span]:
        return list(self.record.spans)

    def holds(self, span: Span, index: int) -> bool:
        return True

    def read_chunk(self, index: int) -> bytes:
        """Verified. Raises ContentCorrupt, or OSError (FileNotFoundError: collected meanwhile)."""
        data = self._read(index)
        if hashlib.sha256(data).digest() != self.whole.leaf(index):
            raise ContentCorrupt(
                f"Chunk {index} of {self.path} is not what was written there.",
                "It will be fetched again; check the disk if this repeats.",
            )
        self._hashed[index] = True
        return data

    def serve_chunk(self, index: int) -> bytes:
        """Verified once. Raises as `read_chunk`."""
        return self._read(index) if self._hashed[index] else self.read_chunk(index)

    def _read(self, index: int) -> bytes:
        handle = os.open(self.path, os.O_RDONLY)
        try:
            return read_all(handle, chunk_length(index, self.record.size), index * CHUNK_SIZE)
        finally:
            os.close(handle)


class _Reads(Protocol):
    def read_chunk(self, name: Digest, index: int) -> bytes: ...


def read_range(store: _Reads, digest: Digest, size: int, offset: int, length: int | None) -> bytes:
    """A range of a file of `size` bytes, by its chunks; empty beyond its end."""
    end = size if length is None else min(size, offset + length)
    if not 0 <= offset <= end:
        return b""
    first = offset // CHUNK_SIZE
    pieces = [store.read_chunk(digest, i) for i in range(first, -(-end // CHUNK_SIZE))]
    start = offset - first * CHUNK_SIZE
    return b"".join(pieces)[start : start + end - offset]


class WholePart:
    """A `Part` (interface.py) that has everything and changes nothing.

    Args:
        store: reads its chunks.
        whole: the file's digest and leaf list.
        size: bytes in the file.
    """

    def __init__(self, store: _Reads, whole: Span, size: int) -> None:
        self._store = store
        self._whole = whole
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    @property
    def chunks(self) -> int:
        return chunk_count(self._size)

    def write_chunk(self, index: int, data: bytes | memoryview) -> Digest:
        raise ContentUnavailable(f"{self._whole.name.hex()} is whole already; nothing can be written to it.")

    def read_chunk(self, index: int) -> bytes:
        return self._store.read_chunk(self._whole.name, index)

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        return []

    def leaf_list(self, first: int, end: int) -> bytes | None:
        return self._whole.leaf_list[HASH_SIZE * first : HASH_SIZE * end]

    def seal_slice(self, first: int, end: int) -> Digest:
        return slice_digest(self._whole.leaf_list[HASH_SIZE * first : HASH_SIZE * end])

    def target(self, first: int, leaf_list: bytes, name: Digest) -> "_NothingMissing":
        if self._whole.leaf_list[HASH_SIZE * first : HASH_SIZE * first + len(leaf_list)] != leaf_list:
            raise ContentCorrupt(f"The leaf list of {name.hex()} is not that of {self._whole.name.hex()}.")
        return _NothingMissing(name, leaf_list)

    def flush(self) -> None:
        return

    def finish(self, digest: Digest) -> None:
        if digest != self._whole.name:
            raise ContentCorrupt(f"This file is {self._whole.name.hex()}, not {digest.hex()}.")

    def discard(self) -> None:
        return


class _NothingMissing:
    """A `Target` that wants nothing."""

    def __init__(self, name: Digest, leaf_list: bytes) -> None:
        self._name = name
        self._leaf_list = leaf_list

    @property
    def object(self) -> Digest:
        return self._name

    @property
    def leaf_list(self) -> bytes:
        return self._leaf_list

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        return []

    def write_chunk(self, index: int, data: bytes | memoryview) -> None:
        return
