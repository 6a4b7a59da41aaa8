"""The content store on plain files.

    objects/<hex digest>           a whole file, as any program can open it
    objects/<hex digest>.leaves    its size and leaf list, and the slices it is served by (record.py)
    parts/f-<hex digest>/          a partial file of a known digest: `data` (sparse) and `record`
    parts/a-<name>/                an assembly: the same
    scratch/                       files being written; emptied at start

Order of locks: a part's lock before the store's, never the other way round.
"""

import contextlib
import errno
import logging
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Iterable
from os import PathLike
from pathlib import Path

from swarmp2p.content.disk import (
    Budget,
    copy_flushed,
    name_also,
    room,
    sync_file,
    sync_folder,
    write_all,
    write_atomically,
    write_pieces,
)
from swarmp2p.content.interface import Part
from swarmp2p.content.part import FLUSHED, EmbeddedPart
from swarmp2p.content.record import Record, Span, record_beside
from swarmp2p.content.unixfs import Hashed, chunk_count, hash_bytes, hash_file, root
from swarmp2p.content.whole import Holder, WholeFile, WholePart, read_range
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, QuotaExceeded
from swarmp2p.core.types import Digest

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9-]{1,64}")
_HEX = re.compile(r"[0-9a-f]{64}")


class EmbeddedStore:
    """A `ContentStore` (interface.py) in a folder that one process owns.

    Args:
        folder: made if need be.
        quota: bytes of content at most; None for as much as the disk has.
    """

    def __init__(self, folder: str | PathLike[str], *, quota: int | None = None) -> None:
        self._folder = Path(folder)
        self._objects, self._parts_folder, self._scratch = (self._folder / n for n in ("objects", "parts", "scratch"))
        self.budget = Budget(self._folder, quota)
        self._spend = self.budget.spend
        self._lock = threading.RLock()
        self._making = threading.Lock()
        self._files: dict[Digest, WholeFile] = {}
        self._parts: dict[str, EmbeddedPart] = {}
        self._became: dict[str, EmbeddedPart] = {}
        """Parts that became files, by the name they had: an assembly goes on under its name until it is collected."""
        self._unflushed: dict[Digest, EmbeddedPart] = {}
        """Those whose data has two names until it is flushed: should the power fail before, they are parts again."""
        self._places: dict[Digest, list[tuple[Holder, Span]]] = {}
        shutil.rmtree(self._scratch, ignore_errors=True)
        for made in (self._objects, self._parts_folder, self._scratch):
            made.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._load()

    # Start

    def _load(self) -> None:
        for path in sorted(self._parts_folder.iterdir()):
            record = _read_record(path / "record") or _read_record(path / FLUSHED)
            if record is None or not (path / "data").exists():
                shutil.rmtree(path)
                continue
            self._open_part(path.name, record).rescan()
        parts = {_identity(part.data_path): part for part in self._parts.values()}
        for path in sorted(self._objects.iterdir()):
            if _HEX.fullmatch(path.name):
                part = parts.get(_identity(path))
                if part is None:
                    self._load_file(path)
                else:
                    self._finish_again(part, path)
            elif path.suffix != ".leaves" or not path.with_suffix("").exists():
                path.unlink(missing_ok=True)  # a damaged file's record goes with it

    def _finish_again(self, part: EmbeddedPart, path: Path) -> None:
        """A file that had not been flushed: the part knows what is left of it."""
        path.unlink()
        with contextlib.suppress(ContentUnavailable, ContentCorrupt, QuotaExceeded):
            part.finish(bytes.fromhex(path.name))

    def _load_file(self, path: Path) -> None:
        digest = bytes.fromhex(path.name)
        record_path = record_beside(path)
        record = _read_record(record_path)
        if record is None or not record.spans or root(record.spans[0].leaf_list, record.size).digest != digest:
            hashed = hash_file(path)
            if hashed.digest != digest:
                _log.warning("%s is damaged beyond use and was removed; it will be fetched again", path)
                path.unlink()
                record_path.unlink(missing_ok=True)
                return
            record = Record(hashed.size, (Span(digest, 0, hashed.leaf_list),))
            write_atomically(record_path, record.encode())
        file = WholeFile(path, record, hashed=False)
        self._spend(record.size, False)
        self._register(file)
        if path.stat().st_size != record.size:
            self._demote(file)

    # Bookkeeping

    def _register(self, file: WholeFile) -> None:
        with self._lock:
            self._files[file.whole.name] = file
            self._reindex()

    def _reindex(self) -> None:
        """Called with the lock held, after any change of holders or spans."""
        places: dict[Digest, list[tuple[Holder, Span]]] = {}
        holders: list[Holder] = [*self._files.values(), *self._parts.values()]
        for holder in holders:
            for span in holder.spans:
                places.setdefault(span.name, []).append((holder, span))
        self._places = places

    def _announce(self, part: EmbeddedPart, span: Span) -> None:
        with self._lock:
            if part.final is not None:
                file = self._files.get(part.final)
                if file is not None:
                    self._add_slices(file, [span])
                return
            known = self._places.get(span.name, [])
            if (part, span) not in known:
                self._places = {**self._places, span.name: [*known, (part, span)]}

    def _open_part(self, name: str, record: Record) -> EmbeddedPart:
        folder = self._parts_folder / name
        part = EmbeddedPart(
            folder,
            record,
            spend=self._spend,
            announce=self._announce,
            finished=self._finished,
            settle=self.flush,
            dropped=self._drop_part,
        )
        with self._lock:
            self._parts[name] = part
            self._reindex()
        return part

    def _new_part(self, name: str, record: Record) -> EmbeddedPart:
        folder = self._parts_folder / name
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            write_atomically(folder / "record", record.encode(), flush=False)
            return self._open_part(name, record)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _finished(self, part: EmbeddedPart, record: Record) -> None:
        digest = record.spans[0].name
        path = self._objects / digest.hex()
        with self._lock:
            twin = self._files.get(digest)
            if twin is None:
                # The record goes first: the data file's name is what makes it a file.
                write_atomically(record_beside(path), record.encode(), flush=False)
                name_also(part.data_path, path, self.scratch())
                self._files[digest] = WholeFile(path, record, hashed=True)
                self._unflushed[digest] = self._parts.pop(part.folder.name)
                self._reindex()
            else:
                part.move_to(twin.path)
                self._add_slices(twin, record.spans[1:])
                self._spend(-record.size, False)
                self._forget(part)
            self._became[part.folder.name] = part
        self._end_partial(record, path)

    def _end_unflushed(self, digest: Digest) -> None:
        """Called with the lock held: the data keeps only the file's name, if it still has that."""
        part = self._unflushed.pop(digest, None)
        if part is not None:
            shutil.rmtree(part.folder, ignore_errors=True)

    def _take_back(self, digest: Digest) -> bool:
        """A file that cannot be flushed is the part again that it was before. False: it was none, or is flushed."""
        with self._lock:
            part = self._unflushed.pop(digest, None)
            if part is None:
                return False
            file = self._files.pop(digest)
            file.path.unlink(missing_ok=True)
            record_beside(file.path).unlink(missing_ok=True)
            part.reopen()
            del self._became[part.folder.name]
            self._parts[part.folder.name] = part
            self._reindex()
        return True

    def _end_partial(self, record: Record, path: Path) -> None:
        """A file is here whole: what was fetched of it meanwhile is not needed, and whoever fetches it is done."""
        digest = record.spans[0].name
        partial = self._parts.get("f-" + digest.hex())
        if partial is None:
            return
        try:
            if not partial.become(record, path):
                return
        except FileNotFoundError:
            partial.discard()
            return
        slices = [span for span in partial.spans if all(partial.holds(span, i) for i in range(span.count))]
        with self._lock:
            if digest in self._files:
                self._add_slices(self._files[digest], slices)
            self._became[partial.folder.name] = partial
            self._forget(partial)

    def _add_slices(self, file: WholeFile, slices: Iterable[Span]) -> None:
        """Called with the lock held: a whole file is served under these names too."""
        spans = {span.name: span for span in (*file.record.spans, *slices)}
        if len(spans) > len(file.record.spans):
            record = Record(file.record.size, tuple(spans.values()))
            write_atomically(record_beside(file.path), record.encode())
            self._files[file.whole.name] = file.with_record(record)
            self._reindex()

    def _drop_part(self, part: EmbeddedPart) -> None:
        self._spend(-part.bytes_held, False)
        with self._lock:
            self._forget(part)

    def _forget(self, part: EmbeddedPart) -> None:
        """Called with the lock held: the part's folder goes, whatever is still in it."""
        if self._parts.get(part.folder.name) is part:
            del self._parts[part.folder.name]
            shutil.rmtree(part.folder, ignore_errors=True)
        self._reindex()

    def _demote(self, file: WholeFile) -> None:
        """A whole file turned out rotten: make it a part again, without the bad chunks, so that they can be fetched."""
        name = "f-" + file.whole.name.hex()
        with self._making:
            with self._lock:
                if self._files.get(file.whole.name) is not file:
                    return
                folder = self._parts_folder / name
                folder.mkdir(mode=0o700, exist_ok=True)
                write_atomically(folder / "record", file.record.encode())
                os.replace(file.path, folder / "data")
                sync_folder(self._objects)
                del self._files[file.whole.name]
                self._end_unflushed(file.whole.name)
            self._spend(-file.record.size, False)
            self._open_part(name, file.record).rescan()

    # Whole files

    def put(self, source: str | PathLike[str] | bytes, *, move: bool = False) -> Hashed:
        if isinstance(source, bytes):
            return self._put_bytes(source)
        path = Path(source)
        if move:
            with room(self._folder):
                sync_file(path)
            return self._take_in(path, hash_file(path), original=path)
        copy = self.scratch()
        try:
            # Hashed after copying: the source may change under our hands, the copy does not.
            self.budget.check(path.stat().st_size)
            copy_flushed(path, copy)
            return self._take_in(copy, hash_file(copy))
        finally:
            copy.unlink(missing_ok=True)

    def _put_bytes(self, data: bytes) -> Hashed:
        self.budget.check(len(data))
        path = self.scratch()
        try:
            with room(self._folder):
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    write_all(handle, data, 0)
                    os.fsync(handle)
                finally:
                    os.close(handle)
            return self._take_in(path, hash_bytes(data))
        finally:
            path.unlink(missing_ok=True)

    def put_unflushed(self, path: Path, hashed: Hashed | None = None) -> Hashed:
        return self._take_in(path, hashed or hash_file(path), original=path, flush=False)

    def flush(self, digest: Digest) -> None:
        path = self._file(digest).path
        try:
            with room(self._folder):
                sync_file(path)
                sync_file(record_beside(path))
                sync_folder(self._objects)
        except FileNotFoundError as error:
            raise ContentUnavailable(f"The file {digest.hex()} was dropped meanwhile.", "Fetch it again.") from error
        except BaseException:
            if not self._take_back(digest):
                self.drop(digest)
            raise
        with self._lock:
            self._end_unflushed(digest)

    def _take_in(self, path: Path, hashed: Hashed, *, original: Path | None = None, flush: bool = True) -> Hashed:
        """Make a file an object by renaming it.

        Args:
            original: to be removed if the object is here already.
            flush: False: not one wait for the disk, which others may keep busy. What a power failure leaves of it then is
                seen at the next start.
        """
        with self._making:
            if self.has(hashed.digest):
                if original is not None:
                    original.unlink()
                return hashed
            self._spend(hashed.size, True)
            final = self._objects / hashed.digest.hex()
            record = Record(hashed.size, (Span(hashed.digest, 0, hashed.leaf_list),))
            record_path = record_beside(final)
            try:
                write_atomically(record_path, record.encode(), flush=flush)
                self._rename(path, final)
                if flush:
                    sync_folder(self._objects)
            except BaseException:
                self._spend(-hashed.size, False)
                record_path.unlink(missing_ok=True)
                raise
            self._register(WholeFile(final, record, hashed=True))
        self._end_partial(record, final)
        return hashed

    def _rename(self, path: Path, final: Path) -> None:
        try:
            os.replace(path, final)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            copy = self.scratch()
            copy_flushed(path, copy)
            os.replace(copy, final)
            path.unlink()

    def scratch(self) -> Path:
        return self._scratch / uuid.uuid4().hex

    def has(self, digest: Digest) -> bool:
        with self._lock:
            return digest in self._files

    def _file(self, digest: Digest) -> WholeFile:
        with self._lock:
            file = self._files.get(digest)
        if file is None:
            raise ContentUnavailable(f"The file {digest.hex()} is not here whole.", "Fetch it first.")
        return file

    def size(self, digest: Digest) -> int:
        return self._file(digest).record.size

    def path(self, digest: Digest) -> Path:
        return self._file(digest).path

    def read(self, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
        return read_range(self, digest, self.size(digest), offset, length)

    def export(self, digest: Digest, destination: str | PathLike[str]) -> None:
        chunks = range(chunk_count(self.size(digest)))
        write_pieces(Path(destination), (self.read_chunk(digest, index) for index in chunks))

    # Objects

    def leaf_list(self, name: Digest) -> bytes | None:
        places = self._places.get(name)
        return places[0][1].leaf_list if places else None

    def held(self, name: Digest) -> bytes | None:
        places = self._places.get(name)
        if not places:
            return None
        count = places[0][1].count
        if any(isinstance(holder, WholeFile) for holder, _ in places):
            return ((1 << count) - 1).to_bytes(-(-count // 8), "little")
        bits = bytearray(-(-count // 8))
        for holder, span in places:
            for index in range(span.count):
                if holder.holds(span, index):
                    bits[index // 8] |= 1 << index % 8
        return bytes(bits)

    def read_chunk(self, name: Digest, index: int) -> bytes:
        return self._chunk(name, index, lambda holder: holder.read_chunk)

    def serve_chunk(self, name: Digest, index: int) -> bytes:
        return self._chunk(name, index, lambda holder: holder.serve_chunk)

    def _chunk(self, name: Digest, index: int, reader: Callable[[Holder], Callable[[int], bytes]]) -> bytes:
        for holder, span in self._places.get(name, []):
            if not 0 <= index < span.count or not holder.holds(span, index):
                continue
            try:
                return reader(holder)(span.first + index)
            except ContentCorrupt as error:
                _log.warning("%s", error)
                if isinstance(holder, WholeFile):
                    self._demote(holder)
                raise
            except FileNotFoundError:
                continue
        raise ContentUnavailable(f"Chunk {index} of {name.hex()} is not here.", "Fetch it first.")

    # Parts

    def begin(self, digest: Digest, size: int, leaf_list: bytes) -> Part:
        made = root(leaf_list, size).digest
        if made != digest:
            raise ContentCorrupt(f"This leaf list makes {made.hex()}, not {digest.hex()} of {size} bytes.")
        name = "f-" + digest.hex()
        with self._making:
            part = self._parts.get(name)
            if part is not None:
                return part
            file = self._files.get(digest)
            if file is not None:
                return WholePart(self, file.whole, file.record.size)
            donors = [p for n, p in self._parts.items() if n.startswith("a-") and p.size == size]
            part = self._new_part(name, Record(size, (Span(digest, 0, leaf_list),)))
        self._copy_from(donors, part, Span(digest, 0, leaf_list))
        return part

    def _copy_from(self, donors: list[EmbeddedPart], part: EmbeddedPart, span: Span) -> None:
        for donor in donors:
            for index in range(span.count):
                if donor.holds(span, index) and not part.holds(span, index):
                    try:
                        part.write_chunk(index, donor.read_chunk(index))
                    except (ContentCorrupt, ContentUnavailable):
                        continue

    def assemble(self, name: str, size: int) -> Part:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name for an assembly: {name!r}")
        with self._making:
            part = self._parts.get("a-" + name) or self._became.get("a-" + name)
            if part is None or (part.final is not None and not self.has(part.final)):
                return self._new_part("a-" + name, Record(size, ()))
        if part.size != size:
            raise ValueError(f"the assembly {name} is of {part.size} bytes, not {size}")
        return part

    def digests(self) -> set[Digest]:
        with self._lock:
            return {*self._files, *(bytes.fromhex(name[2:]) for name in self._parts if name.startswith("f-"))}

    def assemblies(self) -> set[str]:
        with self._lock:
            return {name[2:] for name in self._parts if name.startswith("a-")}

    def collect(self, keep: Collection[Digest], assemblies: Collection[str] = ()) -> int:
        before = self.used()
        kept = {"f-" + digest.hex() for digest in keep} | {"a-" + name for name in assemblies}
        with self._lock:
            parts = [part for name, part in self._parts.items() if name not in kept]
            for digest in self._files.keys() - set(keep):
                self._remove(self._files.pop(digest))
            gone = self._take_gone()
            self._reindex()
        for part in parts:
            part.discard()
        for part in gone:
            part.close()
        return before - self.used()

    def spans(self, digest: Digest) -> tuple[Span, ...]:
        """The file itself, and the slices that it is served by. Raises ContentUnavailable: it is not here whole."""
        return self._file(digest).record.spans

    def drop(self, digest: Digest) -> None:
        """Remove one whole file, and the part that it was; does nothing without one."""
        with self._lock:
            file = self._files.pop(digest, None)
            if file is not None:
                self._remove(file)
            gone = self._take_gone()
            self._reindex()
        for part in gone:
            part.close()

    def _remove(self, file: WholeFile) -> None:
        """Called with the lock held."""
        self._end_unflushed(file.whole.name)
        file.path.unlink(missing_ok=True)
        record_beside(file.path).unlink(missing_ok=True)
        self._spend(-file.record.size, False)

    def _take_gone(self) -> list[EmbeddedPart]:
        """Called with the lock held: parts that became files which are here no more, to be closed without it."""
        gone = [name for name, part in self._became.items() if part.final not in self._files]
        return [self._became.pop(name) for name in gone]

    def used(self) -> int:
        return self.budget.used

    def close(self) -> None:
        with self._lock:
            parts = [*self._parts.values(), *self._became.values()]
        for part in parts:
            part.close()


def _read_record(path: Path) -> Record | None:
    return Record.decode(path.read_bytes()) if path.exists() else None


def _identity(path: Path) -> tuple[int, int]:
    """Equal for two names of one file."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino
