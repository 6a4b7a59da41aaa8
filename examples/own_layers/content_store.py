"""A content store of one's own: everything in one SQLite file, which one can copy, back up and query.

Compared with the embedded store it is slow with large models: each chunk is a transaction, flushed to the disk, and a file
that somebody wants as a file (`path`) is copied out of the database. It is here to show how little a `ContentStore` needs.
"""

import hashlib
import re
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from examples.own_layers.content_part import SqlitePart
from swarmp2p.content.unixfs import HASH_SIZE, Hashed, hash_bytes, hash_file, root
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, QuotaExceeded
from swarmp2p.core.types import CHUNK_SIZE, Digest

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
-- A file or an assembly. `digest` is set once it is whole; ids are never used again, so that a part that was collected is
-- not taken for a later one of the same name.
CREATE TABLE IF NOT EXISTS part (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL, size INTEGER NOT NULL, digest BLOB
);
CREATE TABLE IF NOT EXISTS chunk (
    part INTEGER NOT NULL REFERENCES part ON DELETE CASCADE, number INTEGER NOT NULL, leaf BLOB NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (part, number)
);
CREATE INDEX IF NOT EXISTS chunk_by_leaf ON chunk (leaf);
-- Under which names (a file's or a slice's digest) chunks of a part are served, and from which one on.
CREATE TABLE IF NOT EXISTS object (
    name BLOB NOT NULL, part INTEGER NOT NULL REFERENCES part ON DELETE CASCADE, first INTEGER NOT NULL,
    leaf_list BLOB NOT NULL, PRIMARY KEY (name, part, first)
);
"""
_HELD = """
    FROM object JOIN chunk ON chunk.part = object.part AND chunk.number >= object.first
    AND chunk.leaf = substr(object.leaf_list, 1 + 32 * (chunk.number - object.first), 32) WHERE object.name = ?
