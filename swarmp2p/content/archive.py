"""A content folder as a stranger reads it: changes nothing, takes no lock, believes nothing.

For audits, also while a peer uses the folder: what it collects or renames meanwhile is simply not here. Unlike the
store itself it gives rotten chunks of whole files as they are, for whoever reads to find out.
"""

import hashlib
from functools import lru_cache
from os import PathLike
from pathlib import Path

from swarmp2p.content.record import Record, record_beside
from swarmp2p.content.unixfs import hash_file, leaf_at
from swarmp2p.core.errors import ContentUnavailable
from swarmp2p.core.types import CHUNK_SIZE, Digest


class ContentArchive:
    """The files in a folder of `EmbeddedStore`'s, whole or in part, by digest."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        self._folder = Path(folder)
        self._leaves = lru_cache(maxsize=1024)(self._read_leaves)

    def leaf_list(self, name: Digest) -> bytes | None:
        """The leaf list that is recorded for a file; of its content if there is no record; None: it is not here."""
        return self._leaves(name)

    def read_chunk(self, name: Digest, index: int) -> bytes:
        """The bytes where a file's chunk is. Raises ContentUnavailable."""
        whole = _read(self._object(name), index)
        if whole is not None:
            return whole
        leaves, partial = self.leaf_list(name), _read(self._part(name) / "data", index)
        # A partial file has zeros, or a chunk half-written, where nothing has come yet.
        if leaves is None or partial is None or hashlib.sha256(partial).digest() != leaf_at(leaves, index):
            raise ContentUnavailable(f"Chunk {index} of {name.hex()} is not in {self._folder}.")
        return partial

    def _object(self, name: Digest) -> Path:
        return self._folder / "objects" / name.hex()

    def _part(self, name: Digest) -> Path:
        return self._folder / "parts" / f"f-{name.hex()}"

    def _read_leaves(self, name: Digest) -> bytes | None:
        path = self._object(name)
        here = path.exists()
        for place in ([record_beside(path)] if here else []) + [self._part(name) / "record"]:
            record = _record(place)
            for span in record.spans if record is not None else ():
                if span.name == name:
                    return span.leaf_list
        try:
            return hash_file(path).leaf_list if here else None
        except FileNotFoundError:
            return None


def _record(path: Path) -> Record | None:
    try:
        return Record.decode(path.read_bytes())
    except FileNotFoundError:
        return None


def _read(path: Path, index: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            file.seek(index * CHUNK_SIZE)
            return file.read(CHUNK_SIZE)
    except FileNotFoundError:
        return None
