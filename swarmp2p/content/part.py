"""A file in the making on disk: a sparse data file of the final size, and a record of the leaf lists known for it, of which
a copy is kept as it was when last flushed.

Which chunks are here is not written down: when a part is opened after a restart, each chunk whose leaf is known is hashed
again. That costs a second for a gigabyte, and no order of writes and crashes can make it lie.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from swarmp2p.content.disk import read_all, room, write_all, write_atomically
from swarmp2p.content.record import Record, Span
from swarmp2p.content.unixfs import HASH_SIZE, chunk_count, chunk_length, root, slice_digest
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import CHUNK_SIZE, Digest

FLUSHED = "flushed"
"""Name of the copy of the record: that one may be lost with the power, this one with what was attested in it may not."""


class EmbeddedPart:
    """A `Part` (interface.py) in a folder of its own: `data`, `record` and `flushed`. Made by EmbeddedStore, which owns its
    name.

    Args:
        folder: exists, and belongs to this part alone.
        record: size and leaf lists known so far.
        spend: called with the bytes that a new chunk takes (negative: given back), and whether the quota may refuse
            them with QuotaExceeded.
        announce: called with a span that can be served from now on.
        finished: called with this part and its record when all chunks are here; gives it its name.
        settle: called with the digest of a part that has its name, to flush all of it.
        dropped: called when the part discards itself.
    """

    def __init__(
        self,
        folder: Path,
        record: Record,
        *,
        spend: Callable[[int, bool], None],
        announce: Callable[["EmbeddedPart", Span], None],
        finished: Callable[["EmbeddedPart", Record], None],
        settle: Callable[[Digest], None],
        dropped: Callable[["EmbeddedPart"], None],
    ) -> None:
        self.folder = folder
        self.data_path = folder / "data"
        self._size = record.size
        # By place too: slices with the same content have the same name, such as those of a layer that is all zero.
        self._spans: dict[tuple[Digest, int], Span] = {(span.name, span.first): span for span in record.spans}
        self._spend, self._announce, self._dropped = spend, announce, dropped
        self._finished, self._settle = finished, settle
        self._leaves: list[bytes | None] = [None] * chunk_count(record.size)
        self._lock = threading.RLock()
        self._final: Digest | None = None
        self._handle = self._open_data()

    def _open_data(self) -> int | None:
        with room(self.folder):
            handle = os.open(self.data_path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.ftruncate(handle, self._size)
            except BaseException:
                os.close(handle)
                raise
        return handle

    @property
    def size(self) -> int:
        return self._size

    @property
    def chunks(self) -> int:
        return len(self._leaves)

    @property
    def record(self) -> Record:
        """Size and spans, as kept on disk."""
        return Record(self._size, tuple(self._spans.values()))

    @property
    def spans(self) -> list[Span]:
        """Spans that can be served, the whole file's among them. Takes no lock: the dict is never changed in place."""
        return list(self._spans.values())

    @property
    def bytes_held(self) -> int:
        """Bytes of the chunks that are here."""
        with self._lock:
            return sum(chunk_length(i, self._size) for i, leaf in enumerate(self._leaves) if leaf is not None)

    def rescan(self, skip: Iterable[int] = ()) -> None:
        """Find out which chunks are here, by hashing those whose leaf some span knows."""
        skipped = set(skip)
        expected: dict[int, set[bytes]] = {}
        for span in self.spans:
            for i in range(span.count):
                expected.setdefault(span.first + i, set()).add(span.leaf(i))
        for index in sorted(expected.keys() - skipped):
            if self._size and self._is_hole(index):
                continue
            leaf = hashlib.sha256(self._pread(index)).digest()
            if leaf in expected[index]:
                self._mark(index, leaf, enforce=False)

    def _is_hole(self, index: int) -> bool:
        """Whether nothing was ever written to this chunk."""
        start = index * CHUNK_SIZE
        try:
            return os.lseek(self._open_handle(), start, os.SEEK_DATA) >= start + chunk_length(index, self._size)
        except OSError:  # ENXIO: no data from here to the end
            return True

    def _mark(self, index: int, leaf: bytes | None, *, enforce: bool = True) -> None:
        with self._lock:
            before = self._leaves[index]
            if (before is None) != (leaf is None):
                length = chunk_length(index, self._size)
                self._spend(length if leaf is not None else -length, enforce)
            self._leaves[index] = leaf

    def _pread(self, index: int) -> bytes:
        return read_all(self._open_handle(), chunk_length(index, self._size), index * CHUNK_SIZE)

    def _open_handle(self) -> int:
        handle = self._handle
        if handle is None:
            raise ContentUnavailable(f"The part {self.folder.name} was dropped or finished.", "Fetch it again.")
        return handle

    def write_chunk(self, index: int, data: bytes | memoryview) -> Digest:
        leaf = hashlib.sha256(data).digest()
        self.store_chunk(index, data, leaf)
        return leaf

    def store_chunk(self, index: int, data: bytes | memoryview, leaf: bytes) -> None:
        """Write a chunk whose hash was just computed."""
        if not 0 <= index < self.chunks or len(data) != chunk_length(index, self._size):
            raise ValueError(f"chunk {index} with {len(data)} bytes does not fit a file of {self._size} bytes")
        with self._lock:
            # The lock stays held: a part may be closed by another thread, and its descriptor be another file's then.
            handle = self._open_handle()
            if self._leaves[index] == leaf:
                return
            if self._final is not None:
                raise ContentUnavailable(f"{self._final.hex()} is whole already; nothing else can be written to it.")
            if self._leaves[index] is not None:
                self._mark(index, None)
            self._mark(index, leaf)
            try:
                write_all(handle, data, index * CHUNK_SIZE)
            except BaseException:
                self._mark(index, None)
                with room(self.folder):  # only now: it costs as much as the rest of this, for each chunk
                    raise

    def read_chunk(self, index: int) -> bytes:
        with self._lock:
            leaf = self._leaves[index] if 0 <= index < self.chunks else None
            if leaf is None:
                raise ContentUnavailable(f"Chunk {index} of {self.folder.name} is not here.", "Fetch it first.")
            data = self._pread(index)
        if hashlib.sha256(data).digest() != leaf:
            with self._lock:
                if self._leaves[index] == leaf:
                    self._mark(index, None)
            raise ContentCorrupt(
                f"Chunk {index} of {self.data_path} is not what was written there.",
                "It will be fetched again; check the disk if this repeats.",
            )
        return data

    def serve_chunk(self, index: int) -> bytes:
        """A chunk that is here, as it is on the disk: it was hashed when it was written, or when the part was opened."""
        with self._lock:
            if not 0 <= index < self.chunks or self._leaves[index] is None:
                raise ContentUnavailable(f"Chunk {index} of {self.folder.name} is not here.", "Fetch it first.")
            return self._pread(index)

    def holds(self, span: Span, index: int) -> bool:
        """Whether chunk `index` of a span is here, with the span's own content."""
        leaf = self._leaves[span.first + index]
        return leaf is not None and leaf == span.leaf(index)

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        with self._lock:
            stop = self.chunks if end is None else min(end, self.chunks)
            return [i for i in range(first, stop) if self._leaves[i] is None]

    def leaf_list(self, first: int, end: int) -> bytes | None:
        with self._lock:
            leaves = [leaf for leaf in self._leaves[first:end] if leaf is not None]
        return b"".join(leaves) if len(leaves) == end - first else None

    def seal_slice(self, first: int, end: int) -> Digest:
        leaf_list = self.leaf_list(first, end)
        if leaf_list is None or first >= end:
            raise ContentUnavailable(f"Chunks {first} to {end} of {self.folder.name} are not all here.")
        span = Span(slice_digest(leaf_list), first, leaf_list)
        self._learn(span)
        return span.name

    def target(self, first: int, leaf_list: bytes, name: Digest) -> "PartTarget":
        whole = first == 0 and len(leaf_list) == HASH_SIZE * self.chunks and root(leaf_list, self._size).digest == name
        if not whole and (not leaf_list or len(leaf_list) % HASH_SIZE or slice_digest(leaf_list) != name):
            raise ContentCorrupt(f"A leaf list of {len(leaf_list)} bytes does not make the object {name.hex()}.")
        span = Span(name, first, leaf_list)
        if not 0 <= first <= self.chunks - span.count:
            raise ValueError(f"{span.count} chunks from {first} on do not fit a file of {self.chunks} chunks")
        self._learn(span)
        return PartTarget(self, span)

    def _learn(self, span: Span) -> None:
        """Write a new span down and announce it."""
        with self._lock:
            self._open_handle()
            if (span.name, span.first) not in self._spans:
                grown = {**self._spans, (span.name, span.first): span}
                if self._final is None:  # else it is the store's file, which writes its own record
                    # `flush` writes another: an fsync here would wait for all that others flush at the time.
                    encoded = Record(self._size, tuple(grown.values())).encode()
                    write_atomically(self.folder / "record", encoded, flush=False)
                self._spans = grown
        self._announce(self, span)

    def flush(self) -> None:
        with self._lock:
            if self._handle is None:
                return
            final = self._final
            if final is None:
                # A descriptor of its own, so that nobody waits for the lock while the disk is busy.
                handle, encoded = os.dup(self._handle), self.record.encode()
        if final is not None:
            self._settle(final)
            return
        try:
            with room(self.folder):
                os.fsync(handle)
                with contextlib.suppress(FileNotFoundError):  # it became a file meanwhile, which has its own record
                    write_atomically(self.folder / FLUSHED, encoded)
        finally:
            os.close(handle)

    @property
    def final(self) -> Digest | None:
        """The file that this part became; it can be read through the part as before."""
        return self._final

    def finish(self, digest: Digest) -> None:
        self.finish_unflushed(digest)
        self.flush()

    def finish_unflushed(self, digest: Digest) -> None:
        with self._lock:
            if self._final == digest:
                return
            leaf_list = self.leaf_list(0, self.chunks)
            if leaf_list is None:
                raise ContentUnavailable(
                    f"{len(self.missing())} of {self.chunks} chunks of {digest.hex()} are missing."
                )
            made = root(leaf_list, self._size).digest
            if made != digest:
                raise ContentCorrupt(f"The chunks in {self.folder.name} make {made.hex()}, not {digest.hex()}.")
            slices = [s for s in self.spans if s.name != digest and all(self.holds(s, i) for i in range(s.count))]
            self._finished(self, Record(self._size, (Span(digest, 0, leaf_list), *slices)))
            self._final = digest

    def reopen(self) -> None:
        """It is the file no more that it became."""
        self._final = None

    def move_to(self, path: Path) -> None:
        """Read from another file of the same content from now on: the own data, even without a name, would take room for as
        long as it is open."""
        with self._lock:
            handle = os.open(path, os.O_RDONLY)
            self.close()
            self._handle = handle

    def become(self, record: Record, path: Path) -> bool:
        """The file that this part was to become has come in another way: be done with it. False: it was done already, or
        dropped. Raises FileNotFoundError: it is gone again."""
        with self._lock:
            if self._handle is None or self._final is not None:
                return False
            held, whole = self.bytes_held, record.spans[0]
            self.move_to(path)
            self._spend(-held, False)
            self._leaves = [whole.leaf(i) for i in range(whole.count)]
            self._final = whole.name
            return True

    def discard(self) -> None:
        with self._lock:
            if self._handle is not None and self._final is None:
                self.close()
                self._dropped(self)

    def close(self) -> None:
        """Let go of the data file; the part stays on disk."""
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None


class PartTarget:
    """A `Target` (interface.py): a span of a part."""

    def __init__(self, part: EmbeddedPart, span: Span) -> None:
        self._part = part
        self._span = span

    @property
    def object(self) -> Digest:
        return self._span.name

    @property
    def leaf_list(self) -> bytes:
        return self._span.leaf_list

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        stop = self._span.count if end is None else min(end, self._span.count)
        return [i for i in range(first, stop) if not self._part.holds(self._span, i)]

    def write_chunk(self, index: int, data: bytes | memoryview) -> None:
        leaf = hashlib.sha256(data).digest()
        if not 0 <= index < self._span.count or leaf != self._span.leaf(index):
            raise ContentCorrupt(f"Chunk {index} of {self.object.hex()} does not hash to its leaf.")
        try:
            self._part.store_chunk(self._span.first + index, data, leaf)
        except ValueError as error:
            # The leaf list itself asks for a chunk that no file of this size has there.
            raise ContentCorrupt(f"{self.object.hex()}: {error}.") from error
