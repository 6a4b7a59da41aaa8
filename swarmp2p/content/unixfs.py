"""UnixFS: how a file gets its CID, in the one profile that the swarm uses (docs/protocol.md, sections 3 and 5).

CIDv1, sha2-256, raw leaves of 256 KiB, balanced, 174 links a node, no metadata: the CID is the one that
`ipfs add --cid-version=1 --raw-leaves --chunker=size-262144` prints, for every size. A *leaf list* is the concatenation
of the leaves' sha2-256 hashes, 32 bytes a chunk; with the file's size it determines the whole tree, so neither hashing
a file nor checking one needs more memory than its leaf list (128 KiB for 1 GiB).
"""

import base64
import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from multiformats import CID

from swarmp2p.core.errors import ConfigError, ContentCorrupt
from swarmp2p.core.types import CHUNK_SIZE, Digest

HASH_SIZE = 32
LINKS_PER_NODE = 174
"""Children of an inner node. Kubo's default: 174 links with CIDs and sizes make a node of about 8 KiB."""

_RAW_PREFIX = bytes([0x01, 0x55, 0x12, HASH_SIZE])
_DAG_PB_PREFIX = bytes([0x01, 0x70, 0x12, HASH_SIZE])
_UNIXFS_FILE = 2
_REMEMBERED_LEAVES = 8192
"""Trees of files of up to 2 GiB are remembered, of half a megabyte each."""


@dataclass(frozen=True, slots=True)
class Root:
    """A file's tree.

    Attributes:
        digest: sha2-256 of the root block, 32 bytes.
        nodes: the dag-pb inner nodes by digest, root included; empty for a file of at most one chunk, whose only block
            is the raw leaf.
    """

    digest: Digest
    nodes: dict[Digest, bytes]


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file by its content: digest of the root, size in bytes, leaf list (32 bytes a chunk)."""

    digest: Digest
    size: int
    leaf_list: bytes


class _Subtree(NamedTuple):
    """What a parent says about a child: its CID in binary, bytes of file below it, bytes of blocks below and with it."""

    cid: bytes
    file_bytes: int
    block_bytes: int


def chunk_count(size: int) -> int:
    """Chunks in a file of `size` bytes; the empty file has one empty chunk."""
    return max(1, -(-size // CHUNK_SIZE))


def chunk_length(index: int, size: int) -> int:
    """Bytes in chunk `index` of a file of `size` bytes."""
    return min(CHUNK_SIZE, size - index * CHUNK_SIZE)


def hash_stream(stream: BinaryIO) -> Hashed:
    """Hash everything that a blocking binary stream has left to read, through one reused chunk buffer."""
    buffer = bytearray(CHUNK_SIZE)
    view = memoryview(buffer)
    leaves = bytearray()
    size = 0
    while True:
        filled = 0
        while filled < CHUNK_SIZE:
            # The stubs of BinaryIO lack readinto; every binary file has it.
            got = stream.readinto(view[filled:])  # type: ignore[attr-defined]
            if not got:
                break
            filled += got
        if filled or not leaves:
            leaves += hashlib.sha256(view[:filled]).digest()
            size += filled
        if filled < CHUNK_SIZE:
            break
    leaf_list = bytes(leaves)
    return Hashed(root(leaf_list, size).digest, size, leaf_list)


def hash_file(path: str | os.PathLike[str]) -> Hashed:
    """Hash a file on disk; memory stays at one chunk and the leaf list whatever the file's size. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return hash_stream(file)


def hash_bytes(data: bytes | memoryview) -> Hashed:
    """Hash a file that is in memory."""
    view = memoryview(data)
    offsets = range(0, max(1, len(view)), CHUNK_SIZE)
    leaf_list = b"".join(hashlib.sha256(view[at : at + CHUNK_SIZE]).digest() for at in offsets)
    return Hashed(root(leaf_list, len(view)).digest, len(view), leaf_list)


def leaf_at(leaf_list: bytes, index: int) -> Digest:
    """sha2-256 of chunk `index`, out of a leaf list; empty beyond its end."""
    return leaf_list[HASH_SIZE * index : HASH_SIZE * (index + 1)]


def slice_digest(leaf_list: bytes) -> Digest:
    """Digest of a slice from the leaf list of its chunks: the list's own sha2-256 (docs/protocol.md, section 5)."""
    return hashlib.sha256(leaf_list).digest()


def root(leaf_list: bytes, size: int) -> Root:
    """The tree over a leaf list.

    Args:
        leaf_list: 32 bytes a chunk, `chunk_count(size)` chunks.
        size: bytes in the file.

    Raises:
        ContentCorrupt: the list has another number of leaves than a file of that size.
    """
    count = chunk_count(size)
    if len(leaf_list) != HASH_SIZE * count:
        raise ContentCorrupt(
            f"A file of {size} bytes has {count} chunks, this leaf list has {len(leaf_list) / HASH_SIZE:g}."
        )
    return _remembered_root(leaf_list, size) if count <= _REMEMBERED_LEAVES else _root(leaf_list, size)


