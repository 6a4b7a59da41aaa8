"""A peer's embedded store and a real Kubo, over Bitswap: 100 MB each way, with `ipfs` as its users use it."""

import os
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from interop.kubo_node import KuboNode, kubo_node, needs_kubo
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.unixfs import cid, hash_file
from swarmp2p.core.errors import ContentUnavailable
from swarmp2p.core.types import Digest
from swarmp2p.identity import Key
from swarmp2p.network.host import Libp2pHost, open_host
from swarmp2p.peer.ipfs import IpfsLink, open_ipfs

pytestmark = [
    needs_kubo,  # py-libp2p leaves sockets and streams of an ended host to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SIZE = 100_000_000
LIMIT = 120.0
PROFILE = ("--cid-version=1", "--raw-leaves", "--chunker=size-262144", "-Q")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[KuboNode]:
    with kubo_node(tmp_path / "repo") as running:
        yield running


@asynccontextmanager
async def peer(
    store: EmbeddedStore, *, visitors: int = 1, public: Collection[Digest] = ()
) -> AsyncIterator[tuple[Libp2pHost, IpfsLink]]:
    """A member of a swarm of one, with its Bitswap."""
    async with open_host(Key.generate().secret) as host:
        host.set_members(frozenset({host.address}))
        async with open_ipfs(host, store, visitors=visitors, public=lambda: public) as link:
            assert link is not None
            yield host, link


async def ipfs(node: KuboNode, *arguments: str | Path) -> bytes:
    """A command of the node, beside what runs in trio."""
    return await trio.to_thread.run_sync(lambda: node.raw(*arguments, limit=LIMIT))


async def test_kubo_fetches_100_mb_from_a_peer(node: KuboNode, tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "content")
    model = tmp_path / "model"
    model.write_bytes(os.urandom(SIZE))
    hashed = store.put(model)
    text = str(cid(hashed.digest, SIZE))
    async with peer(store, public={hashed.digest}) as (host, _):
        await ipfs(node, "swarm", "connect", host.multiaddrs()[0])
        start = time.monotonic()
        await ipfs(node, "get", text, "-o", tmp_path / "got")
        print(f"ipfs get of 100 MB from a peer: {SIZE / 1e6 / (time.monotonic() - start):.0f} MB/s")
        assert hash_file(tmp_path / "got") == hashed
        assert await ipfs(node, "cat", "--offset=50000000", "--length=10", text) == store.read(
            hashed.digest, 50_000_000, 10
        )
    store.close()


async def test_a_peer_fetches_100_mb_from_kubo(node: KuboNode, tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "content")
    model = tmp_path / "model"
    model.write_bytes(os.urandom(SIZE))
    text = (await ipfs(node, "add", *PROFILE, model)).decode().strip()
    async with peer(store) as (_, link):
        start = time.monotonic()
        digest = await link.fetch(text, node.multiaddr)
        print(f"a peer's fetch of 100 MB from Kubo: {SIZE / 1e6 / (time.monotonic() - start):.0f} MB/s")
        assert hash_file(store.path(digest)) == hash_file(model)
        with pytest.raises(ContentUnavailable):
            await link.fetch(cid(bytes(32), SIZE), node.multiaddr)
    store.close()


async def test_kubo_gets_nothing_where_it_may_not(node: KuboNode, tmp_path: Path) -> None:
    """Neither a connection without an invitation, nor with one what is not public."""
    store = EmbeddedStore(tmp_path / "content")
    shown, hidden = store.put(b"a merged model"), store.put(b"a member's update")
    async with peer(store, visitors=0) as (host, _):
        with pytest.raises(AssertionError, match="ipfs swarm connect"):
            await ipfs(node, "swarm", "connect", host.multiaddrs()[0])
        assert host.status().refused > 0
    async with peer(store, public={shown.digest}) as (host, _):
        await ipfs(node, "swarm", "connect", host.multiaddrs()[0])
        assert await ipfs(node, "cat", str(cid(shown.digest, shown.size))) == b"a merged model"
        with pytest.raises(AssertionError, match="deadline exceeded"):
            await ipfs(node, "cat", "--timeout=2s", str(cid(hidden.digest, hidden.size)))
        assert host.peer_id in (await ipfs(node, "swarm", "peers")).decode()
    store.close()


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145])
async def test_small_files_too(node: KuboNode, tmp_path: Path, size: int) -> None:
    store, sink = EmbeddedStore(tmp_path / "content"), EmbeddedStore(tmp_path / "sink")
    hashed = store.put(os.urandom(size))
    async with peer(store, public={hashed.digest}) as (host, _):
        await ipfs(node, "swarm", "connect", host.multiaddrs()[0])
        assert await ipfs(node, "cat", str(cid(hashed.digest, size))) == store.read(hashed.digest)
        async with peer(sink) as (_, link):
            await link.fetch(cid(hashed.digest, size), node.multiaddr)
    assert sink.read(hashed.digest) == store.read(hashed.digest)
    store.close()
    sink.close()
