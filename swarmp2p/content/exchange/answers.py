"""Answers out of a content store. Everything here blocks."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import dag_cbor
from multiformats import CID

from swarmp2p.content.blocks import BlockIndex
from swarmp2p.content.exchange.live import Live, LiveObject
from swarmp2p.content.exchange.precedence import Precedence
from swarmp2p.content.exchange.requests import CHUNKS_HEADER, Request, What
from swarmp2p.content.interface import ContentStore, ServesUnchecked
from swarmp2p.content.unixfs import HASH_SIZE, chunk_count, cid, leaf_at, parse_cid, root, varint
from swarmp2p.core.errors import ConfigError, ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import CHUNK_SIZE, Digest

_log = logging.getLogger(__name__)

Piece = bytes | Callable[[], bytes]
"""A part of a body, or what reads it when its turn comes."""

_RAW = "application/vnd.ipld.raw"
_CAR = "application/vnd.ipld.car; version=1"
_BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers and body of an answer. `length` None: it is known only at the end. `gives_way`: to all others."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = 0
    body: tuple[Piece, ...] | Iterator[Piece] = ()
    gives_way: bool = False


TAKEN = Reply(202)
REFUSED = Reply(403)
NOT_FOUND = Reply(404)
NOT_UNDERSTOOD = Reply(400)


class Answers:
    """What one peer has to say to requests.

    Args:
        store: files, whole and in parts, and slices.
        live: chunks in the making.
    """

    def __init__(self, store: ContentStore, live: Live) -> None:
        self._store = store
        self._live = live
        self._blocks = BlockIndex(store)
        self.precedence = Precedence()

    def reply(self, request: Request) -> Reply:
        """The answer to one request; waits if the request says so."""
        match request.what:
            case What.LEAVES:
                return _leaves(self._store, request.name)
            case What.HELD:
                return _held(self._store, request.name)
            case What.CHUNKS:
                making = self._live.get(request.name, request.wait)
                return _chunks(self._store, request) if making is None else _live_chunks(making, request)
        try:
            digest = parse_cid(request.cid)
        except ConfigError:
            return NOT_UNDERSTOOD
        headers = (("X-Ipfs-Path", f"/ipfs/{request.cid}"), ("Etag", f'"{request.cid}.{request.what.value}"'))
        match request.what:
            case What.BLOCK:
                block = self._block(digest)
                return NOT_FOUND if block is None else _sized(_RAW, (block,), len(block), *headers)
            case What.CAR:
                return _car(self._store, digest, request.whole, headers)
            case _:
                return _file(self._store, digest, request, headers)

    def _block(self, digest: Digest) -> bytes | None:
        block = self._blocks.read(digest)
        if block is None:
            self._blocks.refresh()  # it may be of a file that came since
            block = self._blocks.read(digest)
        return block


def _sized(
    content_type: str, body: tuple[Piece, ...], length: int, *headers: tuple[str, str], status: int = 200
) -> Reply:
    return Reply(status, (("Content-Type", content_type), *headers), length, body)


def _leaves(store: ContentStore, name: Digest) -> Reply:
    leaf_list = store.leaf_list(name)
    if leaf_list is None:
        return NOT_FOUND
    return _sized(_BYTES, (leaf_list,), len(leaf_list), (CHUNKS_HEADER, str(len(leaf_list) // HASH_SIZE)))


def _held(store: ContentStore, name: Digest) -> Reply:
    held, leaf_list = store.held(name), store.leaf_list(name)
    if held is None or leaf_list is None:
        return NOT_FOUND
    return _sized(_BYTES, (held,), len(held), (CHUNKS_HEADER, str(len(leaf_list) // HASH_SIZE)))


def _chunks(store: ContentStore, request: Request) -> Reply:
    """As many of the chunks as are here, from the first one on. The first is read at once: that it is rotten is a 404, and
    no broken connection."""
    held, leaf_list = store.held(request.name), store.leaf_list(request.name)
    assert request.last is not None
    if held is None or leaf_list is None:
        return NOT_FOUND
    total, stop = len(leaf_list) // HASH_SIZE, request.first
    while stop < min(request.last + 1, total) and held[stop // 8] >> stop % 8 & 1:
        stop += 1
    if stop == request.first:
        return NOT_FOUND
    read = store.serve_chunk if isinstance(store, ServesUnchecked) and not request.recheck else store.read_chunk
    try:
        chunks = [read(request.name, request.first)]
        # Only the last chunk of an object can be shorter than the others.
        last = len(read(request.name, total - 1)) if stop == total and stop - request.first > 1 else None
    except (ContentUnavailable, ContentCorrupt):
        return NOT_FOUND
    except OSError as error:
        _log.error("cannot read chunk %d of %s: %s", request.first, request.name.hex(), error)
        return NOT_FOUND
    rest = [partial(read, request.name, index) for index in range(request.first + 1, stop)]
    length = len(chunks[0]) + CHUNK_SIZE * len(rest)
    if last is not None:
        length += last - CHUNK_SIZE
    said = f"chunks {request.first}-{stop - 1}/{total}"
    return _sized(_BYTES, (chunks[0], *rest), length, ("Content-Range", said), status=206)


def _live_chunks(making: LiveObject, request: Request) -> Reply:
    """All that were asked for, each sent when it is ready: a request a chunk would cost as much as the chunk. Should one
    not come in time, the connection ends within the answer."""
    assert request.last is not None
    if request.first >= making.total or (first := making.chunk(request.first, request.wait)) is None:
        return NOT_FOUND
    run = range(request.first, min(request.last + 1, making.total))

    def piece(index: int) -> bytes:
        data = first if index == run.start else making.chunk(index, request.wait)
        if data is None or len(data) != making.length(index):
            raise ContentUnavailable(f"Chunk {index} of {request.name.hex()} is not made yet.", "Ask again later.")
        return data

    said = f"chunks {run.start}-{run.stop - 1}/{making.total}"
    body, length = tuple(partial(piece, index) for index in run), sum(map(making.length, run))
    return replace(_sized(_BYTES, body, length, ("Content-Range", said), status=206), gives_way=making.gives_way)


# The trustless gateway


def _file(store: ContentStore, digest: Digest, request: Request, headers: tuple[tuple[str, str], ...]) -> Reply:
    try:
        size = store.size(digest)
    except ContentUnavailable:
        return NOT_FOUND
    ranged = request.first > 0 or request.last is not None
    if ranged and request.first >= size:
        return Reply(416, (("Content-Range", f"bytes */{size}"),))
    last = size - 1 if request.last is None else min(request.last, size - 1)
    starts = range(request.first, last + 1, CHUNK_SIZE)
    body = tuple(partial(store.read, digest, at, min(CHUNK_SIZE, last + 1 - at)) for at in starts)
    said = (("Content-Range", f"bytes {request.first}-{last}/{size}"),) if ranged else ()
    accept = ("Accept-Ranges", "bytes")
    return _sized(_BYTES, body, last + 1 - request.first, accept, *said, *headers, status=206 if ranged else 200)


def _car(store: ContentStore, digest: Digest, whole: bool, headers: tuple[tuple[str, str], ...]) -> Reply:
    """A CARv1 (ipld.io/specs/transport/car): the header, then each block with its length and CID."""
    try:
        size, leaf_list = store.size(digest), store.leaf_list(digest)
    except ContentUnavailable:
        return NOT_FOUND
    if leaf_list is None:
        return NOT_FOUND
    top = cid(digest, size)
    blocks = _all_blocks(store, digest, size, leaf_list)

    def body() -> Iterator[Piece]:
        header = dag_cbor.encode({"roots": [top], "version": 1})
        yield varint(len(header)) + header
        for name, read in blocks if whole else islice(blocks, 1):
            yield partial(_section, name, read)

    return Reply(200, (("Content-Type", _CAR), *headers), None, body())


def _section(name: CID, read: Callable[[], bytes]) -> bytes:
    block = read()
    prefix = bytes(name)
    return varint(len(prefix) + len(block)) + prefix + block


def _all_blocks(
    store: ContentStore, digest: Digest, size: int, leaf_list: bytes
) -> Iterator[tuple[CID, Callable[[], bytes]]]:
    """The inner nodes from the root down, then the leaves: each can be checked against what came before it."""
    nodes = root(leaf_list, size).nodes
    for node, block in reversed(nodes.items()):
        yield CID("base32", 1, "dag-pb", ("sha2-256", node)), partial(bytes, block)
    for index in range(chunk_count(size)):
        leaf = CID("base32", 1, "raw", ("sha2-256", leaf_at(leaf_list, index)))
        yield leaf, partial(store.read_chunk, digest, index)