def _root(leaf_list: bytes, size: int) -> Root:
    count = chunk_count(size)
    if count == 1:
        return Root(leaf_list, {})
    nodes: dict[Digest, bytes] = {}
    level = [
        _Subtree(_RAW_PREFIX + leaf_at(leaf_list, i), length := chunk_length(i, size), length) for i in range(count)
    ]
    # Each level groups the one below. A lone last child is wrapped too, so that all leaves are at one depth.
    while len(level) > 1:
        level = [_wrap(level[at : at + LINKS_PER_NODE], nodes) for at in range(0, len(level), LINKS_PER_NODE)]
    return Root(level[0].cid[len(_DAG_PB_PREFIX) :], nodes)


_remembered_root = lru_cache(maxsize=16)(_root)
"""A round asks several times for the root of each update: when it is begun, when it is fetched, and when it is whole."""


def _wrap(children: list[_Subtree], nodes: dict[Digest, bytes]) -> _Subtree:
    """Make the inner node over these children and add it to `nodes`."""
    block = encode_node(children)
    digest = hashlib.sha256(block).digest()
    nodes[digest] = block
    return _Subtree(
        _DAG_PB_PREFIX + digest,
        sum(child.file_bytes for child in children),
        len(block) + sum(child.block_bytes for child in children),
    )


def encode_node(children: list[_Subtree]) -> bytes:
    """A dag-pb block: the links (field 2), then the UnixFS message (field 1), in the canonical order of the codec."""
    out = bytearray()
    for name, _, block_bytes in children:
        before, after = _around(len(name), block_bytes)
        out += before + name + after
    unixfs = _int_field(1, _UNIXFS_FILE) + _int_field(3, sum(child.file_bytes for child in children))
    unixfs += b"".join(_int_field(4, child.file_bytes) for child in children)
    return bytes(out + _bytes_field(1, unixfs))


@lru_cache(maxsize=64)  # nearly all children of a node are of one size
def _around(length: int, block_bytes: int) -> tuple[bytes, bytes]:
    """What comes before and after a CID of this length in a link."""
    # Hash, an empty but present Name, and Tsize: the size of the whole sub-tree in blocks, not of the file in it.
    link = _bytes_field(1, bytes(length)) + b"\x12\x00" + _int_field(3, block_bytes)
    before, after = _bytes_field(2, link).split(bytes(length))
    return before, after


def varint(value: int) -> bytes:
    """An unsigned varint (LEB128), as protobuf, CARs and Bitswap write numbers."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@lru_cache(maxsize=64)
def _int_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def _bytes_field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def cid(digest: Digest, size: int) -> CID:
    """The CID of a file: raw up to one chunk, dag-pb above; text by `str()`, in base32.

    Args:
        digest: sha2-256 of the root block, 32 bytes.
        size: bytes in the file.
    """
    return CID("base32", 1, "raw" if size <= CHUNK_SIZE else "dag-pb", ("sha2-256", digest))


def cid_text(digest: Digest, size: int) -> str:
    """`str(cid(digest, size))`, a hundred times faster: for each block of a file."""
    binary = (_RAW_PREFIX if size <= CHUNK_SIZE else _DAG_PB_PREFIX) + digest
    return "b" + base64.b32encode(binary).decode().rstrip("=").lower()


def parse_cid(text: str | CID, size: int | None = None) -> Digest:
    """The digest in a CID.

    Args:
        text: a CID of this profile, as text in any base, or as an object.
        size: bytes in the file, when known: then the codec must be the one that files of that size have.

    Raises:
        ConfigError: not a CID, or not one of this profile (version 1, sha2-256, raw or dag-pb).
    """
    mend = "Give a CIDv1 as `swarmp2p cid FILE` or `ipfs add --cid-version=1 --raw-leaves` prints it."
    try:
        found = text if isinstance(text, CID) else CID.decode(text)
    except Exception as error:  # multiformats raises many kinds, some of them bare KeyError and AssertionError
        raise ConfigError(f"{text!r} is not a CID: {error}.", mend) from error
    digest = bytes(found.raw_digest)
    codec = found.codec.name
    if (
        found.version != 1
        or found.hashfun.name != "sha2-256"
        or len(digest) != HASH_SIZE
        or codec not in ("raw", "dag-pb")
    ):
        raise ConfigError(
            f"{found} is a CIDv{found.version} with {found.hashfun.name} over {codec}; files here have CIDv1, sha2-256 "
            "and raw or dag-pb.",
            mend,
        )
    if size is not None and codec != ("raw" if size <= CHUNK_SIZE else "dag-pb"):
        raise ConfigError(f"{found} has the codec {codec}, which a file of {size} bytes cannot have.", mend)
    return digest
