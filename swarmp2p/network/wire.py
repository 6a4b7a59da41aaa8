"""Gossip messages and the sync exchange as bytes: dag-cbor, strict in what is taken (docs/protocol.md, section 7)."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import cbor2

from swarmp2p.core.errors import MessageRefused
from swarmp2p.core.messages import Attestation, Claim, Hint, Invite, Objection, Receipt, RoundMessage, Vote
from swarmp2p.core.types import Reason, VoteKind
from swarmp2p.network.interface import MAX_MESSAGE, PREFIX, Stream

SYNC_PROTOCOL = f"{PREFIX}/sync"
MAX_SYNC_MESSAGES = 16_384
"""Messages of one sync response: 256 members with 64 messages each."""
MAX_SLICES = 16
MAX_ROUND = 2**32 - 1
MAX_BITMAP_BYTES = 32
MAX_RECEIPTS = 200
"""In one message, which is then of 24 KiB at most."""
MAX_TIME = 2**40 - 1
MAX_SIZE = 2**64 - 1
_MAX_DEPTH = 3
"""A list of fields, of which some are lists."""

SignedBody: TypeAlias = tuple[RoundMessage, bytes]


def _bitmap(value: int) -> bytes:
    return value.to_bytes(-(-value.bit_length() // 8), "big")


def encode_signed(body: RoundMessage, signature: bytes) -> bytes:
    """A signed round message: a list of its kind, fields and signature."""
    fields: list[Any]
    if isinstance(body, Claim):
        fields = ["claim", body.round, body.inputs, _bitmap(body.excluded), body.slice, body.digest]
    elif isinstance(body, Attestation):
        slices = list(body.slices)
        fields = ["attest", body.round, body.inputs, _bitmap(body.excluded), body.merged, slices, body.mask]
    else:
        fields = ["object", body.round, body.inputs, body.member, int(body.reason), body.chunk]
    return _encode_list([*fields, signature])


def encode_hint(hint: Hint) -> bytes:
    """A hint."""
    return _encode_list(["hint", hint.round, hint.digest])


def encode_decision(body: Invite | Vote, signature: bytes) -> bytes:
    """One signature of an invite or a vote."""
    fields: list[Any]
    if isinstance(body, Vote):
        fields = ["vote", int(body.kind), body.target, body.arg, body.ballot, body.deadline]
    else:
        # dag-cbor's numbers end at 64 bits.
        stake = _bitmap(body.stake)
        fields = ["invite", body.invitee, body.term, body.max_weight, body.expires, stake, body.purpose, body.deadline]
    return _encode_list([*fields, signature])


def decode_decision(data: bytes) -> tuple[Invite | Vote, bytes]:
    """What `encode_decision` wrote.

    Raises:
        MessageRefused: anything else, also what is well-formed but not in the one canonical form.
    """
    fields = _decode_list(data)
    kind = fields[0] if fields else None
    if kind == "vote" and len(fields) == 7:
        number = _integer(fields[1], max(VoteKind))
        if number == 0:
            raise MessageRefused("A vote has a kind.")
        target, arg, ballot = _bytes(fields[2], 20), _integer(fields[3], MAX_ROUND), _integer(fields[4], MAX_ROUND)
        return Vote(VoteKind(number), target, arg, ballot, _integer(fields[5], MAX_TIME)), _bytes(fields[6], 65)
    if kind != "invite" or len(fields) != 9:
        raise MessageRefused("Not a decision that this version knows.")
    stake = _read_bitmap(fields[5])
    if stake >= 2**128:
        raise MessageRefused("A number is missing or out of range.")
    invite = Invite(
        _bytes(fields[1], 20), _integer(fields[2], 2**24 - 1), _integer(fields[3], MAX_ROUND),
        _integer(fields[4], MAX_TIME), stake, _bytes(fields[6], 32), _integer(fields[7], MAX_TIME),
    )  # fmt: skip
    return invite, _bytes(fields[8], 65)


def encode_receipts(receipts: Sequence[tuple[Receipt, bytes]]) -> bytes:
    """Signed receipts of one member, at most MAX_RECEIPTS: one message costs less than many."""
    fields: list[Any] = [[body.round, body.server, body.size, signature] for body, signature in receipts]
    return _encode_list(["receipts", *fields])


def decode_receipts(data: bytes) -> list[tuple[Receipt, bytes]]:
    """What `encode_receipts` wrote.

    Raises:
        MessageRefused: anything else, also what is well-formed but not in the one canonical form.
    """
    fields = _decode_list(data)
    if not 1 < len(fields) <= 1 + MAX_RECEIPTS or fields[0] != "receipts":
        raise MessageRefused("Not receipts.")
    return [_receipt(each) for each in fields[1:]]


def _receipt(fields: object) -> tuple[Receipt, bytes]:
    if not isinstance(fields, list) or len(fields) != 4:
        raise MessageRefused("Not a receipt.")
    body = Receipt(_integer(fields[0], MAX_ROUND), _bytes(fields[1], 20), _integer(fields[2], MAX_SIZE))
    return body, _bytes(fields[3], 65)


def decode_message(data: bytes) -> SignedBody | Hint:
    """What `encode_signed` or `encode_hint` wrote.

    Raises:
        MessageRefused: anything else, also what is well-formed but not in the one canonical form.
    """
    return _parse(_decode_list(data))


class _NoTags(dict[int, Any]):
    """Decoders for CBOR's tags, of which messages have none: not even CIDs."""

    def __missing__(self, tag: int) -> Any:
        raise MessageRefused(f"A message has no tag {tag}.")


