"""IPFS blocks of the files in a content store, by their sha2-256: leaves, inner nodes, and slices' leaf lists."""

import hashlib
import logging
import threading
from collections import defaultdict
from collections.abc import Collection
from typing import TypeVar

from swarmp2p.content.interface import ContentStore
from swarmp2p.content.unixfs import HASH_SIZE, leaf_at, root
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import Digest

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class BlockIndex:
    """Finds blocks in any `ContentStore`. Blocking, thread-safe.

    It knows the leaves by heart, about 200 bytes each (1 MB for a file of 1 GiB), as of the last `refresh`; the bytes stay
    in the store.

    Args:
        store: read, never written.
    """

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._files: dict[Digest, bool] = {}
        """Files that are indexed, and whether they were whole then."""
        self._leaves: defaultdict[Digest, list[tuple[Digest, int]]] = defaultdict(list)
        self._nodes: defaultdict[Digest, list[tuple[Digest, bytes]]] = defaultdict(list)

    def read(self, digest: Digest, only: Collection[Digest] | None = None) -> bytes | None:
        """The block of this digest, verified; None: it is not here, or cannot be read.

        Args:
            digest: sha2-256 of the block.
            only: files whose blocks may be given; None: all.
        """
        found = self._find(digest, only)
        if found is None and only is None:
            # The leaf list of a slice is a block under the slice's digest (docs/protocol.md, section 5).
            leaf_list = self._store.leaf_list(digest)
            if leaf_list is not None and hashlib.sha256(leaf_list).digest() == digest:
                return leaf_list
        return found

    def has(self, digest: Digest, only: Collection[Digest] | None = None) -> bool:
        """Whether `read` would give a block, as far as is known without reading it."""
        places = self._places(digest, only)
        return any(index is None or self._holds(file, index) for file, index in places)

    def _places(self, digest: Digest, only: Collection[Digest] | None) -> list[tuple[Digest, int | None]]:
        """Files, and chunks of theirs (None: inner nodes), whose block this is."""
        with self._lock:
            nodes, leaves = self._nodes.get(digest, ()), self._leaves.get(digest, ())
            places = [*((file, None) for file, _ in nodes), *leaves]
        return [place for place in places if only is None or place[0] in only]

    def _holds(self, file: Digest, index: int) -> bool:
        if self._store.has(file):
            return True
        held = self._store.held(file)
        return held is not None and bool(held[index // 8] >> index % 8 & 1)

    def _find(self, digest: Digest, only: Collection[Digest] | None) -> bytes | None:
        with self._lock:
            nodes, leaves = list(self._nodes.get(digest, ())), list(self._leaves.get(digest, ()))
        for file, block in nodes:
            if only is None or file in only:
                return block
        for file, index in leaves:
            if only is not None and file not in only:
                continue
            try:
                return self._store.read_chunk(file, index)
            except (ContentUnavailable, ContentCorrupt):
                continue
            except OSError as error:
                _log.error("cannot read chunk %d of %s: %s", index, file.hex(), error)
        return None

    def refresh(self) -> None:
        """Take note of files that came or went since the last time."""
        files = {digest: self._store.has(digest) for digest in self._store.digests()}
        with self._lock:
            if files == self._files:
                return
            changed = {digest for digest in {*files, *self._files} if files.get(digest) != self._files.get(digest)}
            _forget(self._leaves, changed)
            _forget(self._nodes, changed)
            for digest in changed & files.keys():
                self._add(digest, files[digest])
            self._files = files

    def _add(self, digest: Digest, whole: bool) -> None:
        leaf_list = self._store.leaf_list(digest)
        if leaf_list is None:
            return
        for index in range(len(leaf_list) // HASH_SIZE):
            self._leaves[leaf_at(leaf_list, index)].append((digest, index))
        if not whole:
            return
        try:
            size = self._store.size(digest)
        except ContentUnavailable:
            return
        for node, block in root(leaf_list, size).nodes.items():
            self._nodes[node].append((digest, block))


def _forget(table: dict[Digest, list[tuple[Digest, _T]]], files: Collection[Digest]) -> None:
    """Take the places in these files out of a table."""
    for block, places in list(table.items()):
        kept = [place for place in places if place[0] not in files]
        if kept:
            table[block] = kept
        else:
            del table[block]
