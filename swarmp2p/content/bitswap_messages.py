"""Messages of Bitswap 1.2.0 as bytes (https://specs.ipfs.tech/bitswap-protocol/; protocol id `/ipfs/bitswap/1.2.0`).

A message is protobuf, with its length before it as an unsigned varint. Written by hand: a dozen fields, and bytes of
strangers meet no more code than these lines. What is not known is skipped, as protobuf wants it; what is beyond a limit,
or no protobuf, raises BadMessage.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from swarmp2p.content.interface import Stream
from swarmp2p.content.unixfs import HASH_SIZE, varint
from swarmp2p.core.types import Digest

BITSWAP_PROTOCOL = "/ipfs/bitswap/1.2.0"

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes that a message may have: the specification's limit."""
MAX_WANTLIST = 512 * 1024
"""Bytes that a message may have whose sender was asked for nothing: wants and presences only."""
MAX_BLOCK = 2 * 1024 * 1024
"""Bytes that a block may have: the specification's limit."""
MAX_ENTRIES = 4096
"""Wants and presences in one message: as many as a gigabyte has chunks."""
MAX_CID = 128
_READ = 65_536

RAW, DAG_PB = 0x55, 0x70
_SHA2_256 = bytes([0x12, HASH_SIZE])


class BadMessage(Exception):
    """The other side sent what is no message, or is beyond a limit."""


@dataclass(frozen=True, slots=True)
class Want:
    """An entry of a wantlist.

    Attributes:
        cid: in binary, as it was asked for.
        cancel: it is wanted no more.
        have: whether it is here is asked, not the block itself.
        dont_have: an answer is wanted also if it is not here.
        priority: higher ones first.
    """

    cid: bytes
    cancel: bool = False
    have: bool = False
    dont_have: bool = True
    priority: int = 1


@dataclass(frozen=True, slots=True)
class Message:
    """A message.

    Attributes:
        wants: entries of the sender's wantlist: all of it if `full`, else what changed.
        blocks: blocks, each with the prefix of its CID (version, codec, hash, length).
        presences: CIDs, and whether the sender has their blocks.
    """

    wants: tuple[Want, ...] = ()
    full: bool = False
    blocks: tuple[tuple[bytes, bytes], ...] = ()
    presences: tuple[tuple[bytes, bool], ...] = ()


# CIDs


def cid_bytes(codec: int, digest: Digest) -> bytes:
    """A binary CIDv1 with sha2-256."""
    return bytes([1, codec]) + _SHA2_256 + digest


def block_prefix(cid: bytes) -> bytes:
    """What a block's message says of its CID: all but the digest. A CIDv0 is (version 0, dag-pb) in full."""
    return bytes([0, DAG_PB]) + _SHA2_256 if len(cid) == 2 + HASH_SIZE else cid[:-HASH_SIZE]


def digest_in(cid: bytes) -> tuple[int, Digest] | None:
    """Codec and sha2-256 digest of a binary CID, version 1, or 0 (which is dag-pb); None: it has another hash or codec,
    which no block here has."""
    if len(cid) == 2 + HASH_SIZE and cid.startswith(_SHA2_256):
        return DAG_PB, cid[2:]
    codec = cid[1] if len(cid) == 4 + HASH_SIZE else 0
    if codec not in (RAW, DAG_PB) or cid[0] != 1 or cid[2:4] != _SHA2_256:
        return None
    return codec, cid[4:]


# Protobuf


def read_varint(data: bytes | bytearray | memoryview, at: int) -> tuple[int, int]:
    """A varint of at most 64 bits and where it ends. Raises BadMessage."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise BadMessage("a number without end")


def fields(data: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values, in their order: integers (wire type 0) or bytes (2); others are skipped.

    Raises:
        BadMessage: no protobuf.
    """
    view = memoryview(data)
    at = 0
    while at < len(view):
        tag, at = read_varint(view, at)
        kind = tag & 7
        if kind == 0:
            number, at = read_varint(view, at)
            yield tag >> 3, number
            continue
        if kind == 2:
            length, at = read_varint(view, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise BadMessage(f"a field of wire type {kind}")
        if length > len(view) - at:
            raise BadMessage("a field that ends beyond its message")
        if kind == 2:
            yield tag >> 3, view[at : at + length]
        at += length


def _number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value) if value else b""


def _bytes(field: int, *pieces: bytes) -> list[bytes]:
    return [varint(field << 3 | 2) + varint(sum(len(piece) for piece in pieces)), *pieces]


