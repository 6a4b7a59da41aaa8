"""The embedded content store: one file an object plus its leaf list, and parts of files that are still coming.

files/<digest>  files/<digest>.leaves  partial/<digest>/  assemblies/<name>/  scratch/
"""

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Collection
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from swarmp2p.content.disk import room, sync_folder, write_whole
from swarmp2p.content.part import DATA, DiskPart
from swarmp2p.content.unixfs import HASH_SIZE, Hashed, chunk_count, chunk_length, hash_bytes, hash_file, root
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, QuotaExceeded
from swarmp2p.core.types import CHUNK_SIZE, Digest

_NAME = re.compile(r"[a-z0-9-]{1,64}")
_SIZE, _LEAVES = "size", "leaves"


@dataclass(frozen=True, slots=True)
class _Slice:
    """Chunks [first, end) of a part, served under their slice digest."""

    part: DiskPart
    first: int
    end: int


class EmbeddedStore:
    """Implements `interface.ContentStore` in a folder that no other process uses.

    Args:
        folder: made if missing.
        quota: bytes of content that may be held; None: as much as the disk has.
    """

    def __init__(self, folder: str | PathLike[str], quota: int | None = None) -> None:
        self._folder = Path(folder)
        self._quota = quota
        self._mutex = threading.RLock()
        self._files: dict[Digest, bytes] = {}
        """Leaf lists of whole files."""
        self._sizes: dict[Digest, int] = {}
        self._partial: dict[Digest, DiskPart] = {}
        self._assemblies: dict[str, DiskPart] = {}
        self._slices: dict[Digest, _Slice] = {}
        for name in ("files", "partial", "assemblies", "scratch"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._load()

    def _load(self) -> None:
        for file in (self._folder / "scratch").iterdir():
            file.unlink()
        for file in sorted((self._folder / "files").iterdir()):
            if file.suffix == ".leaves":
                continue
            leaves = file.with_suffix(".leaves")
            if file.name.startswith(".") or not leaves.exists():
                file.unlink()
                continue
            digest = bytes.fromhex(file.name)
            self._files[digest], self._sizes[digest] = leaves.read_bytes(), file.stat().st_size
        for folder in (self._folder / "partial").iterdir():
            if (folder / _LEAVES).exists() and (folder / _SIZE).exists():
                part = self._part(folder, int((folder / _SIZE).read_text()), (folder / _LEAVES).read_bytes())
                self._partial[bytes.fromhex(folder.name)] = part
            else:
                shutil.rmtree(folder)
        for folder in (self._folder / "assemblies").iterdir():
            if (folder / _SIZE).exists():
                self._assemblies[folder.name] = self._part(folder, int((folder / _SIZE).read_text()), None)
            else:
                shutil.rmtree(folder)

    def _part(self, folder: Path, size: int, leaf_list: bytes | None) -> DiskPart:
        return DiskPart(folder, size, leaf_list, finish=self._finish, discard=self._discard, seal=self._seal)

    def _file(self, digest: Digest) -> Path:
        return self._folder / "files" / digest.hex()

    def _need_room(self, size: int) -> None:
        if self._quota is not None and self.used() + size > self._quota:
            raise QuotaExceeded(
                f"{size} more bytes of content exceed the quota of {self._quota}.", "Raise it, or drop old models."
            )

    # ---- whole files

    def put(self, source: str | PathLike[str] | bytes, *, move: bool = False) -> Hashed:
        """Add a file, atomically and flushed."""
        hashed = hash_bytes(source) if isinstance(source, bytes) else hash_file(source)
        with self._mutex:
            if hashed.digest not in self._files:
                self._need_room(hashed.size)
                self._take_over(source, hashed, move)
        if move and not isinstance(source, bytes):
            Path(source).unlink(missing_ok=True)
        return hashed

    def _take_over(self, source: str | PathLike[str] | bytes, hashed: Hashed, move: bool) -> None:
        temporary = self.scratch()
        try:
            with room(self._folder):
                if isinstance(source, bytes):
                    temporary.write_bytes(source)
                elif move and os.stat(source).st_dev == os.stat(self._folder).st_dev:
                    temporary = Path(source)
                else:
                    shutil.copyfile(source, temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            self._add(temporary, hashed.digest, hashed.leaf_list, hashed.size)
        finally:
            if not isinstance(source, bytes) and temporary == Path(source):
                pass
            else:
                temporary.unlink(missing_ok=True)

    def _add(self, data: Path, digest: Digest, leaf_list: bytes, size: int) -> None:
        """Rename a flushed file to its place; the leaf list goes first, since `_load` takes a file by its list."""
        target = self._file(digest)
        write_whole(target.with_suffix(".leaves"), leaf_list)
        os.replace(data, target)
        sync_folder(target.parent)
        self._files[digest], self._sizes[digest] = leaf_list, size

    def scratch(self) -> Path:
        """A new path on the store's disk."""
        descriptor, name = tempfile.mkstemp(dir=self._folder / "scratch")
        os.close(descriptor)
        return Path(name)

    def has(self, digest: Digest) -> bool:
        """Whether the file is here whole."""
        return digest in self._files

    def size(self, digest: Digest) -> int:
        """Bytes in a whole file."""
        with self._mutex:
            if digest not in self._sizes:
                raise _not_here(digest)
            return self._sizes[digest]

    def read(self, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
        """A verified range of a whole file."""
        size = self.size(digest)
        end = size if length is None else min(size, offset + length)
        if end <= offset:
            return b""
        first, last = offset // CHUNK_SIZE, (end - 1) // CHUNK_SIZE
        data = b"".join(self.read_chunk(digest, index) for index in range(first, last + 1))
        return data[offset - first * CHUNK_SIZE : end - first * CHUNK_SIZE]

    def path(self, digest: Digest) -> Path:
        """A plain file with this content."""
        if digest not in self._files:
            raise _not_here(digest)
        return self._file(digest)

    def export(self, digest: Digest, destination: str | PathLike[str]) -> None:
        """Write a verified copy, atomically."""
        target = Path(destination)
        temporary = target.with_name(f".{target.name}.part")
        try:
            with room(target), temporary.open("wb") as file:
                for index in range(chunk_count(self.size(digest))):
                    file.write(self.read_chunk(digest, index))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    # ---- objects: files, partial files, slices

    def leaf_list(self, name: Digest) -> bytes | None:
        """The leaf list of an object."""
        with self._mutex:
            if name in self._files:
                return self._files[name]
            if name in self._partial:
                return self._partial[name].expected
            found = self._slices.get(name)
            return None if found is None else found.part.leaf_list(found.first, found.end)

    def held(self, name: Digest) -> bytes | None:
        """Which chunks of an object are here."""
        with self._mutex:
            if name in self._files:
                count, missing = len(self._files[name]) // HASH_SIZE, set[int]()
            elif name in self._partial:
                count, missing = self._partial[name].chunks, set(self._partial[name].missing())
            elif name in self._slices:
                found = self._slices[name]
                count = found.end - found.first
                missing = {index - found.first for index in found.part.missing(found.first, found.end)}
            else:
                return None
        bitmap = sum(1 << index for index in range(count) if index not in missing)
        return bitmap.to_bytes(-(-count // 8), "little")

    def read_chunk(self, name: Digest, index: int) -> bytes:
        """A verified chunk of an object."""
        with self._mutex:
            whole, partial, found = self._files.get(name), self._partial.get(name), self._slices.get(name)
        if whole is not None:
            return self._read_whole(name, whole, index)
        if partial is not None and 0 <= index < partial.chunks:
            return partial.read_chunk(index)
        if found is not None and 0 <= index < found.end - found.first:
            return found.part.read_chunk(found.first + index)
        raise _not_here(name)

    def _read_whole(self, digest: Digest, leaf_list: bytes, index: int) -> bytes:
        if not 0 <= index < len(leaf_list) // HASH_SIZE:
            raise ContentUnavailable(f"{digest.hex()} has no chunk {index}.")
        try:
            with self._file(digest).open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), chunk_length(index, self.size(digest)), index * CHUNK_SIZE)
        except FileNotFoundError:
            raise _not_here(digest) from None
        if hashlib.sha256(data).digest() != leaf_list[index * HASH_SIZE : (index + 1) * HASH_SIZE]:
            self._demote(digest)
            raise ContentCorrupt(f"Chunk {index} of {digest.hex()} has rotten on disk.", "It is fetched again.")
        return data

    def _demote(self, digest: Digest) -> None:
        """A file with a rotten chunk becomes a partial one, of which every good chunk is kept."""
        with self._mutex:
            leaf_list, size = self._files.pop(digest, None), self._sizes.pop(digest, 0)
            if leaf_list is None:
                return
            folder = self._begin_folder(digest, size, leaf_list)
            os.replace(self._file(digest), folder / DATA)
            self._file(digest).with_suffix(".leaves").unlink(missing_ok=True)
            self._partial[digest] = self._part(folder, size, leaf_list)

    def _begin_folder(self, digest: Digest, size: int, leaf_list: bytes) -> Path:
        folder = self._folder / "partial" / digest.hex()
        folder.mkdir(exist_ok=True)
        write_whole(folder / _SIZE, str(size).encode())
        write_whole(folder / _LEAVES, leaf_list)
        return folder

    # ---- parts

    def begin(self, digest: Digest, size: int, leaf_list: bytes) -> DiskPart:
        """The partial file of a known leaf list."""
        if root(leaf_list, size).digest != digest:
            raise ContentCorrupt(f"The leaf list does not make {digest.hex()}.", "Ask somebody else for it.")
        with self._mutex:
            if digest in self._partial:
                return self._partial[digest]
            if digest in self._files:
                return self._whole_as_part(digest, leaf_list)
            self._need_room(size)
            part = self._part(self._begin_folder(digest, size, leaf_list), size, leaf_list)
            self._partial[digest] = part
            self._copy_from_assemblies(part, leaf_list)
            return part

    def _whole_as_part(self, digest: Digest, leaf_list: bytes) -> DiskPart:
        folder = self._folder / "partial" / f"{digest.hex()}-whole"
        folder.mkdir(exist_ok=True)
        (folder / DATA).unlink(missing_ok=True)
        os.link(self._file(digest), folder / DATA)
        part = self._part(folder, self._sizes[digest], leaf_list)
        part.finished = digest
        shutil.rmtree(folder)  # the open file stays
        return part

    def _copy_from_assemblies(self, part: DiskPart, leaf_list: bytes) -> None:
        for assembly in self._assemblies.values():
            if assembly.size != part.size:
                continue
            for index in part.missing():
                leaf = leaf_list[index * HASH_SIZE : (index + 1) * HASH_SIZE]
                if assembly.leaf_list(index, index + 1) == leaf:
                    part.store(index, assembly.read_chunk(index), leaf)

    def assemble(self, name: str, size: int) -> DiskPart:
        """The assembly of this name."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an assembly")
        with self._mutex:
            part = self._assemblies.get(name)
            if part is None:
                self._need_room(size)
                folder = self._folder / "assemblies" / name
                folder.mkdir(exist_ok=True)
                write_whole(folder / _SIZE, str(size).encode())
                part = self._assemblies[name] = self._part(folder, size, None)
            if part.size != size:
                raise ValueError(f"the assembly {name} has {part.size} bytes, not {size}")
            return part

    def _seal(self, part: DiskPart, first: int, end: int, digest: Digest) -> None:
        with self._mutex:
            self._slices[digest] = _Slice(part, first, end)

    def _finish(self, part: DiskPart, digest: Digest) -> None:
        with self._mutex:
            leaf_list = part.leaf_list(0, part.chunks)
            if digest not in self._files and leaf_list is not None:
                self._add(part.folder / DATA, digest, leaf_list, part.size)
            part.finished = digest
            shutil.rmtree(part.folder, ignore_errors=True)
            self._partial.pop(digest, None)

    def _discard(self, part: DiskPart) -> None:
        with self._mutex:
            self._slices = {digest: s for digest, s in self._slices.items() if s.part is not part}
            self._partial = {digest: p for digest, p in self._partial.items() if p is not part}
            self._assemblies = {name: p for name, p in self._assemblies.items() if p is not part}
            part.close()
            shutil.rmtree(part.folder, ignore_errors=True)

    def collect(self, keep: Collection[Digest], assemblies: Collection[str] = ()) -> int:
        """Drop what is not to be kept; returns the bytes freed."""
        with self._mutex:
            before = self.used()
            for digest in [d for d in self._files if d not in keep]:
                del self._files[digest], self._sizes[digest]
                self._file(digest).unlink(missing_ok=True)
                self._file(digest).with_suffix(".leaves").unlink(missing_ok=True)
            for digest in [d for d in self._partial if d not in keep]:
                self._discard(self._partial[digest])
            for name in [n for n in self._assemblies if n not in assemblies]:
                self._discard(self._assemblies[name])
            return before - self.used()

    def used(self) -> int:
        """Bytes of content held."""
        with self._mutex:
            parts = [*self._partial.values(), *self._assemblies.values()]
            return sum(self._sizes.values()) + sum(part.size for part in parts if part.finished is None)

    def close(self) -> None:
        """Release files."""
        with self._mutex:
            for part in [*self._partial.values(), *self._assemblies.values()]:
                part.close()


def _not_here(name: Digest) -> ContentUnavailable:
    return ContentUnavailable(f"{name.hex()} is not here.", "Fetch it first.")
