"""A file that is being put together chunk by chunk: a sparse file on disk, and which of its chunks are there.

What is there is known in memory only; after a restart the chunks that can be named (by the leaf list of a known digest,
or by a sealed slice's) are hashed again.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from swarmp2p.content.disk import room, write_whole
from swarmp2p.content.unixfs import HASH_SIZE, chunk_count, chunk_length, root, slice_digest
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import CHUNK_SIZE, Digest

DATA, SLICES = "data", "slices"


class DiskPart:
    """Implements `interface.Part`. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        size: int,
        leaf_list: bytes | None,
        *,
        finish: Callable[["DiskPart", Digest], None],
        discard: Callable[["DiskPart"], None],
        seal: Callable[["DiskPart", int, int, Digest], None],
    ) -> None:
        self.folder = folder
        self.size = size
        self.chunks = chunk_count(size)
        self.expected = leaf_list
        self._leaves: list[bytes | None] = [None] * self.chunks
        self._mutex = threading.Lock()
        self._finish, self._discard, self._seal = finish, discard, seal
        self.finished: Digest | None = None
        folder.mkdir(parents=True, exist_ok=True)
        is_new = not (folder / DATA).exists()
        with room(folder):
            self._file = os.open(folder / DATA, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, size)
        if not is_new:
            self._resume()

    def _resume(self) -> None:
        if self.expected is not None:
            self._take_what_fits(0, self.expected)
        record = self.folder / SLICES
        if record.exists():
            for line in record.read_text().splitlines():
                first, leaves = line.split()
                leaf_list = bytes.fromhex(leaves)
                end = int(first) + len(leaf_list) // HASH_SIZE
                self._take_what_fits(int(first), leaf_list)
                if self.leaf_list(int(first), end) == leaf_list:
                    self._seal(self, int(first), end, slice_digest(leaf_list))

    def _take_what_fits(self, first: int, leaf_list: bytes) -> None:
        for position in range(len(leaf_list) // HASH_SIZE):
            leaf = leaf_list[position * HASH_SIZE : (position + 1) * HASH_SIZE]
            if hashlib.sha256(self._read(first + position)).digest() == leaf:
                self._leaves[first + position] = leaf

    def _read(self, index: int) -> bytes:
        if self._file < 0:
            raise ContentUnavailable("This file was dropped.", "It is fetched again if it is needed.")
        return os.pread(self._file, chunk_length(index, self.size), index * CHUNK_SIZE)

    def write_chunk(self, index: int, data: bytes | memoryview) -> Digest:
        """Store a chunk of own making."""
        if len(data) != chunk_length(index, self.size):
            raise ValueError(f"chunk {index} has {chunk_length(index, self.size)} bytes, not {len(data)}")
        leaf = hashlib.sha256(data).digest()
        self.store(index, data, leaf)
        return leaf

    def store(self, index: int, data: bytes | memoryview, leaf: bytes) -> None:
        """Store a chunk whose leaf hash is known to be this."""
        if self._file < 0:
            raise ContentUnavailable("This file was dropped.", "It is fetched again if it is needed.")
        with room(self.folder):
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, memoryview(data)[written:], index * CHUNK_SIZE + written)
        self._leaves[index] = leaf

    def read_chunk(self, index: int) -> bytes:
        """A chunk that is here, verified."""
        leaf = self._leaves[index]
        if leaf is None:
            raise ContentUnavailable(f"Chunk {index} is not here.", "Fetch it first.")
        data = self._read(index)
        if hashlib.sha256(data).digest() != leaf:
            self._leaves[index] = None
            raise ContentCorrupt(f"Chunk {index} in {self.folder} has rotten on disk.", "It is fetched again.")
        return data

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        """Indexes that are not here."""
        return [index for index in range(first, self.chunks if end is None else end) if self._leaves[index] is None]

    def leaf_list(self, first: int, end: int) -> bytes | None:
        """Leaf hashes of a range."""
        leaves = self._leaves[first:end]
        return None if None in leaves else b"".join(leaf for leaf in leaves if leaf is not None)

    def seal_slice(self, first: int, end: int) -> Digest:
        """Flush a range and serve it under its slice digest."""
        leaf_list = self.leaf_list(first, end)
        if leaf_list is None:
            raise ContentUnavailable(f"Chunks {self.missing(first, end)[:4]}… are missing.", "Fetch them first.")
        self.flush()
        digest = slice_digest(leaf_list)
        with self._mutex:
            record = self.folder / SLICES
            if self.finished is None:
                line = f"{first} {leaf_list.hex()}\n"
                text = record.read_text() if record.exists() else ""
                if line not in text:
                    write_whole(record, (text + line).encode())
        self._seal(self, first, end, digest)
        return digest

    def target(self, first: int, leaf_list: bytes, name: Digest) -> "PartTarget":
        """Where to fetch an object to."""
        if slice_digest(leaf_list) != name and (
            len(leaf_list) != HASH_SIZE * self.chunks or root(leaf_list, self.size).digest != name
        ):
            raise ContentCorrupt("The leaf list is not that of the object.", "Ask somebody else for it.")
        if first + len(leaf_list) // HASH_SIZE > self.chunks:
            raise ContentCorrupt("The object is larger than the file it belongs to.", "Ask somebody else for it.")
        return PartTarget(self, first, leaf_list, name)

    def flush(self) -> None:
        """Everything written is on disk."""
        if self._file >= 0:
            with room(self.folder):
                os.fsync(self._file)

    def finish(self, digest: Digest) -> None:
        """Become the file of this digest."""
        if self.finished == digest:
            return
        leaf_list = self.leaf_list(0, self.chunks)
        if leaf_list is None:
            raise ContentUnavailable(f"{len(self.missing())} chunks are missing.", "Fetch them first.")
        if root(leaf_list, self.size).digest != digest:
            raise ContentCorrupt("The chunks make another file.", "Fetch the leaf list and what differs again.")
        self.flush()
        self._finish(self, digest)

    def discard(self) -> None:
        """Drop it."""
        if self.finished is None:
            self._discard(self)

    def forget(self, index: int) -> None:
        """A chunk turned out to be rotten."""
        self._leaves[index] = None

    def close(self) -> None:
        """Release the file."""
        with self._mutex:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


class PartTarget:
    """Implements `interface.Target`: a range of a part with its expected leaves."""

    def __init__(self, part: DiskPart, first: int, leaf_list: bytes, name: Digest) -> None:
        self._part = part
        self._first = first
        self.leaf_list = leaf_list
        self.object = name

    def _leaf(self, index: int) -> bytes:
        return self.leaf_list[index * HASH_SIZE : (index + 1) * HASH_SIZE]

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        """Indexes that are not here as they should be."""
        last = len(self.leaf_list) // HASH_SIZE if end is None else end
        at = self._first
        return [i for i in range(first, last) if self._part.leaf_list(at + i, at + i + 1) != self._leaf(i)]

    def write_chunk(self, index: int, data: bytes | memoryview) -> None:
        """Verify and store a chunk."""
        leaf = self._leaf(index)
        if len(data) != chunk_length(self._first + index, self._part.size) or hashlib.sha256(data).digest() != leaf:
            raise ContentCorrupt(f"Chunk {index} does not hash to its leaf.", "Ask somebody else for it.")
        self._part.store(self._first + index, data, leaf)
