"""Files in the making beside an IPFS node: on this disk until they are whole, then in the node."""

from typing import Protocol

from swarmp2p.content.interface import Part, Target
from swarmp2p.content.record import Span
from swarmp2p.content.unixfs import HASH_SIZE, slice_digest
from swarmp2p.content.whole import WholePart
from swarmp2p.core.errors import ContentUnavailable
from swarmp2p.core.types import Digest


class Settler(Protocol):
    """What a part needs of its store."""

    def settle(self, digest: Digest) -> None:
        """Bring a file that is whole on this disk into the node."""

    def whole_part(self, digest: Digest) -> WholePart:
        """A file that is here whole, as a part. Raises ContentUnavailable."""

    def serve_slice(self, digest: Digest, span: Span) -> None:
        """Serve a range of a whole file under a name of its own too, also after a restart."""


class KuboPart:
    """A `Part` (interface.py): a local one, and once that is whole, the file in the store.

    Args:
        store: takes the file when it is whole.
        local: the part on this disk.
        final: the digest of the file that it became already.
    """

    def __init__(self, store: Settler, local: Part, final: Digest | None = None) -> None:
        self._store = store
        self._local = local
        self._size, self._chunks = local.size, local.chunks
        self.final = final

    def _now(self) -> Part:
        return self._local if self.final is None else self._store.whole_part(self.final)

    @property
    def size(self) -> int:
        return self._size

    @property
    def chunks(self) -> int:
        return self._chunks

    def write_chunk(self, index: int, data: bytes | memoryview) -> Digest:
        return self._now().write_chunk(index, data)

    def read_chunk(self, index: int) -> bytes:
        part = self._now()
        try:
            return part.read_chunk(index)
        except ContentUnavailable:
            if self._now() is part or self.final is None:
                raise
            return self._now().read_chunk(index)  # it became whole in between

    def missing(self, first: int = 0, end: int | None = None) -> list[int]:
        return self._now().missing(first, end)

    def leaf_list(self, first: int, end: int) -> bytes | None:
        return self._now().leaf_list(first, end)

    def seal_slice(self, first: int, end: int) -> Digest:
        part = self._now()
        name = part.seal_slice(first, end)
        self._serve(part, name, first, end - first)
        return name

    def target(self, first: int, leaf_list: bytes, name: Digest) -> Target:
        part = self._now()
        target = part.target(first, leaf_list, name)
        if slice_digest(leaf_list) == name:
            self._serve(part, name, first, len(leaf_list) // HASH_SIZE)
        return target

    def _serve(self, part: Part, name: Digest, first: int, count: int) -> None:
        """The local part has written the span down itself, unless it became whole before."""
        final = self.final
        if final is None:
            return
        leaf_list = part.leaf_list(first, first + count)
        if leaf_list is not None:
            self._store.serve_slice(final, Span(name, first, leaf_list))

    def flush(self) -> None:
        self._now().flush()

    def finish(self, digest: Digest) -> None:
        self._now().finish(digest)
        # First this, so that what is sealed from now on goes into the store's record, wherever the file is.
        self.final = digest
        self.became(digest)
        self._store.settle(digest)

    def became(self, digest: Digest) -> None:
        """Called when it is whole, on this disk still."""

    def discard(self) -> None:
        self._now().discard()
