"""Wires the content exchange's TLS side to the network: who is greeted where, and who is still a member."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from multiaddr import Multiaddr

from swarmp2p.content.exchange import Endpoint, Hear, Listener, Live, Pins, TlsLinks
from swarmp2p.content.interface import ContentStore
from swarmp2p.core.errors import MessageRefused, PeerUnreachable
from swarmp2p.core.types import Address
from swarmp2p.network.certificate import issue_certificate
from swarmp2p.network.greeting import GREETING_PROTOCOL, Greeting, receive_greeting, send_greeting
from swarmp2p.network.interface import Host, Stream

_log = logging.getLogger(__name__)

GREETING_TIMEOUT = 5.0


class TlsExchange:
    """One member's TLS listener and its connections to those of others. Made by `open_tls`.

    Args:
        host: greetings go over its streams.
        certificate: the own one, in DER.
        pins: whom both sides trust.
        listener: opened, not yet serving.
    """

    def __init__(self, host: Host, certificate: bytes, pins: Pins, listener: Listener) -> None:
        self._host = host
        self._certificate = certificate
        self._pins = pins
        self._listener = listener
        self.links = TlsLinks(pins, self._greet)
        self.hear: Hear | None = None
        """Takes messages of members; None: nobody does yet."""
        host.handle(GREETING_PROTOCOL, self._greeted)

    def serve(self, store: ContentStore, live: Live) -> None:
        """Serve this store, and what is in the making, to members from now on."""
        self._listener.start(store, live, self._heard)

    def _heard(self, member: Address, topic: str, message: bytes) -> bool:
        hear = self.hear
        return hear is not None and hear(member, topic, message)

    def set_members(self, members: frozenset[Address]) -> None:
        """Whom to have connections with; all others are cut off."""
        self._pins.keep(members)
        self.links.keep(members)
        self._listener.keep(members)

    def _own(self) -> Greeting:
        """Where others reach the listener: on the machine's addresses that the network announces."""
        hosts = dict.fromkeys(_host(each) for each in self._host.multiaddrs())
        return self._certificate, tuple((host, self._listener.port) for host in hosts)

    async def _greet(self, peer: Address) -> Endpoint | None:
        try:
            with trio.fail_after(GREETING_TIMEOUT):
                stream = await self._host.open_stream(peer, GREETING_PROTOCOL)
                try:
                    await send_greeting(stream, self._own())
                    certificate, addresses = await receive_greeting(stream, peer)
                finally:
                    await stream.aclose()
        except (MessageRefused, PeerUnreachable, OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            _log.info("no greeting from 0x%s: %s", peer.hex(), error)
            return None
        return Endpoint(certificate, addresses)

    async def _greeted(self, stream: Stream, peer: Address) -> None:
        with trio.fail_after(GREETING_TIMEOUT):
            try:
                certificate, addresses = await receive_greeting(stream, peer)
            except MessageRefused as refusal:
                _log.info("refused %s of 0x%s", refusal, peer.hex())
                return
            self.links.learn(peer, Endpoint(certificate, addresses))
            await send_greeting(stream, self._own())

    def close(self) -> None:
        """Blocking. Hang up on everybody."""
        self._listener.close()


def _host(multiaddr: str) -> str:
    return str(Multiaddr(multiaddr).value_for_protocol(_family(multiaddr)))


def _family(multiaddr: str) -> str:
    return str(next(protocol.name for protocol in Multiaddr(multiaddr).protocols()))


@asynccontextmanager
async def open_tls(host: Host, secret: bytes, listen: Sequence[str], port: int = 0) -> AsyncIterator[TlsExchange]:
    """A TLS listener beside the host, on the same interfaces.

    Args:
        secret: the member's 32-byte key, which signs the certificate.
        listen: multiaddrs that the host listens on.
        port: 0 takes a free one.

    Raises:
        PortInUse, ConfigError: it cannot be listened there.
    """
    certificate, chain = issue_certificate(secret)
    pins = Pins(chain)
    hosts = tuple(dict.fromkeys(_host(each) for each in listen))
    listener = await trio.to_thread.run_sync(Listener, hosts, port, pins)
    exchange = TlsExchange(host, certificate, pins, listener)
    try:
        yield exchange
    finally:
        exchange.links.close()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(exchange.close)
