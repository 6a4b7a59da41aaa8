"""Files in the making, for content_store.py: rows of its database."""

import hashlib
from typing import TYPE_CHECKING

from swarmp2p.content.unixfs import HASH_SIZE, chunk_count, chunk_length, leaf_at, root, slice_digest
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import Digest

if TYPE_CHECKING:
    from examples.own_layers.content_store import SqliteStore


class SqlitePart:
    """A `Part` (swarmp2p/content/interface.py): a row of `part`, which may be deleted at any time."""

    def __init__(self, store: "SqliteStore", id_: int, size: int) -> None:
        self.store = store
        self.id = id_
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    @property
    def chunks(self) -> int:
        return chunk_count(self._size)

    def _leaves(self) -> dict[int, bytes]:
        return dict(self.store.rows("SELECT number, leaf FROM chunk WHERE part = ?", self.id))

    def write_chunk(self, index: int, data: bytes | memoryview) -> Digest:
        if not 0 <= index < self.chunks or len(data) != chunk_length(index, self._size):
            raise ValueError(f"chunk {index} of {len(data)} bytes does not fit a file of {self._size} bytes")
        leaf = hashlib.sha256(data).digest()
        with self.store.transaction() as database:
            state = self.store.rows("SELECT digest FROM part WHERE id = ?", self.id)
            if self.store.rows("SELECT 1 FROM chunk WHERE (part, number, leaf) = (?, ?, ?)", self.id, index, leaf):
                return leaf
            if not state or state[0][0] is not None:
                raise ContentUnavailable("This part was collected, or is whole already.", "Fetch it again.")
            database.execute("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?)", (self.id, index, leaf, data))
        return leaf

    def read_chunk(self, index: int) -> bytes:
        found = self.store.rows("SELECT rowid, data, leaf FROM chunk WHERE part = ? AND number = ?", self.id, index)
        if not found:
            raise ContentUnavailable(f"Chunk {index} is not here.", "Fetch it first.")
        return self.store.verified(*found[0])

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        here = self._leaves()
        return [i for i in range(first, self.chunks if end is None else min(end, self.chunks)) if i not in here]

    def leaf_list(self, first: int, end: int) -> bytes | None:
        here = self._leaves()
        return b"".join(here[i] for i in range(first, end)) if all(i in here for i in range(first, end)) else None

    def seal_slice(self, first: int, end: int) -> Digest:
        leaf_list = self.leaf_list(first, end)
        if not leaf_list:
            raise ContentUnavailable(f"Chunks {first} to {end} are not all here.")
        self._serve(slice_digest(leaf_list), first, leaf_list)
        return slice_digest(leaf_list)

    def _serve(self, name: Digest, first: int, leaf_list: bytes) -> None:
        with self.store.transaction() as database:
            if not self.store.rows("SELECT 1 FROM part WHERE id = ?", self.id):
                raise ContentUnavailable("This part was collected.", "Fetch it again.")
            database.execute("INSERT OR IGNORE INTO object VALUES (?, ?, ?, ?)", (name, self.id, first, leaf_list))

    def target(self, first: int, leaf_list: bytes, name: Digest) -> "SqliteTarget":
        count = len(leaf_list) // HASH_SIZE
        whole = (first, count) == (0, self.chunks) and root(leaf_list, self._size).digest == name
        if not whole and (count == 0 or slice_digest(leaf_list) != name):
            raise ContentCorrupt(f"That leaf list does not make {name.hex()}.")
        if not 0 <= first <= self.chunks - count:
            raise ValueError(f"{count} chunks from {first} on do not fit a file of {self.chunks}")
        self._serve(name, first, leaf_list)
        return SqliteTarget(self, first, leaf_list, name)

    def flush(self) -> None:
        """Nothing to do: each change is a transaction, and flushed."""

    def finish(self, digest: Digest) -> None:
        with self.store.transaction() as database:
            leaf_list = self.leaf_list(0, self.chunks)
            if leaf_list is None:
                raise ContentUnavailable(f"Chunks {self.missing()} are missing.")
            if root(leaf_list, self._size).digest != digest:
                raise ContentCorrupt(f"The chunks do not make {digest.hex()}.")
            self._serve(digest, 0, leaf_list)
            database.execute("UPDATE part SET digest = ? WHERE id = ?", (digest, self.id))

    def discard(self) -> None:
        with self.store.transaction() as database:
            database.execute("DELETE FROM part WHERE id = ? AND digest IS NULL", (self.id,))


class SqliteTarget:
    """A `Target`: a range of a part whose leaves are known."""

    def __init__(self, part: SqlitePart, first: int, leaf_list: bytes, name: Digest) -> None:
        self._part = part
        self._first = first
        self._leaf_list = leaf_list
        self._name = name

    @property
    def object(self) -> Digest:
        return self._name

    @property
    def leaf_list(self) -> bytes:
        return self._leaf_list

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        count = len(self._leaf_list) // HASH_SIZE
        stop = count if end is None else min(end, count)
        here = dict(
            self._part.store.rows(
                "SELECT number - ?, leaf FROM chunk WHERE part = ? AND number >= ? AND number < ?",
                self._first, self._part.id, self._first + first, self._first + stop,
            )
        )  # fmt: skip
        return [index for index in range(first, stop) if here.get(index) != leaf_at(self._leaf_list, index)]

    def write_chunk(self, index: int, data: bytes | memoryview) -> None:
        if index < 0 or hashlib.sha256(data).digest() != leaf_at(self._leaf_list, index):
            raise ContentCorrupt(f"Chunk {index} does not hash to its leaf.")
        try:
            self._part.write_chunk(self._first + index, data)
        except ValueError as error:
            # The leaf list itself asks for a chunk that no file of this size has there.
            raise ContentCorrupt(f"{self._name.hex()}: {error}.") from error
