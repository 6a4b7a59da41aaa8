"""A file that is here whole, seen as a part: so that `begin` answers the same way whatever is held."""

from typing import Protocol

from swarmp2p.content.record import Span
from swarmp2p.content.unixfs import HASH_SIZE, chunk_count, slice_digest
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import Digest


class _Reads(Protocol):
    def read_chunk(self, name: Digest, index: int) -> bytes: ...


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
