"""A running peer and nodes that are no members: what they get of it by Bitswap, and what it fetches from them."""

import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio

from swarmp2p import ConfigError, SwarmPeer
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.kubo import KuboStore
from swarmp2p.content.unixfs import cid, hash_file
from swarmp2p.core.errors import ContentUnavailable, PeerUnreachable, StoreUnreachable
from swarmp2p.identity import Key
from swarmp2p.network.host import open_host
from swarmp2p.peer.ipfs import open_ipfs
from swarmp2p.testing.local_swarm import local_swarm
from tests.content.wire import pattern
from tests.peer.test_swarm import Average

pytestmark = [  # py-libp2p leaves sockets and streams of an ended host to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_visitor_gets_merged_models_only_and_the_peer_fetches_from_it(tmp_path: Path) -> None:
    with local_swarm({"mean": np.zeros(3, np.float32)}, ["alice"], rounds=2, folder=tmp_path / "swarm") as swarm:

        async def main() -> None:
            learner, store = Average(1.0), EmbeddedStore(tmp_path / "store")
            async with AsyncExitStack() as stack:
                host = await stack.enter_async_context(open_host(Key.generate().secret))
                link = await stack.enter_async_context(open_ipfs(host, store, visitors=0, public=store.digests))
                assert link is not None
                opened = SwarmPeer.open(
                    swarm.manifest, learner=learner, weight=10, **swarm.options("alice"), visitors=1
                )
                peer = await stack.enter_async_context(opened)
                async for _ in peer.rounds():
                    pass
                (address, *_) = peer.multiaddrs
                await link.fetch(peer.head, address)
                assert store.has(bytes(peer.head.raw_digest))
                context = peer._ctx
                private = await trio.to_thread.run_sync(context.content.put, pattern(1000))
                with pytest.raises(ContentUnavailable, match="does not have it"):
                    await link.fetch(cid(private.digest, private.size), address)

                ours = store.put(pattern(1_000_000))
                (there, *_) = host.multiaddrs()
                host.set_members(frozenset())
                host.neighbours.admit_visitors(1)
                got = await peer.fetch(cid(ours.digest, ours.size), there, tmp_path / "got")
                assert hash_file(got) == ours
                with pytest.raises(ConfigError, match="no address"):
                    await peer.fetch(cid(ours.digest, ours.size), "nowhere", tmp_path / "got")
            store.close()

        trio.run(_bounded, main)


async def _bounded(main: Callable[[], Awaitable[None]]) -> None:
    with trio.fail_after(90):
        await main()


def test_without_visitors_a_stranger_is_not_let_in(tmp_path: Path) -> None:
    with local_swarm({"mean": np.zeros(3, np.float32)}, ["alice"], rounds=1, folder=tmp_path / "swarm") as swarm:

        async def main() -> None:
            store = EmbeddedStore(tmp_path / "store")
            opened = SwarmPeer.open(swarm.manifest, learner=Average(1.0), weight=10, **swarm.options("alice"))
            async with (
                opened as peer,
                open_host(Key.generate().secret) as host,
                open_ipfs(host, store, visitors=0, public=frozenset) as link,
            ):
                assert link is not None
                with pytest.raises(PeerUnreachable):
                    await link.fetch(peer.head, peer.multiaddrs[0])
            store.close()

        trio.run(_bounded, main)


def test_without_its_ipfs_node_a_peer_does_not_open_and_says_what_to_do(tmp_path: Path) -> None:
    with local_swarm({"mean": np.zeros(3, np.float32)}, ["alice"], rounds=1, folder=tmp_path / "swarm") as swarm:

        async def main() -> None:
            with socket.socket() as nobody:
                nobody.bind(("127.0.0.1", 0))
                api = f"/ip4/127.0.0.1/tcp/{nobody.getsockname()[1]}"
                content = partial(KuboStore, api=api, patience=0.0)
                options = swarm.options("alice")
                with pytest.raises(StoreUnreachable, match=r"does not answer.*ipfs daemon"):
                    async with SwarmPeer.open(
                        swarm.manifest, learner=Average(1.0), weight=10, content=content, **options
                    ):
                        raise AssertionError("it opened")
            # The home is free again, with all that was in it.
            async with SwarmPeer.open(swarm.manifest, learner=Average(1.0), weight=10, **options) as peer:
                async for _ in peer.rounds():
                    pass
                assert peer.result.rounds == 1

        trio.run(_bounded, main)
