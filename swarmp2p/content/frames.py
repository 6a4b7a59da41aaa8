"""Frames of the content exchange, protocol `/swarmp2p/content/1` (docs/protocol.md, section 5).

A frame is a 4-byte big-endian length (of what follows), a type byte and a body. The client sends requests, of at most
MAX_REQUEST bytes; the server answers each in turn, so requests may be pipelined:

    LEAVES object[32]                       LIST total[4] leaves (several frames until `total` leaves), or ABSENT
    HAVE object[32]                         HELD total[4] bitmap, or ABSENT
    CHUNKS object[32] first[4] count[2]     for each index, in order: CHUNK index[4] data, or ABSENT index[4]

ABSENT answers LEAVES and HAVE with index 0xffffffff. Anything else on a stream ends it.
"""

import struct
from enum import IntEnum

from swarmp2p.content.interface import Stream
from swarmp2p.content.unixfs import HASH_SIZE
from swarmp2p.core.types import CHUNK_SIZE, Digest

CONTENT_PROTOCOL = "/swarmp2p/content/1"

MAX_REQUEST = 1 + HASH_SIZE + 4 + 2
MAX_ANSWER = 1 + 4 + CHUNK_SIZE
MAX_CHUNKS = 1 << 20
"""Chunks in an object: 256 GiB, a leaf list of 32 MiB."""
MAX_RUN = 64
"""Chunks in one request."""
LEAVES_PER_FRAME = CHUNK_SIZE // HASH_SIZE
NOTHING = 0xFFFFFFFF

_LENGTH = struct.Struct(">I")
_RUN = struct.Struct(">IH")
_READ = 65_536


class Kind(IntEnum):
    """Types of frames: requests below 128, answers above."""

    LEAVES = 1
    HAVE = 2
    CHUNKS = 3
    LIST = 129
    HELD = 130
    CHUNK = 131
    ABSENT = 132


class BadFrame(Exception):
    """The other side sent what the protocol does not know."""


def frame(kind: Kind, *body: bytes) -> bytes:
    """A frame as bytes."""
    length = 1 + sum(len(piece) for piece in body)
    return b"".join((_LENGTH.pack(length), bytes([kind]), *body))


def chunks_request(name: Digest, first: int, count: int) -> bytes:
    """The request for chunks [first, first + count) of an object."""
    return frame(Kind.CHUNKS, name, _RUN.pack(first, count))


def parse_request(kind: Kind, body: bytes) -> tuple[Digest, int, int]:
    """Object, first chunk and count of a request; zeros for those without a run. Raises BadFrame."""
    name = body[:HASH_SIZE]
    if kind in (Kind.LEAVES, Kind.HAVE) and len(body) == HASH_SIZE:
        return name, 0, 0
    if kind is Kind.CHUNKS and len(body) == HASH_SIZE + _RUN.size:
        first, count = _RUN.unpack_from(body, HASH_SIZE)
        if 1 <= count <= MAX_RUN and first + count <= MAX_CHUNKS:
            return name, first, count
        raise BadFrame(f"a request for {count} chunks from {first} on")
    raise BadFrame(f"{kind.name} with {len(body)} bytes is not a request")


def index_of(body: bytes) -> int:
    """The index or total at the beginning of an answer. Raises BadFrame."""
    if len(body) < _LENGTH.size:
        raise BadFrame(f"an answer of {len(body)} bytes")
    return int(_LENGTH.unpack_from(body)[0])


def number(value: int) -> bytes:
    """An index or total, as in the answers."""
    return _LENGTH.pack(value)


class FrameReader:
    """Reads frames from a stream.

    Args:
        stream: read by nobody else.
        limit: bytes in a frame at most, length not counted.
    """

    def __init__(self, stream: Stream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._buffer = bytearray()

    async def read(self) -> tuple[Kind, bytes] | None:
        """The next frame, or None at the end of the stream between two frames.

        Raises:
            BadFrame: too long, or of unknown type.
            OSError, trio.BrokenResourceError, trio.ClosedResourceError: the stream broke, or ended within a frame: the
                other side was killed, which is no lie.
        """
        if not await self._fill(_LENGTH.size):
            if self._buffer:
                raise ConnectionError("the stream ended within a frame")
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if not 1 <= length <= self._limit:
            raise BadFrame(f"a frame of {length} bytes, where at most {self._limit} are allowed")
        if not await self._fill(_LENGTH.size + length):
            raise ConnectionError("the stream ended within a frame")
        with memoryview(self._buffer) as view:
            tag = view[_LENGTH.size]
            body = bytes(view[_LENGTH.size + 1 : _LENGTH.size + length])
        del self._buffer[: _LENGTH.size + length]
        try:
            return Kind(tag), body
        except ValueError:
            raise BadFrame(f"a frame of unknown type {tag}") from None

    async def _fill(self, count: int) -> bool:
        while len(self._buffer) < count:
            data = await self._stream.receive_some(max(_READ, count - len(self._buffer)))
            if not data:
                return False
            self._buffer += data
        return True
