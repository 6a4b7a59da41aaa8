"""A content store in memory: for tests of what sits above one. Checked by the same function as the real ones."""

import hashlib
import re
import tempfile
import threading
import uuid
from collections.abc import Collection
from os import PathLike
from pathlib import Path

from swarmp2p.content.unixfs import (
    HASH_SIZE,
    Hashed,
    chunk_count,
    chunk_length,
    hash_bytes,
    leaf_at,
    root,
    slice_digest,
)
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, QuotaExceeded
from swarmp2p.core.types import CHUNK_SIZE, Digest

_NAME = re.compile(r"[a-z0-9-]{1,64}")


class MemoryPart:
    """A `Part` (content/interface.py): chunks in a dict, objects by name in another."""

    def __init__(self, store: "MemoryStore", size: int) -> None:
        self._store = store
        self._size = size
        self.data: dict[int, bytes] = {}
        self.objects: dict[Digest, tuple[set[int], bytes]] = {}
        """First chunks and leaf list by name: slices with the same content have the same name."""
        self.final: Digest | None = None
        self.dropped = False

    @property
    def size(self) -> int:
        return self._size

    @property
    def chunks(self) -> int:
        return chunk_count(self._size)

    def write_chunk(self, index: int, data: bytes | memoryview) -> Digest:
        if not 0 <= index < self.chunks or len(data) != chunk_length(index, self._size):
            raise ValueError(f"chunk {index} of {len(data)} bytes")
        copy = bytes(data)
        leaf = hashlib.sha256(copy).digest()
        with self._store.lock:
            if self.data.get(index) == copy:
                return leaf
            if self.dropped or self.final is not None:
                raise ContentUnavailable("This part was dropped, or is whole.", "Fetch it again.")
            self._store.need_room(len(copy) - len(self.data.get(index, b"")))
            self.data[index] = copy
        return leaf

    def read_chunk(self, index: int) -> bytes:
        with self._store.lock:
            if index not in self.data:
                raise ContentUnavailable(f"Chunk {index} is not here.", "Fetch it first.")
            return self.data[index]

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        with self._store.lock:
            return [
                i for i in range(first, min(self.chunks, self.chunks if end is None else end)) if i not in self.data
            ]

    def leaf_list(self, first: int, end: int) -> bytes | None:
        with self._store.lock:
            if not all(i in self.data for i in range(first, end)):
                return None
            return b"".join(hashlib.sha256(self.data[i]).digest() for i in range(first, end))

    def seal_slice(self, first: int, end: int) -> Digest:
        leaf_list = self.leaf_list(first, end)
        if not leaf_list:
            raise ContentUnavailable(f"Chunks {first} to {end} are not all here.")
        with self._store.lock:
            self.learn(slice_digest(leaf_list), first, leaf_list)
        return slice_digest(leaf_list)

    def target(self, first: int, leaf_list: bytes, name: Digest) -> "MemoryTarget":
        whole = first == 0 and len(leaf_list) == HASH_SIZE * self.chunks and root(leaf_list, self._size).digest == name
        if not whole and slice_digest(leaf_list) != name:
            raise ContentCorrupt(f"That leaf list does not make {name.hex()}.")
        if not 0 <= first <= self.chunks - len(leaf_list) // HASH_SIZE:
            raise ValueError(f"{name.hex()} does not fit")
        with self._store.lock:
            self.learn(name, first, leaf_list)
        return MemoryTarget(self, first, leaf_list, name)

    def flush(self) -> None:
        return

    def finish(self, digest: Digest) -> None:
        with self._store.lock:
            if self.final == digest:
                return
            leaf_list = self.leaf_list(0, self.chunks)
            if leaf_list is None:
                raise ContentUnavailable(f"Chunks {self.missing()} are missing.")
            if root(leaf_list, self._size).digest != digest:
                raise ContentCorrupt(f"The chunks do not make {digest.hex()}.")
            self.learn(digest, 0, leaf_list)
            self.final = digest

    def discard(self) -> None:
        with self._store.lock:
            if self.final is None:
                self.dropped = True
                self._store.parts = {n: p for n, p in self._store.parts.items() if p is not self}

    def learn(self, name: Digest, first: int, leaf_list: bytes) -> None:
        """From now on chunks from `first` on are served under this name."""
        self.objects.setdefault(name, (set(), leaf_list))[0].add(first)

    def find(self, name: Digest, index: int) -> bytes | None:
        """Chunk `index` of the object, if it is here."""
        firsts, leaf_list = self.objects[name]
        return next((self.data[first + index] for first in firsts if self.holds(first, leaf_list, index)), None)

    def holds(self, first: int, leaf_list: bytes, index: int) -> bool:
        """Whether chunk `index` of the span that starts at `first` is here."""
        data = self.data.get(first + index)
        return data is not None and hashlib.sha256(data).digest() == leaf_at(leaf_list, index)


class MemoryTarget:
    """A `Target` (content/interface.py)."""

    def __init__(self, part: MemoryPart, first: int, leaf_list: bytes, name: Digest) -> None:
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
        return [
            i
            for i in range(first, count if end is None else min(end, count))
            if not self._part.holds(self._first, self._leaf_list, i)
        ]

    def write_chunk(self, index: int, data: bytes | memoryview) -> None:
        if hashlib.sha256(data).digest() != leaf_at(self._leaf_list, index):
            raise ContentCorrupt(f"Chunk {index} does not hash to its leaf.")
        self._part.write_chunk(self._first + index, data)


