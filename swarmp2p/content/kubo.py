"""The content store of a peer that runs an IPFS node (Kubo): whole files are in the node, pinned; the rest is here.

    kubo/<hex digest>          size, leaf list and slices (record.py) of a file that is in the node
    kubo/<hex digest>.gone     the same of one that was collected, until the node has let go of it
    copies/                    files that somebody wanted as files; emptied at start
    objects/ parts/ scratch/   an EmbeddedStore's: files on their way into the node, and files in the making

A file that becomes whole is flushed here first and then goes into the node, so that nothing is lost whichever of the two
dies. Its CIDs are the swarm's, so any IPFS program can have it from the node under the CID that the contract names.
"""

import hashlib
import logging
import shutil
import threading
from collections.abc import Collection
from os import PathLike
from pathlib import Path

from swarmp2p.content.disk import sync_folder, write_atomically, write_pieces
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.interface import Part
from swarmp2p.content.kubo_api import KuboApi
from swarmp2p.content.kubo_part import KuboPart
from swarmp2p.content.record import Record, Span
from swarmp2p.content.unixfs import HASH_SIZE, Hashed, chunk_count, cid_text, leaf_at, root
from swarmp2p.content.whole import WholePart, read_range
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, StoreUnreachable
from swarmp2p.core.types import CHUNK_SIZE, Digest

_log = logging.getLogger(__name__)

RECORDS = "kubo"
"""The folder of the records."""
START_PATIENCE = 5.0
"""Seconds for which a node that does not answer is asked when the store is opened: it may be an address mistyped."""


