"""Who holds what, and who gets it from whom. Content is named by digests; what it contains is known to the simulator."""

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from swarmp2p.core.types import Bitmap, Digest
from swarmp2p.testing.simulator.plan import digest_of

if TYPE_CHECKING:
    from swarmp2p.testing.simulator.peer import SimPeer

Piece: TypeAlias = tuple[str, Digest, int, int]
"""(kind, digest, slice, k): see the functions below."""


def whole(digest: Digest) -> Piece:
    """A whole file: an update or a merged model."""
    return ("file", digest, 0, 0)


def leaf_list(digest: Digest) -> Piece:
    """The leaf list of an update, or of a merged slice."""
    return ("list", digest, 0, 0)


def part(digest: Digest, slice_: int, k: int) -> Piece:
    """Slice `slice_` of `k` of an update."""
    return ("part", digest, slice_, k)


def merged_part(digest: Digest) -> Piece:
    """The chunks of a merged slice."""
    return ("merged", digest, 0, 0)


def honest_slice(inputs: Digest, excluded: Bitmap, slice_: int) -> Digest:
    """The digest that an honest merge of this slice has."""
    return digest_of("slice", inputs, excluded, slice_)


def root_of(slices: tuple[Digest, ...]) -> Digest:
    """The digest of a model that consists of these slices."""
    return digest_of("model", slices)


@dataclass(slots=True)
class Library:
    """Facts about content that all peers would find out by looking at the bytes."""

    origin: dict[Digest, int] = field(default_factory=dict)
    """Peer that made an update."""
    invalid: dict[Digest, int] = field(default_factory=dict)
    """Updates with a wrong chunk, and which."""
    slices: dict[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    """Slices of a merged model, known to whoever built its root."""


class Content:
    """Requests between peers."""

    def __init__(self, random: Random, loss: float, undialable: frozenset[tuple[int, int]]) -> None:
        self._random, self._loss, self._undialable = random, loss, undialable
        self.library = Library()
        self.peers: list[SimPeer] = []

    def get(self, who: "SimPeer", piece: Piece, origin: int | None = None) -> bool:
        """One attempt to get a piece, first from its origin and then from anybody. True: `who` holds it now."""
        if who.holds(piece):
            return True
        if not who.online:
            return False
        candidates = [peer for peer in self.peers if peer is not who and peer.id != origin and peer.holds(piece)]
        if origin is not None and origin != who.id and self.peers[origin].holds(piece):
            candidates.insert(0, self.peers[origin])
        if not any(self.reaches(who, peer, piece) for peer in candidates):
            return False
        who.disk.add(piece)
        return True

    def reaches(self, who: "SimPeer", peer: "SimPeer", piece: Piece) -> bool:
        """Whether a request is answered this time."""
        if not (peer.up and peer.online) or (who.id, peer.id) in self._undialable or not peer.serves(who, piece):
            return False
        return self._random.random() >= self._loss

    def get_model(self, who: "SimPeer", digest: Digest) -> bool:
        """One attempt to get a merged model, whole or slice by slice."""
        if self.get(who, whole(digest)):
            return True
        slices = self.library.slices.get(digest)
        if slices is None or not all(self.get(who, merged_part(slice_)) for slice_ in slices):
            return False
        who.disk.add(whole(digest))
        return True
