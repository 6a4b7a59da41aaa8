"""The libp2p host: TCP, Noise, Yamux; hardened, gated, and always dialling."""

import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetConn, INetStream, INetwork, INotifee
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.config import RetryConfig
from libp2p.network.connection import swarm_connection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from swarmp2p.core.errors import ConfigError, PeerUnreachable
from swarmp2p.core.types import Address
from swarmp2p.network.addresses import announced, listen_address, probe
from swarmp2p.network.bootstrap import Bootstrap
from swarmp2p.network.gossip import Gossip
from swarmp2p.network.hardening import (
    Gate,
    calm_windows,
    contain_handlers,
    contained_service,
    keep_frames_whole,
    notice_silence,
    release_incoming,
    stay_with_known,
)
from swarmp2p.network.interface import Messages, NetworkStatus, Stream, StreamHandler, Validator
from swarmp2p.network.neighbours import Neighbours
from swarmp2p.network.peer_ids import address_of_peer, key_pair_of
from swarmp2p.network.streams import Libp2pStream

_log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 2.0
"""Seconds that the listeners and connections of a host may take to close."""
OPEN_TIMEOUT = 5.0
"""Seconds to open a stream on a connection that exists."""


class Libp2pHost:
    """Implements `interface.Host`. Made by `open_host`."""

    def __init__(self, host: IHost, nursery: trio.Nursery, gate: Gate) -> None:
        self._host = host
        self._network: Any = host.get_network()
        self._nursery = nursery
        self._gate = gate
        self._gossip = Gossip(host, self._admits, gate.is_member)
        self._bootstrap = Bootstrap(host, self._admits)
        self.neighbours = Neighbours(host, gate)
        address = address_of_peer(host.get_id())
        if address is None:
            raise ConfigError("The host's key is not secp256k1.")
        self.address: Address = address
        self._network.register_notifee(_Notifee(self))

    @property
    def peer_id(self) -> str:
        """Our PeerID."""
        return str(self._host.get_id())

    def multiaddrs(self) -> list[str]:
        """Where others reach us."""
        return [str(multiaddr) for multiaddr in self._host.get_addrs()]

    def _admits(self, address: Address) -> bool:
        return self._gate.members is None or address in self._gate.members

    def set_members(self, members: frozenset[Address] | None) -> None:
        """Who may connect; others are cut off."""
        self._gate.members = members
        for peer_id in list(self._network.get_connections_map()):
            if not self._gate.admits(peer_id):
                self._nursery.start_soon(self._cut, peer_id)
            elif self._gate.is_member(peer_id):
                self._gossip.pubsub.meet(peer_id)
        self._bootstrap.connection_changed()

    def connection_changed(self, peer_id: ID) -> None:
        """A connection came or went; one whose handshake was under way when the members changed goes again."""
        if self._network.get_connections(peer_id):
            self._gate.entered(peer_id)
        if not self._gate.admits(peer_id) and self._network.get_connections(peer_id):
            self._nursery.start_soon(self._cut, peer_id)
        self._bootstrap.connection_changed()

    async def _cut(self, peer_id: ID) -> None:
        _log.info("cut the connection of %s: no longer a member", peer_id)
        with contextlib.suppress(BaseLibp2pError, OSError):
            await self._network.close_peer(peer_id)
        self._bootstrap.connection_changed()

    def know(self, multiaddrs: Iterable[str]) -> None:
        """Dial these until connected."""
        self._bootstrap.know(multiaddrs)

    def forget(self, address: Address) -> None:
        """Stop dialling."""
        self._bootstrap.forget(address)

    def connected(self) -> frozenset[Address]:
        """Members whom we hold a connection with."""
        return frozenset(address for address in self._linked() if self._admits(address))

    def _linked(self) -> set[Address]:
        """Addresses of all connected nodes that could be members by their keys."""
        connections = self._network.get_connections_map().items()
        return {
            address for peer_id, links in connections if links and (address := address_of_peer(peer_id)) is not None
        }

    async def wait_connected(self, addresses: Collection[Address]) -> None:
        """Return when all are connected."""
        while not self.connected() >= set(addresses):
            await self._look_again()

    async def wait_disconnected(self, address: Address) -> None:
        """Return when this one is not connected."""
        while address in self._linked():
            await self._look_again()

    async def wait_subscribers(self, topic: str, addresses: Collection[Address]) -> None:
        """Return when all would get a message."""
        while True:
            peers = self._gossip.pubsub.peer_topics.get(topic, set())
            if {address_of_peer(peer_id) for peer_id in peers} >= set(addresses):
                return
            await self._look_again()

    async def _look_again(self) -> None:
        # Subscriptions and the end of connections are not all notified by py-libp2p, so look from time to time as well.
        with trio.move_on_after(0.05):
            await self._bootstrap.changed.wait()

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip a message."""
        await self._gossip.publish(topic, data)

    def subscribe(self, topic: str, validator: Validator, *, capacity: int = 1024) -> Messages:
        """Messages of others."""
        return self._gossip.subscribe(self._nursery, topic, validator, capacity)

    async def open_stream(self, address: Address, protocol: str) -> Stream:
        """A new stream to a connected member."""
        for peer_id, connections in list(self._network.get_connections_map().items()):
            if connections and self._admits(address) and address_of_peer(peer_id) == address:
                break
        else:
            raise PeerUnreachable(f"0x{address.hex()} is not connected.", "It is dialled again and again.")
        try:
            with trio.fail_after(OPEN_TIMEOUT):
                return Libp2pStream(await self._host.new_stream(peer_id, [TProtocol(protocol)]))  # type: ignore[arg-type]
        except (BaseLibp2pError, OSError, trio.TooSlowError, EOFError, RuntimeError) as error:
            raise PeerUnreachable(f"No {protocol} stream to 0x{address.hex()}: {error!r}.") from error

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Serve incoming streams of a protocol."""

        async def serve(raw: INetStream) -> None:
            stream = Libp2pStream(raw)  # type: ignore[arg-type]
            peer = address_of_peer(raw.muxed_conn.peer_id)
            try:
                if peer is not None and self._gate.is_member(raw.muxed_conn.peer_id):
                    await handler(stream, peer)
            except Exception as error:
                _log.info("serving %s failed: %r", protocol, error)
            finally:
                await stream.aclose()

        self._host.set_stream_handler(TProtocol(protocol), serve)

    def status(self) -> NetworkStatus:
        """For people."""
        return NetworkStatus(
            listening=tuple(self.multiaddrs()),
            connected=self.connected(),
            targets=self._bootstrap.targets(),
            refused=self._gate.refused,
            dropped=self._gossip.dropped,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """With gossip and dialling at work."""
        async with contained_service(self._gossip.pubsub), contained_service(self._gossip.router):
            await self._gossip.pubsub.wait_until_ready()
            await self._nursery.start(self._bootstrap.run)
            yield


class _Notifee(INotifee):
    """Tells the host of connections that come and go."""

    def __init__(self, host: Libp2pHost) -> None:
        self._host = host

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        self._host.connection_changed(conn.muxed_conn.peer_id)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        self._host.connection_changed(conn.muxed_conn.peer_id)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        pass

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        pass

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        pass

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        pass


@asynccontextmanager
async def open_host(secret: bytes, listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",)) -> AsyncIterator[Libp2pHost]:
    """A running host.

    Args:
        secret: 32-byte secp256k1 key.
        listen: TCP multiaddrs; port 0 takes a free one.

    Raises:
        ConfigError: an address that cannot be listened on. PortInUse: one that is taken.
    """
    _quiet()
    calm_windows()
    keep_frames_whole()
    addresses = [listen_address(text) for text in listen]
    keys = key_pair_of(secret)
    noise = NoiseTransport(keys, noise_privkey=create_new_key_pair().private_key)
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: noise},  # nothing else: py-libp2p's defaults offer plaintext, in which anybody is anybody
        muxer_opt={TProtocol(YAMUX): Yamux},
        listen_addrs=addresses,
        addrs_factory=announced,
        disable_identify_address_discovery=True,
    )
    gate = Gate()
    network: Any = host.get_network()
    network.retry_config = RetryConfig(max_retries=0)  # the pauses between attempts are Bootstrap's
    gate.guard(network.upgrader)
    notice_silence(network.upgrader)
    contain_handlers(host)
    release_incoming(network)
    stay_with_known(network)
    failure: Exception | None = None
    async with _listening(host, addresses), trio.open_nursery() as nursery:
        running = Libp2pHost(host, nursery, gate)
        async with running.running():
            try:
                yield running
            except Exception as error:  # raised again below, else the nurseries in between wrap it once each
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def _listening(host: IHost, addresses: list[Multiaddr]) -> AsyncIterator[None]:
    for address in addresses:
        probe(address)
    network: Any = host.get_network()
    async with contained_service(network):
        try:
            await network.listen(*addresses)
            if len(host.get_addrs()) == 0:
                raise ConfigError(
                    f"Nothing listens on {', '.join(map(str, addresses))}.", "Name an address of this machine."
                )
            yield
        finally:
            await _close(network)


async def _close(network: Any) -> None:
    """Say goodbye and give the port back: py-libp2p's listeners are tasks of the whole process, and outlive a host that
    is cancelled."""
    with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_TIMEOUT):
        async with trio.open_nursery() as nursery:
            for closable in [*network.listeners.values(), *network.get_connections()]:
                nursery.start_soon(_close_one, closable)


async def _close_one(closable: Any) -> None:
    try:
        await closable.close()
    except Exception as error:
        _log.debug("closing %r failed: %r", closable, error)


def _quiet() -> None:
    """py-libp2p logs every failed dial as an error, with a traceback; what matters of it is in `status()`."""
    logger = logging.getLogger("libp2p")
    logger.setLevel(logging.CRITICAL)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    # One module logs to the root logger, whose first message would configure the whole program's logging.
    swarm_connection.logging = logger  # type: ignore[assignment, attr-defined]
