"""Fetches whole files by their CIDs from IPFS nodes, over Bitswap, into a content store.

First the inner nodes, which give size and leaf list; these must make the CID again in the swarm's profile (unixfs.py), so
that nothing but that file can come of it. Then the leaves, each verified before it is written, from several nodes at once.
Memory stays at a few chunks a node, whatever the file's size.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import trio
from multiformats import CID

from swarmp2p.content.bitswap import Bitswap
from swarmp2p.content.bitswap_messages import DAG_PB, RAW, BadMessage, cid_bytes, digest_in, fields
from swarmp2p.content.exchange.offload import Offload, threads
from swarmp2p.content.interface import ContentStore, Target
from swarmp2p.content.unixfs import LINKS_PER_NODE, Hashed, cid, hash_bytes, leaf_at, parse_cid, root
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, QuotaExceeded
from swarmp2p.core.types import CHUNK_SIZE, Digest
from swarmp2p.failures import unwrapped

_log = logging.getLogger(__name__)

_EMPTY = hash_bytes(b"").digest

WINDOW = 24
"""Chunks that one node is asked for at once: 6 MiB under way."""
MAX_CHUNKS = 1 << 20
"""Chunks in a file: 256 GiB."""
PATIENCE = 2
"""Blocks in a row that a node may fail to send before it is left alone."""


@dataclass(frozen=True, slots=True)
class Node:
    """An inner node: its children's codecs and digests, in order, and the bytes of file below it."""

    children: tuple[tuple[int, Digest], ...]
    size: int


def parse_node(block: bytes) -> Node:
    """The dag-pb block of an inner node of a UnixFS file without data of its own.

    Raises:
        ContentCorrupt: it is another kind of block.
    """
    children: list[tuple[int, Digest]] = []
    unixfs: dict[int, int] = {}
    try:
        for number, value in fields(block):
            if number == 2 and not isinstance(value, int):
                link = next((bytes(v) for n, v in fields(value) if n == 1 and not isinstance(v, int)), b"")
                child = digest_in(link)
                if child is None:
                    raise BadMessage("a link that is not in this profile")
                children.append(child)
            elif number == 1 and not isinstance(value, int):
                unixfs = {n: v for n, v in fields(value) if isinstance(v, int)}
    except BadMessage as error:
        raise ContentCorrupt(f"Not a node of a file in the swarm's profile: {error}.") from error
    if not 0 < len(children) <= LINKS_PER_NODE or unixfs.get(1) != 2:
        raise ContentCorrupt("Not a node of a file in the swarm's profile.")
    return Node(tuple(children), unixfs.get(3, 0))


