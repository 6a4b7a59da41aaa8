"""Bitswap's messages as bytes: against the protobuf of the specification, and against garbage."""

from contextlib import suppress

import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from libp2p.bitswap.pb import bitswap_pb2

from swarmp2p.content.bitswap_fetch import parse_node
from swarmp2p.content.bitswap_messages import (
    DAG_PB,
    MAX_CID,
    RAW,
    BadMessage,
    Message,
    MessageReader,
    Want,
    block_prefix,
    cid_bytes,
    decode,
    digest_in,
    encode,
    read_varint,
)
from swarmp2p.content.unixfs import hash_bytes, root, varint
from swarmp2p.core.errors import ContentCorrupt
from swarmp2p.core.types import CHUNK_SIZE
from tests.content.wire import pair

cids = st.binary(min_size=1, max_size=MAX_CID)
wants = st.builds(Want, cids, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2**31 - 1))
messages = st.builds(
    Message,
    st.lists(wants, max_size=4).map(tuple),
    st.booleans(),
    st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=300)), max_size=4).map(tuple),
    st.lists(st.tuples(cids, st.booleans()), max_size=4).map(tuple),
)


def body(message: Message) -> bytes:
    """Without the length before it, which has to be right."""
    data = encode(message)
    length, at = read_varint(data, 0)
    assert len(data) == at + length
    return data[at:]


@given(messages)
def test_what_is_written_is_what_the_specification_reads_and_the_other_way_round(message: Message) -> None:
    """The twin is protobuf's own code, made from the specification's .proto file by py-libp2p."""
    twin = bitswap_pb2.Message.FromString(body(message))
    found = tuple(
        Want(bytes(e.block), e.cancel, e.wantType == bitswap_pb2.Message.Wantlist.Have, e.sendDontHave, e.priority)
        for e in twin.wantlist.entries
    )
    assert (found, twin.wantlist.full) == (message.wants, message.full)
    assert tuple((bytes(b.prefix), bytes(b.data)) for b in twin.payload) == message.blocks
    have = bitswap_pb2.Message.Have
    assert tuple((bytes(p.cid), p.type == have) for p in twin.blockPresences) == message.presences
    assert decode(twin.SerializeToString()) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    with suppress(BadMessage):
        decode(data)


@given(messages, st.data())
def test_so_are_messages_with_a_fault(message: Message, data: st.DataObject) -> None:
    raw = bytearray(body(message))
    if raw:
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        with suppress(BadMessage):
            decode(bytes(raw))


def test_unknown_fields_are_skipped() -> None:
    known = body(Message((Want(b"cid"),)))
    unknown = b"\x98\x06\x05" + b"\x9a\x06\x03abc" + b"\x99\x06" + bytes(8) + b"\x9d\x06" + bytes(4)
    assert decode(unknown + known + unknown) == Message((Want(b"cid"),))


async def test_messages_are_read_however_the_bytes_come() -> None:
    ours, theirs = pair()
    sent = [Message((Want(b"one"),)), Message(), Message(blocks=((b"p", bytes(70_000)),)), Message((Want(b"two"),))]
    reader = MessageReader(theirs)
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            data = b"".join(map(encode, sent))
            for at in [*range(50), *range(50, len(data), 9_999)]:
                await ours.send_all(data[at : at + (1 if at < 50 else 9_999)])
            await ours.send_eof()

        nursery.start_soon(write)
        assert [await reader.read() for _ in sent] == sent
        assert await reader.read() is None


async def test_a_stream_that_ends_within_a_message_is_broken() -> None:
    for cut in (1, 5):
        ours, theirs = pair()
        await ours.send_all(encode(Message(blocks=((b"p", bytes(300)),)))[:cut])
        await ours.send_eof()
        with pytest.raises(ConnectionError):
            await MessageReader(theirs).read()


def test_cids_of_both_versions() -> None:
    digest = bytes(range(32))
    assert digest_in(cid_bytes(RAW, digest)) == (RAW, digest)
    assert digest_in(cid_bytes(DAG_PB, digest)) == digest_in(b"\x12\x20" + digest) == (DAG_PB, digest)
    assert block_prefix(b"\x12\x20" + digest) == b"\x00\x70\x12\x20"
    assert block_prefix(cid_bytes(RAW, digest)) == b"\x01\x55\x12\x20"
    for other in (
        b"",
        b"\x01",
        b"\x01\x71\x12\x20" + digest,
        b"\x01\x55\x1e\x20" + digest,
        b"\x02\x55\x12\x20" + digest,
    ):
        assert digest_in(other) is None


@given(st.integers(0, 2**64 - 1))
def test_varints(value: int) -> None:
    data = varint(value)
    assert read_varint(data, 0) == (value, len(data))
    with pytest.raises(BadMessage):
        read_varint(data[:-1], 0)


def test_nodes_of_the_profile_and_other_blocks() -> None:
    hashed = hash_bytes(bytes(range(256)) * 3 * 1024)
    (block,) = root(hashed.leaf_list, hashed.size).nodes.values()
    node = parse_node(block)
    assert node.size == hashed.size == 3 * CHUNK_SIZE
    assert [digest for _, digest in node.children] == [hashed.leaf_list[at : at + 32] for at in (0, 32, 64)]
    empty_folder = b"\x0a\x02\x08\x01"
    for other in (b"", b"a model", empty_folder, block[:-1], b"\x0a\x02\x08\x02"):
        with pytest.raises(ContentCorrupt):
            parse_node(other)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_node_or_none(data: bytes) -> None:
    with suppress(ContentCorrupt):
        parse_node(data)
