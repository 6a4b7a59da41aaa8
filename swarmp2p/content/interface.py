"""What a content store is, and what the content exchange needs of connections (docs/protocol.md, sections 5 and 6).

A *digest* (32 bytes) names a whole file; the *slice digest* (sha256 of the concatenated leaf hashes) names a range of
chunks of a merged model. Both are *objects*: leaf list and chunks are served under either name. Everything here that is
not `async` is thread-safe and, unless it says otherwise, blocking: call it in a worker thread (`trio.to_thread.run_sync`),
never in trio's.
"""

from collections.abc import Callable, Collection
from os import PathLike
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from swarmp2p.content.unixfs import Hashed
from swarmp2p.core.types import Address, Digest


class Target(Protocol):
    """A range of a part whose leaves are known: where fetched chunks go. Indexes count from the object's first chunk."""

    @property
    def object(self) -> Digest:
        """Name under which other peers serve these chunks: a file's or a slice's digest."""

    @property
    def leaf_list(self) -> bytes:
        """Expected leaf hashes, 32 bytes a chunk, already verified against `object`."""

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        """Indexes in [first, end) that are not here yet, ascending. From memory, without waiting for anything: for trio's
        thread too."""

    def write_chunk(self, index: int, data: bytes | memoryview) -> None:
        """Verify a chunk against its leaf and store it.

        Raises:
            ContentCorrupt: the data does not hash to the leaf; nothing was written.
            ContentUnavailable: the part was collected or discarded meanwhile.
            QuotaExceeded: no room.
        """


class Part(Protocol):
    """A file being put together chunk by chunk; what is in it can be served already, and survives a restart.

    Two kinds: the partial file of a known digest (`ContentStore.begin`), and an *assembly* of a merged model whose digest
    is not known yet (`ContentStore.assemble`), of which slices become known one by one.
    """

    @property
    def size(self) -> int:
        """Bytes in the finished file."""

    @property
    def chunks(self) -> int:
        """Chunks in the finished file."""

    def write_chunk(self, index: int, data: bytes | memoryview) -> Digest:
        """Store a chunk of own making at its index in the file; returns its leaf hash.

        Raises:
            ValueError: the length is not that of this chunk.
            ContentUnavailable, QuotaExceeded: as in `Target.write_chunk`.
        """

    def read_chunk(self, index: int) -> bytes:
        """A chunk that is here, verified. Raises ContentUnavailable (not here) or ContentCorrupt (rotten on disk)."""

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        """Indexes in [first, end) of the file that are not here yet."""

    def leaf_list(self, first: int, end: int) -> bytes | None:
        """Leaf hashes of the chunks [first, end), 32 bytes each, or None if a chunk is missing."""

    def seal_slice(self, first: int, end: int) -> Digest:
        """Chunks [first, end) are all here: serve them from now on as a slice, also after a restart. Returns the slice
        digest. An attestation may name the slice only after a `flush` besides (docs/protocol.md, section 7).

        Raises:
            ContentUnavailable: a chunk is missing.
        """

    def target(self, first: int, leaf_list: bytes, name: Digest) -> Target:
        """Where to fetch the object `name` to, whose chunks begin at `first` of this file.

        Raises:
            ContentCorrupt: `leaf_list` is neither a slice's (sha256) nor the whole file's (root) of that name.
        """

    def flush(self) -> None:
        """Everything written so far is on disk when this returns."""

    def finish(self, digest: Digest) -> None:
        """All chunks are here: flush, and make this the file `digest`, by renaming. Slices stay served, and the part
        can be read and sliced as before. Idempotent.

        Raises:
            ContentUnavailable: a chunk is missing.
            ContentCorrupt: the chunks make another digest.
        """

    def discard(self) -> None:
        """Drop it with its data. Idempotent; does nothing to a finished file."""