_NO_TAGS = _NoTags()


def _encode_list(fields: list[Any]) -> bytes:
    """Of lists, byte strings, text and integers of up to 64 bits, CBOR's canonical form is dag-cbor. Packages that know all
    of dag-cbor take 40 times as long, which is felt: a dozen messages a round and member."""
    return cbor2.dumps(fields, canonical=True)


def _decode_list(data: bytes) -> list[Any]:
    if len(data) > MAX_MESSAGE:
        raise MessageRefused(f"A message of {len(data)} bytes is above the limit.")
    try:
        fields = cbor2.loads(data, max_depth=_MAX_DEPTH, semantic_decoders=_NO_TAGS)
        if not isinstance(fields, list) or _encode_list(fields) != data:
            raise MessageRefused("Not a message in canonical dag-cbor.")
    except MessageRefused:
        raise
    except Exception as error:
        # Whatever it is: bytes of a peer must never end more than the message that they came in.
        raise MessageRefused(f"Not dag-cbor: {type(error).__name__}.") from None
    return fields


def _parse(fields: list[Any]) -> SignedBody | Hint:
    kind = fields[0] if fields else None
    if kind == "hint" and len(fields) == 3:
        return Hint(_integer(fields[1], MAX_ROUND), _bytes(fields[2], 32))
    if kind not in ("claim", "attest", "object") or len(fields) != {"claim": 7, "attest": 8, "object": 7}[kind]:
        raise MessageRefused("Not a message that this version knows.")
    round_, inputs, signature = _integer(fields[1], MAX_ROUND), _bytes(fields[2], 32), _bytes(fields[-1], 65)
    if kind == "claim":
        excluded, slice_ = _read_bitmap(fields[3]), _integer(fields[4], MAX_SLICES - 1)
        return Claim(round_, inputs, excluded, slice_, _bytes(fields[5], 32)), signature
    if kind == "attest":
        slices = fields[5]
        if not isinstance(slices, list) or len(slices) > MAX_SLICES:
            raise MessageRefused("An attestation has at most 16 slices.")
        digests = tuple(_bytes(digest, 32) for digest in slices)
        excluded, mask = _read_bitmap(fields[3]), _integer(fields[6], 2 ** len(digests) - 1)
        return Attestation(round_, inputs, excluded, _bytes(fields[4], 32), digests, mask), signature
    reason = _integer(fields[4], 2)
    if reason == 0:
        raise MessageRefused("An objection has a reason.")
    return Objection(
        round_, inputs, _integer(fields[3], 255), Reason(reason), _integer(fields[5], MAX_ROUND)
    ), signature


def _integer(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise MessageRefused("A number is missing or out of range.")
    return value


def _bytes(value: object, length: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != length:
        raise MessageRefused(f"A field of {length} bytes is missing.")
    return value


def _read_bitmap(value: object) -> int:
    if not isinstance(value, bytes) or len(value) > MAX_BITMAP_BYTES or value[:1] == b"\0":
        raise MessageRefused("A bitmap is missing, too long, or not in its shortest form.")
    return int.from_bytes(value, "big")


async def _send_frame(stream: Stream, data: bytes) -> None:
    await stream.send_all(len(data).to_bytes(4, "big") + data)


async def _receive_exactly(stream: Stream, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = await stream.receive_some(length - len(data))
        if not piece:
            raise MessageRefused("The stream ended in mid-message.")
        data += piece
    return data


async def _receive_frame(stream: Stream) -> bytes:
    length = int.from_bytes(await _receive_exactly(stream, 4), "big")
    if length > MAX_MESSAGE:
        raise MessageRefused(f"A frame of {length} bytes is above the limit.")
    return await _receive_exactly(stream, length)


async def send_sync_request(stream: Stream, round_: int) -> None:
    """Ask for the messages of a round."""
    await stream.send_all(round_.to_bytes(4, "big"))


async def receive_sync_request(stream: Stream) -> int:
    """The round that is asked for."""
    return int.from_bytes(await _receive_exactly(stream, 4), "big")


async def send_sync_response(stream: Stream, messages: Sequence[SignedBody]) -> None:
    """Messages, a frame each, and an empty frame."""
    for body, signature in messages[:MAX_SYNC_MESSAGES]:
        await _send_frame(stream, encode_signed(body, signature))
    await _send_frame(stream, b"")


async def receive_sync_response(stream: Stream) -> list[SignedBody]:
    """The messages of a response; hints have no place in it.

    Raises:
        MessageRefused: a malformed or endless one.
    """
    messages: list[SignedBody] = []
    while data := await _receive_frame(stream):
        message = decode_message(data)
        if isinstance(message, Hint) or len(messages) >= MAX_SYNC_MESSAGES:
            raise MessageRefused("Not a sync response.")
        messages.append(message)
    return messages