def encode(message: Message) -> bytes:
    """A message with its length before it."""
    pieces: list[bytes] = []
    if message.wants or message.full:
        entries: list[bytes] = []
        for want in message.wants:
            entries += _bytes(
                1,
                *_bytes(1, want.cid),
                _number(2, want.priority),
                _number(3, want.cancel),
                _number(4, want.have),
                _number(5, want.dont_have),
            )
        pieces += _bytes(1, *entries, _number(2, message.full))
    for prefix, data in message.blocks:
        pieces += _bytes(3, *_bytes(1, prefix), *_bytes(2, data))
    for cid, have in message.presences:
        pieces += _bytes(4, *_bytes(1, cid), _number(2, not have))
    return b"".join((varint(sum(len(piece) for piece in pieces)), *pieces))


def decode(data: bytes) -> Message:
    """The message in these bytes, its length not among them. Blocks of version 1.0.0, which have no prefix, are left
    out. Raises BadMessage."""
    wants: list[Want] = []
    blocks: list[tuple[bytes, bytes]] = []
    presences: list[tuple[bytes, bool]] = []
    full = False
    for number, value in fields(data):
        if isinstance(value, int):
            continue
        if number == 1:
            for inner, entry in fields(value):
                if inner == 1 and not isinstance(entry, int):
                    wants.append(_want(entry))
                elif inner == 2:
                    full = bool(entry)
        elif number == 3:
            blocks.append(_block(value))
        elif number == 4:
            presences.append(_presence(value))
        if max(len(wants), len(blocks), len(presences)) > MAX_ENTRIES:
            raise BadMessage(f"more than {MAX_ENTRIES} entries")
    return Message(tuple(wants), full, tuple(blocks), tuple(presences))


def _cid(value: int | memoryview) -> bytes:
    if isinstance(value, int) or not 0 < len(value) <= MAX_CID:
        raise BadMessage("not a CID")
    return bytes(value)


def _want(entry: memoryview) -> Want:
    cid, numbers = b"", dict.fromkeys((2, 3, 4, 5), 0)
    for number, value in fields(entry):
        if number == 1:
            cid = _cid(value)
        elif isinstance(value, int):
            numbers[number] = value
    if not cid:
        raise BadMessage("a want without a CID")
    return Want(cid, bool(numbers[3]), bool(numbers[4]), bool(numbers[5]), numbers[2])


def _block(entry: memoryview) -> tuple[bytes, bytes]:
    found = {number: value for number, value in fields(entry) if not isinstance(value, int)}
    prefix, data = bytes(found.get(1, b"")), bytes(found.get(2, b""))
    if len(prefix) > MAX_CID or len(data) > MAX_BLOCK:
        raise BadMessage(f"a block of {len(data)} bytes")
    return prefix, data


def _presence(entry: memoryview) -> tuple[bytes, bool]:
    cid, have = b"", True
    for number, value in fields(entry):
        if number == 1:
            cid = _cid(value)
        elif number == 2:
            have = value == 0
    if not cid:
        raise BadMessage("a presence without a CID")
    return cid, have


class MessageReader:
    """Reads messages from a stream, which nobody else reads.

    Args:
        limit: bytes that the next message may have.
    """

    def __init__(self, stream: Stream, limit: Callable[[], int] = lambda: MAX_MESSAGE) -> None:
        self._stream = stream
        self._limit = limit
        self._buffer = bytearray()

    async def read(self) -> Message | None:
        """The next message; None at the end of the stream between two.

        Raises:
            BadMessage: too long, or no message.
            OSError, trio.BrokenResourceError, trio.ClosedResourceError: the stream broke, or ended within a message.
        """
        while True:
            end = next((i + 1 for i, byte in enumerate(self._buffer[:10]) if byte < 0x80), 0)
            if end:
                break
            if len(self._buffer) >= 10:
                raise BadMessage("a number without end")
            if not await self._more():
                if self._buffer:
                    raise ConnectionError("the stream ended within a message")
                return None
        length, _ = read_varint(self._buffer, 0)
        if length > self._limit():
            raise BadMessage(f"a message of {length} bytes")
        while len(self._buffer) < end + length:
            if not await self._more():
                raise ConnectionError("the stream ended within a message")
        with memoryview(self._buffer) as view:
            data = bytes(view[end : end + length])
        del self._buffer[: end + length]
        return decode(data)

    async def _more(self) -> bool:
        data = await self._stream.receive_some(_READ)
        self._buffer += data
        return bool(data)
