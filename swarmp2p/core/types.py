"""Words that every module of the protocol uses (docs/protocol.md, sections 2 and 3)."""

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum, IntFlag
from typing import TypeAlias

Address: TypeAlias = bytes
"""20 bytes: an Ethereum address, the name of a member."""

Digest: TypeAlias = bytes
"""32 bytes: the sha2-256 of a CID's root block. The codec follows from the size (raw up to one chunk, else dag-pb)."""

Bitmap: TypeAlias = int
"""A set of member indexes, bit i for index i, at most 256 bits."""

Keccak: TypeAlias = Callable[[bytes], bytes]
"""Keccak-256: bytes to 32 bytes."""

CHUNK_SIZE = 262_144
"""Bytes in a content chunk (a UnixFS leaf); slices are ranges of chunks."""

NO_ADDRESS: Address = bytes(20)
"""Nobody: the zero address."""

NO_DIGEST: Digest = bytes(32)
"""The empty digest: as `merged` it means "abort this round"."""


class Phase(IntEnum):
    """Phase of a round (section 4)."""

    COLLECTING = 0
    MERGING = 1
    STOPPED = 2


class Status(IntEnum):
    """Status of a member (section 3)."""

    NONE = 0
    IDLE = 1
    ACTIVE = 2
    BARRED = 3

    @property
    def enrolled(self) -> bool:
        """Whether it is a member, waited for or not."""
        return self in (Status.IDLE, Status.ACTIVE)


class ReportFlag(IntFlag):
    """What a validation report says of the head (section 4, submitUpdate)."""

    REACHED = 1
    IMPROVED = 2
    HAS_REPORT = 4


class Reason(IntEnum):
    """Why a member objects to an update (section 6)."""

    UNAVAILABLE = 1
    INVALID = 2


class StopReason(IntEnum):
    """Why a swarm is STOPPED, as the contract's Stopped event and view name it (section 4)."""

    NONE = 0
    TARGET = 1
    PATIENCE = 2
    MAX_ROUNDS = 3
    VOTE = 4
    ABANDONED = 5


class VoteKind(IntEnum):
    """What members can decide together (section 4, execute)."""

    EXPEL = 1
    EXPEL_AND_SLASH = 2
    ROLLBACK = 3
    STOP = 4
    REOPEN = 5


def bits(bitmap: Bitmap) -> Iterator[int]:
    """The indexes in a bitmap, ascending."""
    while bitmap:
        low = bitmap & -bitmap
        yield low.bit_length() - 1
        bitmap ^= low


def bitmap_of(indexes: Iterable[int]) -> Bitmap:
    """The bitmap with exactly these indexes."""
    bitmap = 0
    for index in indexes:
        bitmap |= 1 << index
    return bitmap


def word(value: int) -> bytes:
    """A non-negative integer as one 32-byte ABI word."""
    return value.to_bytes(32, "big")