class BitswapFetcher:
    """Fetches into a store.

    Args:
        bitswap: the connection to other nodes.
        store: called in worker threads.
        offload: how blocking calls run; tests with a fake clock run them inline.
    """

    def __init__(self, bitswap: Bitswap, store: ContentStore, *, offload: Offload | None = None) -> None:
        self._bitswap = bitswap
        self._store = store
        self._offload = offload or threads(4)

    async def fetch(self, wanted: str | CID, peers: Sequence[str], *, max_size: int | None = None) -> Hashed:
        """A file, from whichever of these nodes have it. Returns when it is flushed. Goes on where an earlier try ended.

        Args:
            wanted: its CID, in the swarm's profile.
            peers: PeerIDs of connected nodes.
            max_size: bytes that it may have; a larger one is refused before it comes.

        Raises:
            ConfigError: no CID of this profile.
            ContentUnavailable: the nodes do not have all of it between them.
            ContentCorrupt: it is a file of another profile, or none at all.
            QuotaExceeded: no room, or larger than `max_size`.
        """
        digest = parse_cid(wanted)
        codec = wanted.codec.name if isinstance(wanted, CID) else CID.decode(wanted).codec.name
        if digest == _EMPTY:  # go-bitswap says of the empty block that it does not have it
            return await self._offload(self._store.put, b"")
        if codec == "raw":
            block = await self._block(cid_bytes(RAW, digest), peers)
            if len(block) > CHUNK_SIZE:
                raise ContentCorrupt(f"{wanted} has a block of {len(block)} bytes, which no file here has.")
            return await self._offload(self._store.put, block)
        if await self._offload(self._store.has, digest):
            leaf_list = await self._offload(self._store.leaf_list, digest)
            return Hashed(digest, await self._offload(self._store.size, digest), leaf_list or b"")
        leaf_list, size = await self._tree(digest, peers, max_size)
        part = await self._offload(self._store.begin, digest, size, leaf_list)
        target = await self._offload(part.target, 0, leaf_list, digest)
        await self._leaves(target, peers)
        await self._offload(part.finish, digest)
        return Hashed(digest, size, leaf_list)

    async def _block(self, binary: bytes, peers: Sequence[str]) -> bytes:
        """A block from the first node that has it."""
        reasons = []
        for peer in peers:
            try:
                return await self._bitswap.ask(peer, binary)
            except ContentUnavailable as error:
                reasons.append(str(error))
        raise ContentUnavailable(" ".join(reasons) or "No IPFS node is connected.", "Connect to one that has it.")

    async def _tree(self, digest: Digest, peers: Sequence[str], max_size: int | None) -> tuple[bytes, int]:
        """Leaf list and size of a file, by its inner nodes."""
        top = parse_node(await self._block(cid_bytes(DAG_PB, digest), peers))
        size = top.size
        if max_size is not None and size > max_size:
            raise QuotaExceeded(f"The file has {size} bytes; at most {max_size} are wanted.", "Allow for more.")
        level = list(top.children)
        while any(codec == DAG_PB for codec, _ in level):
            below: list[tuple[int, Digest]] = []
            for codec, child in level:
                if codec != DAG_PB:
                    raise ContentCorrupt("The file's leaves are not all at one depth, as in the swarm's profile.")
                below += parse_node(await self._block(cid_bytes(DAG_PB, child), peers)).children
                if len(below) > MAX_CHUNKS:
                    raise ContentCorrupt(f"The file has more than {MAX_CHUNKS} chunks.")
            level = below
        leaf_list = b"".join(leaf for _, leaf in level)
        if root(leaf_list, size).digest != digest:
            raise ContentCorrupt(
                f"{cid(digest, size)} is a file of another profile than the swarm's.",
                "Add it with `ipfs add --cid-version=1 --raw-leaves --chunker=size-262144`.",
            )
        return leaf_list, size

    async def _leaves(self, target: Target, peers: Sequence[str]) -> None:
        """All chunks that are missing, from all nodes side by side."""
        pull = _Pull(deque(await self._offload(target.missing)))
        reasons: dict[str, str] = {}

        async def take(peer: str, failures: list[int]) -> None:
            while pull.left and failures[0] < PATIENCE:
                if not pull.todo:  # what others are waiting for may come back
                    await pull.changed.wait()
                    continue
                index = pull.todo.popleft()
                try:
                    data = await self._bitswap.ask(peer, cid_bytes(RAW, leaf_at(target.leaf_list, index)))
                except ContentUnavailable as error:
                    failures[0] += 1
                    reasons[peer] = str(error)
                    pull.give_back(index)
                    continue
                failures[0] = 0
                # An error here is of our own store: no other node would help.
                await self._offload(target.write_chunk, index, data)
                pull.arrived()

        if pull.left:
            with unwrapped():
                async with trio.open_nursery() as nursery:
                    for peer in peers:
                        failures = [0]
                        for _ in range(min(WINDOW, pull.left)):
                            nursery.start_soon(take, peer, failures)
        if pull.left:
            said = " ".join(reasons.values()) or "No IPFS node is connected."
            raise ContentUnavailable(f"{pull.left} chunks of {target.object.hex()} did not come. {said}", "Try again.")


class _Pull:
    """Chunks that are still wanted: `todo` those that nobody is asked for now, `left` all that have not come."""

    def __init__(self, todo: deque[int]) -> None:
        self.todo = todo
        self.left = len(todo)
        self.changed = trio.Event()

    def give_back(self, index: int) -> None:
        """A chunk did not come."""
        self.todo.append(index)
        self._change()

    def arrived(self) -> None:
        """A chunk is stored."""
        self.left -= 1
        if not self.left:
            self._change()

    def _change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()
