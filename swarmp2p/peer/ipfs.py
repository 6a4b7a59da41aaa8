"""Wires Bitswap to the network: IPFS nodes fetch from this peer, and this peer from them."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from multiformats import CID

from swarmp2p.content.bitswap import open_bitswap
from swarmp2p.content.bitswap_fetch import BitswapFetcher
from swarmp2p.content.bitswap_messages import BITSWAP_PROTOCOL
from swarmp2p.content.interface import ContentStore, Stream
from swarmp2p.core.types import Digest
from swarmp2p.network.interface import HasNeighbours, Host, Neighbours


class IpfsLink:
    """A peer's side of IPFS. Made by `open_ipfs`."""

    def __init__(self, neighbours: Neighbours, fetcher: BitswapFetcher) -> None:
        self._neighbours = neighbours
        self._fetcher = fetcher

    async def fetch(self, wanted: str | CID, multiaddr: str, *, max_size: int | None = None) -> Digest:
        """Fetch a file into the content store from an IPFS node; its digest.

        Args:
            wanted: CID in the swarm's profile.
            multiaddr: of the node, with /p2p/<PeerID>.
            max_size: bytes that the file may have.

        Raises:
            ConfigError: not a CID of the profile, or no multiaddr.
            PeerUnreachable, ContentUnavailable, ContentCorrupt, QuotaExceeded: see BitswapFetcher.fetch.
        """
        peer = await self._neighbours.visit(multiaddr)
        return (await self._fetcher.fetch(wanted, [peer], max_size=max_size)).digest


class _Network:
    """The network as Bitswap needs it."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours

    async def open(self, peer: str) -> Stream:
        return await self._neighbours.open_stream(peer, BITSWAP_PROTOCOL)


@asynccontextmanager
async def open_ipfs(
    host: Host, store: ContentStore, *, visitors: int, public: Callable[[], Collection[Digest]]
) -> AsyncIterator[IpfsLink | None]:
    """Bitswap for the time of a block; None: the host speaks with members alone.

    Args:
        store: gives the blocks.
        visitors: IPFS nodes that are no members and may be connected at once; 0: members only.
        public: files that others than members may have.
    """
    if not isinstance(host, HasNeighbours):
        yield None
        return
    neighbours = host.neighbours

    def may_have(peer: str) -> Collection[Digest] | None:
        return None if neighbours.is_member(peer) else public()

    async with open_bitswap(store, _Network(neighbours), may_have=may_have) as bitswap:
        neighbours.handle(BITSWAP_PROTOCOL, bitswap.serve)
        neighbours.admit_visitors(visitors)
        yield IpfsLink(neighbours, BitswapFetcher(bitswap, store))