"""
"""Chunks of an object that are here, with the content that the object says."""
_ASSEMBLY = re.compile(r"[a-z0-9-]{1,64}")


class SqliteStore:
    """A `ContentStore` (swarmp2p/content/interface.py).

    Args:
        folder: for `content.sqlite`, and for files that are written or read as files; one process uses it at a time.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self._folder = Path(folder)
        self._files = self._folder / "files"
        shutil.rmtree(self._files, ignore_errors=True)
        self._files.mkdir(parents=True, mode=0o700)
        self._lock = threading.RLock()
        # Transactions are begun and ended by `transaction` alone.
        self._database = sqlite3.connect(self._folder / "content.sqlite", check_same_thread=False, isolation_level=None)
        self._database.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The database, for one change that is on the disk when the block ends, or has not happened.

        Raises:
            QuotaExceeded: the disk is full.
        """
        with self._lock:
            if self._database.in_transaction:  # within another one's block
                yield self._database
                return
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except BaseException as error:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise QuotaExceeded(f"{self._folder} is full.", "Make room on the disk.") from None
                raise

    def rows(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        """The answers to a SELECT."""
        with self._lock:
            return self._database.execute(question, values).fetchall()

    # Whole files

    def put(self, source: str | PathLike[str] | bytes, *, move: bool = False) -> Hashed:
        hashed = hash_bytes(source) if isinstance(source, bytes) else hash_file(source)
        if not self.has(hashed.digest):
            with self.transaction():
                part = self.begin(hashed.digest, hashed.size, hashed.leaf_list)
                if isinstance(source, bytes):
                    for index in part.missing():
                        part.write_chunk(index, source[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
                else:
                    with open(source, "rb") as file:
                        for index in part.missing():
                            file.seek(index * CHUNK_SIZE)
                            part.write_chunk(index, file.read(CHUNK_SIZE))
                part.finish(hashed.digest)
        if move and not isinstance(source, bytes):
            Path(source).unlink()
        return hashed

    def scratch(self) -> Path:
        return self._files / uuid.uuid4().hex

    def has(self, digest: Digest) -> bool:
        return bool(self.rows("SELECT 1 FROM part WHERE digest = ?", digest))

    def size(self, digest: Digest) -> int:
        return self._whole(digest).size

    def _whole(self, digest: Digest) -> SqlitePart:
        found = self.rows("SELECT id, size FROM part WHERE digest = ?", digest)
        if not found:
            raise ContentUnavailable(f"The file {digest.hex()} is not here whole.", "Fetch it first.")
        return SqlitePart(self, *found[0])

    def read(self, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
        part = self._whole(digest)
        end = part.size if length is None else min(offset + length, part.size)
        if offset >= end:
            return b""
        first, last = offset // CHUNK_SIZE, -(-end // CHUNK_SIZE)
        data = b"".join(part.read_chunk(index) for index in range(first, last))
        return data[offset - first * CHUNK_SIZE : end - first * CHUNK_SIZE]

    def path(self, digest: Digest) -> Path:
        path = self._files / digest.hex()
        if not path.exists():
            self.export(digest, path)
        return path

    def export(self, digest: Digest, destination: str | PathLike[str]) -> None:
        part, target = self._whole(digest), Path(destination)
        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            with open(beside, "wb") as file:
                for index in range(part.chunks):
                    file.write(part.read_chunk(index))
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)

    # Objects, as they are served

    def leaf_list(self, name: Digest) -> bytes | None:
        found = self.rows("SELECT leaf_list FROM object WHERE name = ? LIMIT 1", name)
        return bytes(found[0][0]) if found else None

    def held(self, name: Digest) -> bytes | None:
        leaf_list = self.leaf_list(name)
        if leaf_list is None:
            return None
        here = {number for (number,) in self.rows(f"SELECT chunk.number - object.first {_HELD}", name)}
        count = len(leaf_list) // HASH_SIZE
        bitmap: int = sum(1 << index for index in here)
        return bitmap.to_bytes(-(-count // 8), "little")

    def read_chunk(self, name: Digest, index: int) -> bytes:
        question = f"SELECT chunk.rowid, data, leaf {_HELD} AND chunk.number - object.first = ? LIMIT 1"
        found = self.rows(question, name, index)
        if not found:
            raise ContentUnavailable(f"Chunk {index} of {name.hex()} is not here.", "Fetch it first.")
        return self.verified(*found[0])

    def verified(self, row: int, data: bytes, leaf: bytes) -> bytes:
        """The data of a row of `chunk`, if it still has its hash; else the chunk is forgotten, and no file whole with it.

        Raises:
            ContentCorrupt: it has not.
        """
        if hashlib.sha256(data).digest() == leaf:
            return data
        with self.transaction() as database:
            # Only if it is the same row still: another thread may have written the chunk anew.
            gone = database.execute(
                "DELETE FROM chunk WHERE rowid = ? AND data = ? RETURNING part", (row, data)
            ).fetchall()
            database.executemany("UPDATE part SET digest = NULL WHERE id = ?", gone)
        raise ContentCorrupt("A chunk in the database is not what was written.", "It will be fetched again.")

    # Parts

    def begin(self, digest: Digest, size: int, leaf_list: bytes) -> SqlitePart:
        if root(leaf_list, size).digest != digest:
            raise ContentCorrupt(f"That leaf list does not make {digest.hex()}.")
        with self.transaction() as database:
            if self.has(digest):
                return self._whole(digest)
            part = self._part("file " + digest.hex(), size)
            part.target(0, leaf_list, digest)
            leaves = [leaf_list[at : at + HASH_SIZE] for at in range(0, len(leaf_list), HASH_SIZE)]
            # Whatever is here already, in an assembly for one, need not be fetched.
            database.executemany(
                "INSERT OR IGNORE INTO chunk SELECT ?, ?, leaf, data FROM chunk WHERE leaf = ? LIMIT 1",
                [(part.id, index, leaf) for index, leaf in enumerate(leaves)],
            )
            return part

    def assemble(self, name: str, size: int) -> SqlitePart:
        if not _ASSEMBLY.fullmatch(name):
            raise ValueError(f"not a name for an assembly: {name!r}")
        part = self._part("assembly " + name, size)
        if part.size != size:
            raise ValueError(f"the assembly {name} has {part.size} bytes")
        return part

    def _part(self, name: str, size: int) -> SqlitePart:
        with self.transaction() as database:
            database.execute("INSERT OR IGNORE INTO part (name, size) VALUES (?, ?)", (name, size))
            return SqlitePart(self, *self.rows("SELECT id, size FROM part WHERE name = ?", name)[0])

    # What is here

    def digests(self) -> set[Digest]:
        whole = {digest for (digest,) in self.rows("SELECT digest FROM part WHERE digest IS NOT NULL")}
        return whole | {bytes.fromhex(name) for name in self._unfinished("file ")}

    def assemblies(self) -> set[str]:
        return self._unfinished("assembly ")

    def _unfinished(self, kind: str) -> set[str]:
        found = self.rows("SELECT name FROM part WHERE digest IS NULL AND name LIKE ?", kind + "%")
        return {name.removeprefix(kind) for (name,) in found}

    def collect(self, keep: Collection[Digest], assemblies: Collection[str] = ()) -> int:
        names = {"file " + digest.hex() for digest in keep} | {"assembly " + name for name in assemblies}
        with self.transaction() as database:
            before = self.used()
            for id_, name, digest in self.rows("SELECT id, name, digest FROM part"):
                if not (digest in keep if digest is not None else name in names):
                    database.execute("DELETE FROM part WHERE id = ?", (id_,))
                    if digest is not None:
                        (self._files / digest.hex()).unlink(missing_ok=True)
            return before - self.used()

    def used(self) -> int:
        """Bytes of content in the database. It is never made smaller: what was collected is room for what comes."""
        return int(self.rows("SELECT coalesce(sum(length(data)), 0) FROM chunk")[0][0])

    def close(self) -> None:
        with self._lock:
            self._database.close()
        shutil.rmtree(self._files, ignore_errors=True)