class ContentStore(Protocol):
    """Files by digest. Whoever holds one of these may call from several threads."""

    def put(self, source: str | PathLike[str] | bytes, *, move: bool = False) -> Hashed:
        """Add a file, atomically and flushed: after a crash it is there whole or not at all.

        Args:
            source: path of a file, or its content.
            move: take over the file at the path (renamed if on the same disk, else copied and removed).

        Raises:
            QuotaExceeded: no room; nothing was stored, and with `move` the source is still in its place.
        """

    def scratch(self) -> Path:
        """A new path on the store's disk for a file to be written and then `put(…, move=True)`. Emptied at start."""

    def has(self, digest: Digest) -> bool:
        """Whether the file is here whole."""

    def size(self, digest: Digest) -> int:
        """Bytes in a file that is here whole. Raises ContentUnavailable."""

    def read(self, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
        """A range of a whole file; each chunk touched is verified. Raises ContentUnavailable, ContentCorrupt."""

    def path(self, digest: Digest) -> Path:
        """A plain file with this content, only to be read (and not after `collect`). Raises ContentUnavailable."""

    def export(self, digest: Digest, destination: str | PathLike[str]) -> None:
        """Write a verified copy, atomically. Raises ContentUnavailable, ContentCorrupt, QuotaExceeded."""

    def leaf_list(self, name: Digest) -> bytes | None:
        """The leaf list of an object (file, partial file or slice), verified when it came in; None if not here. From memory,
        without waiting for anything: for trio's thread too."""

    def held(self, name: Digest) -> bytes | None:
        """Which chunks of an object are here: bit i (from the low bit of byte 0) for chunk i; None for an unknown one."""

    def read_chunk(self, name: Digest, index: int) -> bytes:
        """A chunk of an object, verified. Raises ContentUnavailable, or ContentCorrupt (rotten on disk: then the chunk,
        and with it the file, no longer counts as held and can be fetched again)."""

    def begin(self, digest: Digest, size: int, leaf_list: bytes) -> Part:
        """The partial file of a known leaf list, a new or the existing one; its leaf list is on disk when this returns.
        Chunks that an assembly here happens to have are copied into it. Also for a file that is here whole.

        Raises:
            ContentCorrupt: the leaf list does not make this digest for this size.
        """

    def assemble(self, name: str, size: int) -> Part:
        """The assembly of this name (at most 64 of a-z, 0-9, -), a new or the existing one; what had been sealed or
        fetched before a restart is in it.

        Raises:
            ValueError: the name is not allowed, or an assembly of that name has another size.
        """

    def digests(self) -> set[Digest]:
        """Files that are here, whole or in part."""

    def assemblies(self) -> set[str]:
        """Names of the assemblies that are here."""

    def collect(self, keep: Collection[Digest], assemblies: Collection[str] = ()) -> int:
        """Drop every file, whole or partial, whose digest is not in `keep`, and every unfinished assembly whose name is
        not in `assemblies`. Reads under way end well. Returns the bytes freed."""

    def used(self) -> int:
        """Bytes of content held, counted against the quota."""

    def close(self) -> None:
        """Release files and locks. Idempotent."""


OpenStore: TypeAlias = Callable[[Path], ContentStore]
"""Opens a store in a folder of a peer's home, which the peer closes in the end. Blocking."""


@runtime_checkable
class ServesUnchecked(Protocol):
    """What a store may offer besides: chunks for those who check them anyway, at less cost."""

    def serve_chunk(self, name: Digest, index: int) -> bytes:
        """As `ContentStore.read_chunk`; but a chunk that this process hashed before is not hashed again."""


@runtime_checkable
class PutsUnflushed(Protocol):
    """What a store may offer besides: others can fetch a file while it is on its way to the disk."""

    def put_unflushed(self, path: Path, hashed: Hashed | None = None) -> Hashed:
        """As `ContentStore.put` with `move`, but a crash before `flush` may leave a file that turns out damaged when read.

        Args:
            hashed: what was written to the file, from who has just done so.

        Raises:
            QuotaExceeded: as there.
        """

    def flush(self, digest: Digest) -> None:
        """The file is on disk when this returns.

        Raises:
            ContentUnavailable: it is not here. QuotaExceeded: no room; the file is here no more.
        """


@runtime_checkable
class PartServesUnchecked(Protocol):
    """What a part may offer besides: as `ServesUnchecked`."""

    def serve_chunk(self, index: int) -> bytes:
        """As `Part.read_chunk`; but a chunk that this process hashed before is not hashed again."""


@runtime_checkable
class PartFinishesUnflushed(Protocol):
    """What a part may offer besides: the file is here before it is on the disk."""

    def finish_unflushed(self, digest: Digest) -> None:
        """As `Part.finish`, but on disk only after `Part.flush`; until then a power failure may leave a part, with what
        was flushed of it. Raises as there."""


class Stream(Protocol):
    """A byte stream to one peer. Broken or reset: any method raises OSError (ConnectionError fits), or trio's
    BrokenResourceError or ClosedResourceError."""

    async def send_all(self, data: bytes) -> None:
        """Send everything, in order."""

    async def receive_some(self, max_bytes: int) -> bytes:
        """At least one byte, at most `max_bytes`; b"" at the end."""

    async def aclose(self) -> None:
        """Close both directions, without raising. Must also work (perhaps by a reset) when cancelled."""


class Carrier(Protocol):
    """Connections of the content exchange, protocol id `/swarmp2p/content/1`."""

    async def open(self, peer: Address) -> Stream:
        """A new stream to a member, dialling if need be. Raises OSError when that peer cannot be reached."""

    def reachable(self) -> list[Address]:
        """Members connected now."""
