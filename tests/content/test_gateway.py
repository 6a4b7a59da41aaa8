"""The IPFS trustless gateway's requests (specs.ipfs.tech): a client of that gets files and checks them."""

import hashlib
from collections.abc import Iterator

import dag_cbor
import h11
import pytest
import trio
from multiformats import CID, varint

from swarmp2p.content.exchange import Server
from swarmp2p.content.exchange.offload import inline
from swarmp2p.content.interface import ContentStore
from swarmp2p.content.unixfs import cid, hash_bytes, root
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.testing.memory_content import MemoryStore
from tests.content.wire import ORIGIN, pair, pattern

DATA = pattern(180 * 1000 + 3 * CHUNK_SIZE)
FILE = hash_bytes(DATA)
PATH = f"/ipfs/{cid(FILE.digest, FILE.size)}"


@pytest.fixture
def store() -> Iterator[ContentStore]:
    made = MemoryStore()
    made.put(DATA)
    yield made
    made.close()


async def ask(store: ContentStore, target: str, method: str = "GET", **fields: str) -> tuple[h11.Response, bytes]:
    """Status, headers and body, as an HTTP client reads them."""
    client = h11.Connection(h11.CLIENT)
    headers = [("Host", "x"), *((name.replace("_", "-"), value) for name, value in fields.items())]
    sent = client.send(h11.Request(method=method, target=target, headers=headers)) or b""
    sent += client.send(h11.EndOfMessage()) or b""
    ours, theirs = pair()
    await ours.send_all(sent)
    await ours.send_eof()
    body = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server(store, offload=inline).serve, theirs, ORIGIN)
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                client.receive_data(await ours.receive_some(10_000))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                return response, bytes(body)


def field(response: h11.Response, name: str) -> str:
    return dict(response.headers)[name.lower().encode()].decode()


async def test_a_file_and_parts_of_it(store: ContentStore) -> None:
    response, body = await ask(store, PATH)
    assert (response.status_code, body) == (200, DATA)
    response, body = await ask(store, PATH, Range="bytes=262100-262199")
    assert (response.status_code, body) == (206, DATA[262100:262200])
    assert field(response, "Content-Range") == f"bytes 262100-262199/{len(DATA)}"
    response, body = await ask(store, PATH, Range=f"bytes={len(DATA) - 5}-")
    assert (response.status_code, body) == (206, DATA[-5:])
    response, body = await ask(store, PATH, "HEAD")
    assert (response.status_code, body, field(response, "Content-Length")) == (200, b"", str(len(DATA)))


async def test_the_root_block(store: ContentStore) -> None:
    response, body = await ask(store, f"{PATH}?format=raw")
    assert field(response, "Content-Type") == "application/vnd.ipld.raw"
    assert hashlib.sha256(body).digest() == FILE.digest
    assert (await ask(store, PATH, Accept="application/vnd.ipld.raw"))[1] == body


async def test_every_block_by_its_cid(store: ContentStore) -> None:
    """So that a client walks from the root to the leaves."""
    nodes = root(FILE.leaf_list, FILE.size).nodes
    leaves = [FILE.leaf_list[i : i + 32] for i in range(0, len(FILE.leaf_list), 32)]
    for codec, digests in (("dag-pb", list(nodes)), ("raw", leaves)):
        for digest in digests:
            block = CID("base32", 1, codec, ("sha2-256", digest))
            response, body = await ask(store, f"/ipfs/{block}?format=raw")
            assert response.status_code == 200
            assert hashlib.sha256(body).digest() == digest
    unknown = CID("base32", 1, "raw", ("sha2-256", bytes(32)))
    assert (await ask(store, f"/ipfs/{unknown}?format=raw"))[0].status_code == 404


async def test_the_leaf_list_of_a_slice_is_a_raw_block(store: ContentStore) -> None:
    part = store.assemble("r1", len(DATA))
    part.write_chunk(0, DATA[:CHUNK_SIZE])
    name = part.seal_slice(0, 1)
    block = CID("base32", 1, "raw", ("sha2-256", name))
    assert (await ask(store, f"/ipfs/{block}?format=raw"))[1] == FILE.leaf_list[:32]


@pytest.mark.parametrize("whole", [True, False])
async def test_a_car_has_each_block_once_and_proves_itself(store: ContentStore, whole: bool) -> None:
    response, car = await ask(store, f"{PATH}?format=car&dag-scope={'all' if whole else 'block'}")
    assert field(response, "Content-Type").startswith("application/vnd.ipld.car")
    length, read, _ = varint.decode_raw(car)
    header = dag_cbor.decode(car[read : read + length])
    assert header == {"roots": [cid(FILE.digest, FILE.size)], "version": 1}
    blocks, at = {}, read + length
    while at < len(car):
        length, read, _ = varint.decode_raw(car[at:])
        section = car[at + read : at + read + length]
        digest, block = section[4:36], section[36:]
        assert hashlib.sha256(block).digest() == digest
        assert digest not in blocks
        blocks[digest] = block
        at += read + length
    nodes = root(FILE.leaf_list, FILE.size).nodes
    expected = set(nodes) | {FILE.leaf_list[i : i + 32] for i in range(0, len(FILE.leaf_list), 32)}
    assert set(blocks) == (expected if whole else {FILE.digest})
