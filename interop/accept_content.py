"""The long runs on content: `make accept-content`. Several minutes each on two cores."""

import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import ipfshttpclient
import pytest
import trio

from interop.cid_sizes import files
from interop.kubo_node import KuboNode, kubo_node, needs_kubo
from interop.test_bitswap_kubo import peer
from interop.test_kubo_swarm import check_swarm_with_dying_nodes
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.unixfs import cid, hash_bytes, hash_file
from swarmp2p.core.types import Phase

pytestmark = [
    needs_kubo,  # py-libp2p leaves sockets and streams of an ended host to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

GIGABYTE = 1_000_000_000
FLAT = 150_000
"""Kilobytes by which a peer's memory may grow while a gigabyte goes through it, either way."""
SEEDS = 10


@pytest.fixture
def node(tmp_path: Path) -> Iterator[KuboNode]:
    with kubo_node(tmp_path / "repo") as running:
        yield running


@pytest.mark.parametrize("phase", [Phase.COLLECTING, Phase.MERGING])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_kubo_dies_in_any_phase(tmp_path: Path, phase: Phase, how: signal.Signals) -> None:
    check_swarm_with_dying_nodes(tmp_path, phase, how)


async def test_a_gigabyte_to_kubo_and_back_in_flat_memory(node: KuboNode, tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "content")
    model = tmp_path / "model"
    with model.open("wb") as file:
        for _ in range(GIGABYTE // 10_000_000):
            file.write(os.urandom(10_000_000))
    hashed = store.put(model, move=True)
    text = str(cid(hashed.digest, GIGABYTE))
    async with peer(store, public={hashed.digest}) as (host, link):
        before = peak()
        start = time.monotonic()
        await trio.to_thread.run_sync(lambda: node("swarm", "connect", host.multiaddrs()[0]))
        await trio.to_thread.run_sync(lambda: node("pin", "add", text, limit=900))
        print(f"ipfs pin add of 1 GB from a peer: {GIGABYTE / 1e6 / (time.monotonic() - start):.0f} MB/s")
        store.collect(())
        start = time.monotonic()
        assert await link.fetch(text, node.multiaddr) == hashed.digest
        print(f"a peer's fetch of 1 GB from Kubo: {GIGABYTE / 1e6 / (time.monotonic() - start):.0f} MB/s")
        print(f"memory grew by {(peak() - before) // 1000} MB")
        assert peak() - before < FLAT
    assert hash_file(store.path(hashed.digest)) == hashed
    store.close()


def peak() -> int:
    """The most memory that this process had, in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_cids_of_two_thousand_sizes_are_kubos(node: KuboNode, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with ipfshttpclient.Client(node.api, timeout=60) as client:
        for _ in range(SEEDS):
            seed = random.randrange(2**32)
            print(f"seed {seed}")
            for data in files(seed):
                file.write_bytes(data)
                made = client.add(
                    file, only_hash=True, cid_version=1, raw_leaves=True, chunker="size-262144", pin=False
                )
                assert made["Hash"] == str(cid(hash_bytes(data).digest, len(data))), f"{len(data)} bytes, seed {seed}"
