"""Where the embedded chain keeps its state: a key-value table in SQLite, one transaction a chain block.

py-evm writes trie nodes, headers and indexes one by one; they are held back until the block is complete and then
committed together. So a process killed at any instant leaves the chain at the end of some block.
"""

import fcntl
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from eth.db.backends.base import BaseDB

from swarmp2p.core.errors import ConfigError, HomeLocked

_CACHE_ENTRIES = 200_000
"""Trie nodes and headers held in memory: about 100 MB at most. Emptied when full, since the hot ones come back soon."""


class FolderLock:
    """Keeps a second process out of a folder for as long as it is held; the kernel frees it when a process dies."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise HomeLocked(
                f"Another process runs the chain in {folder}.", "Stop it, or give this one a folder of its own."
            ) from None

    def release(self) -> None:
        """Let others in."""
        os.close(self._descriptor)


class BlockStore(BaseDB):
    """py-evm's database. Only one thread may use it at a time."""

    def __init__(self, path: Path) -> None:
        self._pending: dict[bytes, bytes | None] = {}
        self._cache: dict[bytes, bytes] = {}
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            # NORMAL would lose the last blocks at a power cut, after peers have acted on them.
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID")
            self._db.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL)")
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                f"The chain's file {path} cannot be used: {error}.", "Use another folder, or delete this one's chain."
            ) from None

    def __getitem__(self, key: bytes) -> bytes:
        if key in self._pending:
            value = self._pending[key]
        elif (value := self._cache.get(key)) is None:
            row = self._db.execute("SELECT v FROM kv WHERE k = ?", (key,)).fetchone()
            value = None if row is None else bytes(row[0])
            if value is not None:
                self._remember(key, value)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._pending[key] = bytes(value)

    def __delitem__(self, key: bytes) -> None:
        if not self._exists(key):
            raise KeyError(key)
        self._pending[key] = None

    def _exists(self, key: bytes) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def _remember(self, key: bytes, value: bytes) -> None:
        if len(self._cache) >= _CACHE_ENTRIES:
            self._cache.clear()
        self._cache[key] = value

    def meta(self) -> dict[str, bytes]:
        """What the chain notes about itself."""
        return {name: bytes(value) for name, value in self._db.execute("SELECT name, value FROM meta")}

    def commit(self, meta: Mapping[str, bytes] | None = None) -> None:
        """Write everything since the last commit, on disk when it returns."""
        changed = [(key, value) for key, value in self._pending.items() if value is not None]
        gone = [(key,) for key, value in self._pending.items() if value is None]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT OR REPLACE INTO kv VALUES (?, ?)", changed)
            self._db.executemany("DELETE FROM kv WHERE k = ?", gone)
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list((meta or {}).items()))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        for key, value in changed:
            self._remember(key, value)
        for (key,) in gone:
            self._cache.pop(key, None)
        self._pending.clear()

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        self._pending.clear()

    def close(self) -> None:
        """Close the file; what was not committed is gone."""
        self._db.close()
