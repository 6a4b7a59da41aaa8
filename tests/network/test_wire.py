"""Messages as bytes: what is sent comes back, and nothing else is taken."""

import dag_cbor
import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from swarmp2p.core.errors import MessageRefused
from swarmp2p.core.messages import Attestation, Claim, Hint, Invite, Objection, RoundMessage, Vote
from swarmp2p.core.types import Reason, VoteKind
from swarmp2p.network.wire import (
    decode_decision,
    decode_message,
    decode_receipts,
    encode_decision,
    encode_hint,
    encode_signed,
    receive_sync_response,
    send_sync_response,
)

digests = st.binary(min_size=32, max_size=32)
rounds = st.integers(0, 2**32 - 1)
bitmaps = st.integers(0, 2**256 - 1)
signatures = st.binary(min_size=65, max_size=65)
claims = st.builds(Claim, rounds, digests, bitmaps, st.integers(0, 15), digests)
objections = st.builds(
    Objection, rounds, digests, st.integers(0, 255), st.sampled_from(Reason), st.integers(0, 2**32 - 1)
)


@st.composite
def attestations(draw: st.DrawFn) -> Attestation:
    slices = tuple(draw(st.lists(digests, max_size=16)))
    mask = draw(st.integers(0, 2 ** len(slices) - 1))
    return Attestation(draw(rounds), draw(digests), draw(bitmaps), draw(digests), slices, mask)


bodies: st.SearchStrategy[RoundMessage] = st.one_of(claims, objections, attestations())


@given(bodies, signatures)
def test_signed_messages_come_back(body: RoundMessage, signature: bytes) -> None:
    data = encode_signed(body, signature)
    assert decode_message(data) == (body, signature)
    assert dag_cbor.encode(dag_cbor.decode(data)) == data


@given(rounds, digests)
def test_hints_come_back(round_: int, digest: bytes) -> None:
    assert decode_message(encode_hint(Hint(round_, digest))) == Hint(round_, digest)


accounts, times = st.binary(min_size=20, max_size=20), st.integers(0, 2**40 - 1)
decisions = st.one_of(
    st.builds(Vote, st.sampled_from(VoteKind), accounts, rounds, rounds, times),
    st.builds(Invite, accounts, st.integers(0, 2**24 - 1), rounds, times, st.integers(0, 2**128 - 1), digests, times),
)


@given(decisions, signatures)
def test_decisions_come_back(body: Invite | Vote, signature: bytes) -> None:
    data = encode_decision(body, signature)
    assert decode_decision(data) == (body, signature)
    with pytest.raises(MessageRefused):
        decode_message(data)


@given(st.binary(max_size=300))
def test_garbage_is_refused(data: bytes) -> None:
    for decode in (decode_message, decode_decision):
        with pytest.raises(MessageRefused):
            decode(data)


@pytest.mark.parametrize(
    "fields",
    [
        ["vote", 0, bytes(20), 0, 0, 0, bytes(65)],
        ["vote", 6, bytes(20), 0, 0, 0, bytes(65)],
        ["vote", 1, bytes(19), 0, 0, 0, bytes(65)],
        ["vote", 1, bytes(20), 2**32, 0, 0, bytes(65)],
        ["vote", 1, bytes(20), 0, 0, 2**40, bytes(65)],
        ["vote", 1, bytes(20), 0, 0, 0, bytes(64)],
        ["invite", bytes(20), 2**24, 1, 1, b"", bytes(32), 1, bytes(65)],
        ["invite", bytes(20), 0, 1, 1, b"\0", bytes(32), 1, bytes(65)],
        ["invite", bytes(20), 0, 1, 1, b"\1" * 17, bytes(32), 1, bytes(65)],
        ["invite", bytes(20), 0, 1, 1, b"", bytes(31), 1, bytes(65)],
    ],
)
def test_bent_decisions_are_refused(fields: list[object]) -> None:
    with pytest.raises(MessageRefused):
        decode_decision(dag_cbor.encode(fields))  # type: ignore[arg-type]


def cid_of(content: bytes) -> bytes:
    """A list of one CID: CBOR's tag 42."""
    return b"\x81\xd8\x2a\x58" + bytes([len(content)]) + content


@given(st.sampled_from([b"", b"\0", b"\0\1", b"\0\1\x71", b"\0\1\x71\x12\x20", b"\0\x12\x20"]), st.binary(max_size=60))
@example(bytes.fromhex("000196"), bytes.fromhex("68e7d3ff5515c51640966fd4d5dd816e3335d4e9b8c3eba5bd0ec97c13f4255a1fe2"))
def test_cids_of_whatever_kind_are_refused(start: bytes, rest: bytes) -> None:
    for decode in (decode_message, decode_decision, decode_receipts):
        with pytest.raises(MessageRefused):
            decode(cid_of(start + rest))


@pytest.mark.parametrize(
    "data",
    [
        "c240",  # a large number
        "c48200 01",  # a decimal fraction
        "c5821b00000000ffffffff01",  # a power of two with more digits than there is memory for
        "d81c80",  # what is referred to elsewhere
        "d82342285b",  # a regular expression
        "d9d9f780",  # a list that is called CBOR
        "d9fffe80",  # a tag that nobody knows
        "a0",
        "f6",
        "f97e00",  # not a number
        "1800",  # 0, not in its shortest form
        "818181818181818100",
    ],
)
def test_what_no_message_has_is_refused(data: str) -> None:
    for fields in (b"\x81" + bytes.fromhex(data), bytes.fromhex(data)):
        for decode in (decode_message, decode_decision, decode_receipts):
            with pytest.raises(MessageRefused):
                decode(fields)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=9),
    max_leaves=20,
)


@given(st.sampled_from(["claim", "attest", "object", "hint"]), st.lists(values, max_size=8))
def test_fields_of_the_wrong_kind_are_refused_or_meant(kind: str, fields: list[object]) -> None:
    data = dag_cbor.encode([kind, *fields])  # type: ignore[list-item]
    try:
        message = decode_message(data)
    except MessageRefused:
        return
    again = encode_hint(message) if isinstance(message, Hint) else encode_signed(*message)
    assert again == data


def test_too_long_and_not_canonical_are_refused() -> None:
    claim = encode_signed(Claim(1, bytes(32), 0, 0, bytes(32)), bytes(65))
    with pytest.raises(MessageRefused):
        decode_message(claim + b"\0")
    with pytest.raises(MessageRefused):
        decode_message(bytes(33_000))
    with pytest.raises(MessageRefused):
        decode_message(b"\x9f" + claim[1:] + b"\xff")  # the same list, of indefinite length


async def test_sync_responses_come_back_and_short_ones_are_refused() -> None:
    messages: list[tuple[RoundMessage, bytes]] = [(Claim(1, bytes(32), 0, n, bytes(32)), bytes(65)) for n in range(9)]
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_sync_response, ours, messages)  # type: ignore[arg-type]
        assert await receive_sync_response(theirs) == messages  # type: ignore[arg-type]
    await ours.send_all(b"\0\0\0\x05ab")
    await ours.aclose()
    with pytest.raises(MessageRefused, match="mid-message"):
        await receive_sync_response(theirs)  # type: ignore[arg-type]
