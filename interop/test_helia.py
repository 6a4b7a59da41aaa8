"""A peer's embedded store and a real Helia: CIDs, and 100 MB each way over Bitswap."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from interop.cid_sizes import COUNT, files, sizes
from interop.helia_node import HeliaNode, helia_node, needs_helia
from interop.test_bitswap_kubo import LIMIT, SIZE, peer
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.unixfs import cid, hash_bytes, hash_file

pytestmark = [
    needs_helia,  # py-libp2p leaves sockets and streams of an ended host to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def node() -> Iterator[HeliaNode]:
    with helia_node() as running:
        yield running


async def ask(node: HeliaNode, command: str, **arguments: object) -> dict[str, Any]:
    """A command, beside what runs in trio."""
    with trio.fail_after(LIMIT):
        return await trio.to_thread.run_sync(lambda: node(command, **arguments), abandon_on_cancel=True)


def test_cids_of_random_sizes_are_helias(node: HeliaNode, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    whole = tmp_path / "whole"
    ours = []
    for data in files(seed):
        ours.append(str(cid(hash_bytes(data).digest, len(data))))
        longest = data
    whole.write_bytes(longest)
    theirs = node("cids", path=str(whole), sizes=sizes(seed))["cids"]
    assert len(theirs) == COUNT
    differing = [size for size, one, other in zip(sizes(seed), ours, theirs, strict=True) if one != other]
    assert differing == [], f"seed {seed}"


async def test_helia_fetches_100_mb_from_a_peer(node: HeliaNode, tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "content")
    model, got = tmp_path / "model", tmp_path / "got"
    model.write_bytes(os.urandom(SIZE))
    hashed = store.put(model)
    async with peer(store, public={hashed.digest}) as (host, _):
        text = str(cid(hashed.digest, SIZE))
        answer = await ask(node, "get", cid=text, path=str(got), **{"from": host.multiaddrs()[0]})
        print(f"Helia's cat of 100 MB from a peer: {SIZE / 1e6 / answer['seconds']:.0f} MB/s")
    assert hash_file(got) == hashed
    store.close()


async def test_a_peer_fetches_100_mb_from_helia(node: HeliaNode, tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "content")
    model = tmp_path / "model"
    model.write_bytes(os.urandom(SIZE))
    text = (await ask(node, "add", path=str(model)))["cid"]
    async with peer(store) as (_, link):
        start = time.monotonic()
        with trio.fail_after(LIMIT):
            digest = await link.fetch(text, node.multiaddr)
        print(f"a peer's fetch of 100 MB from Helia: {SIZE / 1e6 / (time.monotonic() - start):.0f} MB/s")
    assert hash_file(store.path(digest)) == hash_file(model)
    store.close()
