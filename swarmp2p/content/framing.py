"""The exchange's frames, over any byte stream: fixed requests, answers with their length in front (`/swarmp2p/content/1`).

request   kind (1 byte)  name (32)  first (4)  count (4)
answer    to LEAVES and HELD: one frame; to CHUNKS: `count` frames. A frame is a length (4) and that many bytes;
          the length 2^32 - 1 stands for "not here" and ends the answer.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

import trio

from swarmp2p.content.interface import Stream
from swarmp2p.core.errors import ContentCorrupt
from swarmp2p.core.types import Digest

CONTENT_PROTOCOL = "/swarmp2p/content/1"
MAX_CHUNKS = 64
"""Chunks of one request."""
MAX_LEAF_LIST = 64 * 1024 * 1024
"""Bytes: 2 Mi chunks, a file of 512 GiB."""
MAX_PIECE = 64 * 1024
_REQUEST = struct.Struct(">B32sII")
_LENGTH = struct.Struct(">I")
_NOT_HERE = 2**32 - 1


class Kind(IntEnum):
    """What is asked for."""

    LEAVES = 1
    CHUNKS = 2
    HELD = 3


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    kind: Kind
    name: Digest
    first: int = 0
    count: int = 0

    def encode(self) -> bytes:
        """41 bytes."""
        return _REQUEST.pack(self.kind, self.name, self.first, self.count)


class EndOfRequests(Exception):
    """The client has said all it wanted."""


async def receive_exactly(stream: Stream, length: int) -> bytes:
    """So many bytes.

    Raises:
        ContentCorrupt: the stream ended before.
    """
    data = bytearray()
    while len(data) < length:
        piece = await stream.receive_some(min(MAX_PIECE, length - len(data)))
        if not piece:
            raise ContentCorrupt(f"The stream ended after {len(data)} of {length} bytes.", "Ask somebody else.")
        data += piece
    return bytes(data)


async def receive_request(stream: Stream) -> Request:
    """The next request.

    Raises:
        EndOfRequests: there is none.
        ContentCorrupt: garbage, or more than the limits allow.
    """
    head = await stream.receive_some(1)
    if not head:
        raise EndOfRequests
    kind, name, first, count = _REQUEST.unpack(head + await receive_exactly(stream, _REQUEST.size - 1))
    if kind not in tuple(Kind) or count > MAX_CHUNKS or (kind == Kind.CHUNKS) != (count > 0):
        raise ContentCorrupt("Not a request of the content exchange.", "That peer's program is broken.")
    return Request(Kind(kind), name, first, count)


async def send_frame(stream: Stream, data: bytes | None) -> None:
    """One frame; None for "not here"."""
    if data is None:
        await stream.send_all(_LENGTH.pack(_NOT_HERE))
    else:
        await stream.send_all(_LENGTH.pack(len(data)) + data)


async def receive_frame(stream: Stream, most: int) -> bytes | None:
    """One frame of at most `most` bytes; None for "not here"."""
    (length,) = _LENGTH.unpack(await receive_exactly(stream, _LENGTH.size))
    if length == _NOT_HERE:
        return None
    if length > most:
        raise ContentCorrupt(f"A frame of {length} bytes where at most {most} fit.", "Ask somebody else.")
    return await receive_exactly(stream, length)


BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What a stream raises when the connection is gone."""
