"""Nodes that are no members, such as IPFS nodes: they get only the protocols that are open to all, and no gossip.

A *neighbour* is any connected node, by its PeerID, members among them. A *visitor* is one that came by itself and is no
member; a *guest* is one that this peer has dialled.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from swarmp2p.core.errors import ConfigError, PeerUnreachable
from swarmp2p.network.hardening import Gate
from swarmp2p.network.interface import Stream
from swarmp2p.network.streams import Libp2pStream

_log = logging.getLogger(__name__)

DIAL_TIMEOUT, OPEN_TIMEOUT = 10.0, 5.0
"""Seconds."""

NeighbourHandler = Callable[[Stream, str], Awaitable[None]]
"""Serves one incoming stream of the node with this PeerID, which is closed when it returns."""


class Neighbours:
    """Implements `interface.Neighbours` on libp2p. Made by `Libp2pHost`."""

    def __init__(self, host: IHost, gate: Gate) -> None:
        self._host = host
        self._network: Any = host.get_network()
        self._gate = gate
        gate.is_connected = lambda peer_id: bool(self._network.get_connections(peer_id))

    def admit_visitors(self, most: int) -> None:
        """Let in so many nodes that are no members."""
        self._gate.most_visitors = most

    def is_member(self, peer_id: str) -> bool:
        """Whether this PeerID is a member's."""
        return self._gate.is_member(_id(peer_id))

    def connected(self) -> list[str]:
        """PeerIDs of all connected nodes."""
        return [str(peer_id) for peer_id, connections in self._network.get_connections_map().items() if connections]

    async def visit(self, multiaddr: str) -> str:
        """Connect to a node, and let it be connected from now on; its PeerID."""
        address, peer_id = _parse(multiaddr)
        self._gate.guests.add(peer_id)
        if self._network.get_connections(peer_id):
            return str(peer_id)
        try:
            with trio.fail_after(DIAL_TIMEOUT):
                await self._network.dial_addr(address, peer_id)
        except (BaseLibp2pError, OSError, trio.TooSlowError, RuntimeError, ValueError) as error:
            raise PeerUnreachable(f"{multiaddr} cannot be reached: {error!r}.", "Check the address.") from error
        return str(peer_id)

    async def open_stream(self, peer_id: str, protocol: str) -> Stream:
        """A new stream to a connected node."""
        id_ = _id(peer_id)
        if not self._network.get_connections(id_):
            raise PeerUnreachable(f"{peer_id} is not connected.")
        try:
            with trio.fail_after(OPEN_TIMEOUT):
                return Libp2pStream(await self._host.new_stream(id_, [TProtocol(protocol)]))  # type: ignore[arg-type]
        except (BaseLibp2pError, OSError, trio.TooSlowError, EOFError, RuntimeError) as error:
            raise PeerUnreachable(f"No {protocol} stream to {peer_id}: {error!r}.") from error

    def handle(self, protocol: str, handler: NeighbourHandler) -> None:
        """Serve incoming streams of this protocol, of members and others."""

        async def serve(raw: INetStream) -> None:
            stream = Libp2pStream(raw)  # type: ignore[arg-type]
            try:
                await handler(stream, str(raw.muxed_conn.peer_id))
            except Exception as error:
                _log.info("serving %s failed: %r", protocol, error)
            finally:
                await stream.aclose()

        self._host.set_stream_handler(TProtocol(protocol), serve)


def _id(peer_id: str) -> ID:
    return ID.from_base58(peer_id)


def _parse(text: str) -> tuple[Multiaddr, ID]:
    mend = "Write it like /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…, as `ipfs id` prints it."
    try:
        info = info_from_p2p_addr(Multiaddr(text))
    except (MultiaddrError, BaseLibp2pError, ValueError, KeyError) as error:
        raise ConfigError(f"{text!r} is no address of a node: {error}.", mend) from None
    if not info.addrs or not str(info.addrs[0]):
        raise ConfigError(f"{text!r} says who, but not where.", mend)
    return info.addrs[0], info.peer_id