class MemoryStore:
    """A `ContentStore` (content/interface.py).

    Args:
        quota: bytes of content at most.
    """

    def __init__(self, *, quota: int | None = None) -> None:
        self.lock = threading.RLock()
        self.parts: dict[str, MemoryPart] = {}
        self._quota = quota
        self._folder = tempfile.TemporaryDirectory(prefix="swarmp2p-memory-")

    def need_room(self, count: int) -> None:
        """Raises QuotaExceeded if so many more bytes do not fit."""
        if self._quota is not None and count > 0 and self.used() + count > self._quota:
            raise QuotaExceeded(f"{count} more bytes exceed the quota of {self._quota}.", "Raise the quota.")

    def put(self, source: str | PathLike[str] | bytes, *, move: bool = False) -> Hashed:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        hashed = hash_bytes(data)
        with self.lock:
            if not self.has(hashed.digest):
                self.need_room(len(data))
                part = self._part("f-" + hashed.digest.hex(), len(data))
                for index in part.missing():
                    part.write_chunk(index, data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
                part.finish(hashed.digest)
        if move and not isinstance(source, bytes):
            Path(source).unlink()
        return hashed

    def _part(self, name: str, size: int) -> MemoryPart:
        return self.parts.setdefault(name, MemoryPart(self, size))

    def scratch(self) -> Path:
        return Path(self._folder.name) / uuid.uuid4().hex

    def _whole(self, digest: Digest) -> MemoryPart | None:
        with self.lock:
            return next((part for part in self.parts.values() if part.final == digest), None)

    def _need(self, digest: Digest) -> MemoryPart:
        part = self._whole(digest)
        if part is None:
            raise ContentUnavailable(f"The file {digest.hex()} is not here whole.", "Fetch it first.")
        return part

    def has(self, digest: Digest) -> bool:
        return self._whole(digest) is not None

    def size(self, digest: Digest) -> int:
        return self._need(digest).size

    def read(self, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
        part = self._need(digest)
        data = b"".join(part.read_chunk(i) for i in range(part.chunks))
        return data[offset:] if length is None else data[offset : offset + length]

    def path(self, digest: Digest) -> Path:
        path = Path(self._folder.name) / digest.hex()
        if not path.exists():
            self.export(digest, path)
        return path

    def export(self, digest: Digest, destination: str | PathLike[str]) -> None:
        beside = Path(f"{destination}.{uuid.uuid4().hex}")
        beside.write_bytes(self.read(digest))
        beside.replace(destination)

    def _holders(self, name: Digest) -> list[MemoryPart]:
        with self.lock:
            return [part for part in self.parts.values() if name in part.objects]

    def leaf_list(self, name: Digest) -> bytes | None:
        return next((part.objects[name][1] for part in self._holders(name)), None)

    def held(self, name: Digest) -> bytes | None:
        leaf_list = self.leaf_list(name)
        if leaf_list is None:
            return None
        count = len(leaf_list) // HASH_SIZE
        bits = sum(1 << i for i in range(count) if self._find(name, i) is not None)
        return bits.to_bytes(-(-count // 8), "little")

    def _find(self, name: Digest, index: int) -> bytes | None:
        found = (part.find(name, index) for part in self._holders(name))
        return next((data for data in found if data is not None), None)

    def read_chunk(self, name: Digest, index: int) -> bytes:
        data = self._find(name, index) if index >= 0 else None
        if data is None:
            raise ContentUnavailable(f"Chunk {index} of {name.hex()} is not here.", "Fetch it first.")
        return data

    def begin(self, digest: Digest, size: int, leaf_list: bytes) -> MemoryPart:
        if root(leaf_list, size).digest != digest:
            raise ContentCorrupt(f"That leaf list does not make {digest.hex()}.")
        with self.lock:
            whole = self._whole(digest)
            if whole is not None:
                return whole
            donors = [part for name, part in self.parts.items() if name.startswith("a-") and part.size == size]
            part = self._part("f-" + digest.hex(), size)
            part.target(0, leaf_list, digest)
            for donor in donors:
                for index, data in donor.data.items():
                    if hashlib.sha256(data).digest() == leaf_at(leaf_list, index):
                        part.write_chunk(index, data)
            return part

    def assemble(self, name: str, size: int) -> MemoryPart:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name for an assembly: {name!r}")
        with self.lock:
            part = self._part("a-" + name, size)
        if part.size != size:
            raise ValueError(f"the assembly {name} has {part.size} bytes")
        return part

    def digests(self) -> set[Digest]:
        with self.lock:
            whole = {part.final for part in self.parts.values() if part.final is not None}
            return whole | {bytes.fromhex(name[2:]) for name in self.parts if name.startswith("f-")}

    def assemblies(self) -> set[str]:
        with self.lock:
            return {name[2:] for name, part in self.parts.items() if name.startswith("a-") and part.final is None}

    def collect(self, keep: Collection[Digest], assemblies: Collection[str] = ()) -> int:
        before = self.used()
        kept = {"f-" + digest.hex() for digest in keep} | {"a-" + name for name in assemblies}
        with self.lock:
            for name, part in list(self.parts.items()):
                if part.final in keep or (part.final is None and name in kept):
                    continue
                part.dropped = True
                del self.parts[name]
        return before - self.used()

    def used(self) -> int:
        with self.lock:
            return sum(len(data) for part in self.parts.values() for data in part.data.values())

    def close(self) -> None:
        self._folder.cleanup()