class KuboStore:
    """A `ContentStore` (interface.py) on a Kubo node. Give each peer a node of its own: pins know no owners but by name.

    Args:
        folder: for what is not in the node; one process uses it at a time. One of an EmbeddedStore will do: its files
            move into the node.
        api: multiaddr of the node's RPC API: `/ip4/127.0.0.1/tcp/5001`.
        quota: bytes of content at most, here and in the node; None for as much as the disks have.
        auth: user and password, where the node asks for them.
        patience: seconds for which a node that does not answer, say because it is restarted, is asked again. Then what
            needs it raises StoreUnreachable.

    Raises:
        StoreUnreachable: no node answers there, or it is too old, or refuses.
        ConfigError: `api` is no multiaddr.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        api: str,
        *,
        quota: int | None = None,
        auth: tuple[str, str] | None = None,
        patience: float = 30.0,
    ) -> None:
        self._folder = Path(folder)
        self._records, self._copies = self._folder / RECORDS, self._folder / "copies"
        self._files: dict[Digest, Record] = {}
        self._places: dict[Digest, list[tuple[Digest, Span]]] = {}
        self._became: dict[str, Digest] = {}
        """Files that assemblies became, by the assembly's name."""
        self._lock = threading.RLock()
        self._moving = threading.RLock()
        """Held while files go into the node or out of it. Taken before `_lock`."""
        self._api = KuboApi(api, auth=auth, patience=patience)
        self._local: EmbeddedStore | None = None
        try:
            self._api.check(min(patience, START_PATIENCE))
            self._records.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.rmtree(self._copies, ignore_errors=True)
            self._copies.mkdir(mode=0o700)
            self._local = EmbeddedStore(self._folder, quota=quota)
            self._load()
        except BaseException:
            self.close()
            raise

    # Start

    def _load(self) -> None:
        pins = self._api.pins()
        for path in sorted(self._records.iterdir()):
            record = Record.decode(path.read_bytes())
            if path.suffix == ".gone":
                if path.with_suffix("").exists():
                    path.unlink()
            elif record is None or _cid(record) not in pins:
                _log.warning("the IPFS node does not pin %s any more; it will be fetched again", path.name)
                path.unlink()
            else:
                self._register(record)
        for digest in self._here.digests():
            if self._here.has(digest):
                self.settle(digest)
        self._let_go(None)

    @property
    def _here(self) -> EmbeddedStore:
        assert self._local is not None  # it is None only while the constructor runs
        return self._local

    def _register(self, record: Record) -> None:
        with self._lock:
            digest = record.spans[0].name
            before = self._files.get(digest)
            self._here.budget.spend(record.size - (before.size if before else 0), False)
            self._files[digest] = record
            self._reindex()

    def _forget(self, digest: Digest) -> None:
        """Called with the lock held: the file is here no more; its record says that the node is to let go of it."""
        record = self._files.pop(digest)
        self._here.budget.spend(-record.size, False)
        path = self._path(digest)
        path.rename(path.with_name(path.name + ".gone"))
        (self._copies / digest.hex()).unlink(missing_ok=True)
        self._reindex()

    def _reindex(self) -> None:
        places: dict[Digest, list[tuple[Digest, Span]]] = {}
        for digest, record in self._files.items():
            for span in record.spans:
                places.setdefault(span.name, []).append((digest, span))
        self._places = places

    def _path(self, digest: Digest) -> Path:
        return self._records / digest.hex()

    # Into the node and out of it

    def settle(self, digest: Digest) -> None:
        """Bring a file that is whole on this disk into the node."""
        with self._moving:
            if not self._here.has(digest):
                return
            size = self._here.size(digest)
            self._api.add(self._here.path(digest), digest, size)
            known = self._files.get(digest)
            spans = {s.name: s for s in (*self._here.spans(digest), *(known.spans if known else ()))}
            record = Record(size, tuple(spans.values()))
            write_atomically(self._path(digest), record.encode())
            self._path(digest).with_name(digest.hex() + ".gone").unlink(missing_ok=True)
            self._register(record)
            self._here.drop(digest)

    def serve_slice(self, digest: Digest, span: Span) -> None:
        """Serve a range of a whole file under a name of its own too, also after a restart."""
        with self._moving:
            self.settle(digest)
            record = self._files.get(digest)
            if record is None:
                raise ContentUnavailable(f"The file {digest.hex()} was collected.", "Fetch it again.")
            if span.name not in {known.name for known in record.spans}:
                record = Record(record.size, (*record.spans, span))
                write_atomically(self._path(digest), record.encode())
                self._register(record)

    def _let_go(self, patience: float | None) -> None:
        """Unpin what was collected, and free its room; what the node does not do now, it does next time."""
        with self._moving:
            for path in sorted(self._records.glob("*.gone")):
                record = Record.decode(path.read_bytes())
                if record is None:
                    path.unlink()
                    continue
                try:
                    if self._api.unpin([_cid(record)], patience):
                        self._api.remove_blocks(_blocks(record), patience)
                except StoreUnreachable as error:
                    _log.warning("%s It still holds %s.", error, path.stem)
                    return
                path.unlink()
            sync_folder(self._records)

    def _demote(self, digest: Digest, index: int) -> None:
        """The node lost a block of a file, or what it has is rotten: make it a part again, without that chunk."""
        with self._moving:
            record = self._files.get(digest)
            if record is None:
                return
            whole = record.spans[0]
            part = self._here.begin(digest, record.size, whole.leaf_list)
            for span in record.spans[1:]:
                part.target(span.first, span.leaf_list, span.name)
            for number in range(whole.count):
                data = self._api.block(whole.leaf(number)) if number != index else None
                if data is not None and hashlib.sha256(data).digest() == whole.leaf(number):
                    part.write_chunk(number, data)
            part.flush()
            with self._lock:
                self._forget(digest)
            self._let_go(None)
            # A rotten block counts as there: the node would not write it again.
            self._api.remove_blocks([cid_text(whole.leaf(index), 0)])

    # Whole files

    def put(self, source: str | PathLike[str] | bytes, *, move: bool = False) -> Hashed:
        hashed = self._here.put(source, move=move)
        self.settle(hashed.digest)
        return hashed

    def scratch(self) -> Path:
        return self._here.scratch()

    def has(self, digest: Digest) -> bool:
        with self._lock:
            return digest in self._files or self._here.has(digest)

    def size(self, digest: Digest) -> int:
        with self._lock:
            record = self._files.get(digest)
        return record.size if record is not None else self._here.size(digest)

    def read(self, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
        return read_range(self, digest, self.size(digest), offset, length)

    def path(self, digest: Digest) -> Path:
        with self._lock:
            if digest not in self._files:
                return self._here.path(digest)
        copy = self._copies / digest.hex()
        if not copy.exists():
            self.export(digest, copy)
        return copy

    def export(self, digest: Digest, destination: str | PathLike[str]) -> None:
        chunks = range(chunk_count(self.size(digest)))
        write_pieces(Path(destination), (self.read_chunk(digest, index) for index in chunks))

    # Objects

    def leaf_list(self, name: Digest) -> bytes | None:
        places = self._places.get(name)
        return places[0][1].leaf_list if places else self._here.leaf_list(name)

    def held(self, name: Digest) -> bytes | None:
        places = self._places.get(name)
        if not places:
            return self._here.held(name)
        count = places[0][1].count
        return ((1 << count) - 1).to_bytes(-(-count // 8), "little")

    def read_chunk(self, name: Digest, index: int) -> bytes:
        for digest, span in self._places.get(name, ()):
            if not 0 <= index < span.count:
                continue
            data = self._api.block(span.leaf(index))
            if data is not None and hashlib.sha256(data).digest() == span.leaf(index):
                return data
            _log.warning("chunk %d of %s is lost in the IPFS node; it will be fetched again", index, name.hex())
            self._demote(digest, span.first + index)
            if data is not None:
                raise ContentCorrupt(
                    f"Chunk {index} of {name.hex()} is not what was given to the IPFS node.",
                    "It will be fetched again; check the node's disk if this repeats.",
                )
        return self._here.read_chunk(name, index)

    # Parts

    def whole_part(self, digest: Digest) -> WholePart:
        """A file that is here whole, as a part. Raises ContentUnavailable."""
        leaf_list = self.leaf_list(digest)
        if leaf_list is None:
            raise ContentUnavailable(f"The file {digest.hex()} is not here whole.", "Fetch it first.")
        return WholePart(self, Span(digest, 0, leaf_list), self.size(digest))

    def begin(self, digest: Digest, size: int, leaf_list: bytes) -> Part:
        with self._moving:
            if digest in self._files and root(leaf_list, size).digest == digest:
                return self.whole_part(digest)
            return KuboPart(self, self._here.begin(digest, size, leaf_list))

    def assemble(self, name: str, size: int) -> Part:
        with self._lock:
            final = self._became.get(name)
            if final is None or not self.has(final):
                self._became.pop(name, None)
                return _Assembly(self, name, self._here.assemble(name, size))
            if self.size(final) != size:
                raise ValueError(f"the assembly {name} is of {self.size(final)} bytes, not {size}")
            return KuboPart(self, self.whole_part(final), final)

    def became(self, name: str, digest: Digest) -> None:
        """An assembly is a file now, and goes on under its name until that is collected."""
        with self._lock:
            self._became[name] = digest

    def digests(self) -> set[Digest]:
        with self._lock:
            return {*self._files, *self._here.digests()}

    def assemblies(self) -> set[str]:
        return self._here.assemblies()

    def collect(self, keep: Collection[Digest], assemblies: Collection[str] = ()) -> int:
        before = self.used()
        with self._moving:
            with self._lock:
                for digest in self._files.keys() - set(keep):
                    self._forget(digest)
            self._here.collect(keep, assemblies)
            with self._lock:
                self._became = {name: digest for name, digest in self._became.items() if self.has(digest)}
            # Once only: a round is not to wait for room.
            self._let_go(0.0)
        return before - self.used()

    def used(self) -> int:
        return self._here.used()

    def close(self) -> None:
        self._api.close()
        if self._local is not None:
            self._local.close()


class _Assembly(KuboPart):
    """An assembly, which has a name to go on under."""

    def __init__(self, store: KuboStore, name: str, local: Part) -> None:
        super().__init__(store, local)
        self._owner = store
        self._name = name

    def became(self, digest: Digest) -> None:
        self._owner.became(self._name, digest)


def _cid(record: Record) -> str:
    """As text."""
    return cid_text(record.spans[0].name, record.size)


def _blocks(record: Record) -> list[str]:
    """CIDs of all blocks of a file: inner nodes and leaves."""
    leaf_list = record.spans[0].leaf_list
    leaves = dict.fromkeys(leaf_at(leaf_list, i) for i in range(len(leaf_list) // HASH_SIZE))
    return [
        *(cid_text(node, CHUNK_SIZE + 1) for node in root(leaf_list, record.size).nodes),
        *(cid_text(leaf, 0) for leaf in leaves),
    ]
