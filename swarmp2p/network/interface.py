"""What the rest of the library sees of the network: members by address, topics, streams. No third-party type but trio's.

Two implementations: `swarmp2p.network.host` (libp2p) and `swarmp2p.testing.memory_network` (one process, with faults);
`swarmp2p.testing.network_checks.check_host` holds both to what is said here.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import trio

from swarmp2p.core.types import Address

MAX_MESSAGE = 32 * 1024
"""Bytes that one gossip message may have (DESIGN section 4): data travels over streams, gossip announces it."""

PREFIX = "/swarmp2p/1"
"""Of all topics; the protocols of streams have it too."""


def topic_name(chain_id: int, contract: Address, name: str) -> str:
    """A gossip topic of one swarm: `/swarmp2p/1/<chain id>/0x<contract>/<name>`, so that no two swarms share one."""
    return f"{PREFIX}/{chain_id}/0x{contract.hex()}/{name}"


class Stream(Protocol):
    """A reliable byte stream to one member, both ways, in the shape of `trio.abc.HalfCloseableStream`.

    Writes of several tasks do not mix: each `send_all` is whole. Cancelling any call leaves the stream unusable (close
    it) but harms nothing else. Lost connections raise `trio.BrokenResourceError`, use after `aclose`
    `trio.ClosedResourceError`.
    """

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it; waits while the other side does not read."""

    async def send_eof(self) -> None:
        """Say that no more will be written; reading goes on."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Between 1 and `max_bytes` bytes; `b""` when the other side has written its last."""

    async def aclose(self) -> None:
        """Close both directions. What was written before is still delivered. May be called again; never raises."""


StreamHandler: TypeAlias = Callable[[Stream, Address], Awaitable[None]]
"""Serves one incoming stream. The stream is closed when it returns; an exception closes only that stream."""

Validator: TypeAlias = Callable[[Address, bytes], bool]
"""May a message by this author be delivered and passed on? Fast, synchronous. An exception counts as no."""

Messages: TypeAlias = "trio.MemoryReceiveChannel[tuple[Address, bytes]]"
"""Author and data of each message on a topic, own ones left out, each at most once per publication."""


@dataclass(frozen=True, slots=True)
class Target:
    """A member that is dialled, and how that goes."""

    address: Address
    multiaddrs: tuple[str, ...]
    connected: bool
    attempts: int
    """Failed attempts since it was last connected."""
    problem: str
    """Why the last attempt failed; empty while connected or not tried yet."""


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """Whom this host listens for, is connected to, and tries to reach."""

    listening: tuple[str, ...]
    connected: frozenset[Address]
    targets: tuple[Target, ...]
    refused: int
    """Connections that the membership gate turned away."""
    dropped: int
    """Gossip messages dropped because a subscriber did not read them in time (oldest first)."""


class Host(Protocol):
    """One peer's connection to the others. All calls belong to trio's thread."""

    @property
    def address(self) -> Address:
        """Our own address."""

    @property
    def peer_id(self) -> str:
        """Our libp2p PeerID, base58."""

    def multiaddrs(self) -> list[str]:
        """Where others reach us, each with /p2p/<PeerID>. A wildcard listen address is given as its interfaces."""

    def set_members(self, members: frozenset[Address] | None) -> None:
        """Who may connect; None: anybody. Connections of those no longer in the set are cut, dials to them pause."""

    def know(self, multiaddrs: Iterable[str]) -> None:
        """Dial these (each with /p2p/<PeerID>) until connected, again after a loss, without ever giving up.

        Known ones and our own are skipped; of a member's addresses the newest 8 are kept.

        Raises:
            ConfigError: not a multiaddr that can be dialled; none is added then.
        """

    def forget(self, address: Address) -> None:
        """Stop dialling this member. A connection that exists stays."""

    def connected(self) -> frozenset[Address]:
        """Whom we hold a connection with now."""

    async def wait_connected(self, addresses: Collection[Address]) -> None:
        """Return when all of these are connected at once."""

    async def wait_disconnected(self, address: Address) -> None:
        """Return when this one is not connected."""

    async def publish(self, topic: str, data: bytes) -> None:
        """Send to all subscribers of the topic, as well as possible: messages can be lost. Paced, so it may wait.

        Raises:
            ValueError: more than MAX_MESSAGE bytes.
        """

    def subscribe(self, topic: str, validator: Validator, *, capacity: int = 1024) -> Messages:
        """Messages on this topic that `validator` accepts. When `capacity` wait unread, the oldest is dropped.

        Close the channel to unsubscribe.

        Raises:
            ValueError: subscribed to already.
        """

    async def wait_subscribers(self, topic: str, addresses: Collection[Address]) -> None:
        """Return when all of these are connected, are known to listen on the topic, and would get a message."""

    async def open_stream(self, address: Address, protocol: str) -> Stream:
        """A new stream to a connected member.

        Raises:
            PeerUnreachable: not connected, or it does not speak the protocol.
        """

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Serve incoming streams of this protocol; replaces an earlier handler."""

    def status(self) -> NetworkStatus:
        """For people: whom it listens for and tries to reach, and why that fails."""


class Neighbours(Protocol):
    """What a host offers besides that speaks with others than members, as `Host.neighbours`: IPFS nodes, by PeerID.

    Such a node gets the protocols that are handled here, and no others: no gossip either, in neither direction.
    """

    def admit_visitors(self, most: int) -> None:
        """Let in so many nodes at once that are no members; 0, as at first: none."""

    def is_member(self, peer_id: str) -> bool:
        """Whether this PeerID is a member's."""

    def connected(self) -> list[str]:
        """PeerIDs of all connected nodes, members among them."""

    async def visit(self, multiaddr: str) -> str:
        """Connect to a node (its address ends in /p2p/<PeerID>), which may be connected from now on; its PeerID.

        Raises:
            ConfigError: not a multiaddr that can be dialled.
            PeerUnreachable: it is not there, or does not answer.
        """

    async def open_stream(self, peer_id: str, protocol: str) -> Stream:
        """A new stream to a connected node.

        Raises:
            PeerUnreachable: not connected, or it does not speak the protocol.
        """

    def handle(self, protocol: str, handler: Callable[[Stream, str], Awaitable[None]]) -> None:
        """Serve incoming streams of this protocol, of members and others; replaces an earlier handler."""


@runtime_checkable
class HasNeighbours(Protocol):
    """A host that speaks with others than members."""

    @property
    def neighbours(self) -> Neighbours:
        """Nodes that are no members, and members as such nodes."""


OpenHost: TypeAlias = Callable[[bytes], AbstractAsyncContextManager[Host]]
"""Opens a host for the time of an `async with` block, from the member's 32-byte secret key."""
