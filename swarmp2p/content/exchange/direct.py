"""TLS connections to members that can be dialled: made, kept while idle, and given up when they lead nowhere."""

import logging
import math
import socket
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from swarmp2p.content.exchange.asking import told
from swarmp2p.content.exchange.effects import BadMessage, BlockingPipe, Conversation
from swarmp2p.content.exchange.link import Link
from swarmp2p.content.exchange.listener import HANDSHAKE_TIMEOUT, tune
from swarmp2p.content.exchange.pins import Endpoint, Pins
from swarmp2p.content.exchange.secure import SecureSocket, TlsError
from swarmp2p.core.types import Address

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

CONNECT_TIMEOUT = 2.0
RETRY_FIRST, RETRY_MOST = 1.0, 60.0
"""Seconds for which a member that could not be dialled is not dialled again, doubled with each failure in a row; the
network's streams reach it. At the start it may only not have seen yet that this peer is a member too."""
KEPT = 8
"""Idle connections kept to a member."""

Greet = Callable[[Address], Awaitable[Endpoint | None]]
"""Asks a member over the network where its listener is, and shows it our own certificate; None: it has none."""


class SocketLink:
    """A `Link` over a TLS connection; its conversations run in worker threads."""

    def __init__(self, peer: Address, sock: SecureSocket, owner: "TlsLinks") -> None:
        self.peer = peer
        self.sock = sock
        self._pipe = BlockingPipe(sock)
        self._owner = owner
        self._broken = False
        self._talking = False

    async def run(self, conversation: Conversation[_T]) -> _T:
        def talk() -> _T:
            self._talking = True
            try:
                return self._pipe.run(conversation)
            except BaseException as error:
                if isinstance(error, TlsError) and not self._broken:  # else it is we who hung up
                    self._owner.refused_by(self.peer)
                self._broken = True
                raise
            finally:
                self._talking = False
                if self._broken:
                    self.sock.close()

        try:
            return await trio.to_thread.run_sync(talk, limiter=self._owner.threads, abandon_on_cancel=True)
        except BaseException:
            # Cancelled, the thread is still there: it finds the connection broken, and closes it.
            self._broken = True
            self.sock.hang_up()
            raise

    async def release(self, *, reusable: bool) -> None:
        if reusable and not self._broken:
            self._owner.put_back(self)
        elif not self._talking:
            self.sock.close()

    def alive(self) -> bool:
        """Whether the other side has neither closed it nor said anything unasked."""
        return self.sock.idle()


class TlsLinks:
    """A `Direct` (link.py) over TLS.

    Args:
        pins: who is who.
        greet: how to learn where a member listens.
        threads: conversations at once.
        clock: seconds, from any start.
    """

    def __init__(
        self, pins: Pins, greet: Greet, *, threads: int = 64, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._pins = pins
        self._greet = greet
        self.threads = trio.CapacityLimiter(threads)
        self._endpoints: dict[Address, Endpoint] = {}
        self._refused: set[Address] = set()
        """Who ended the last connection by an error of TLS."""
        self._given_up: dict[Address, float] = {}
        """Until when, by that clock."""
        self._pauses: dict[Address, float] = {}
        self._idle: defaultdict[Address, list[SocketLink]] = defaultdict(list)
        self._closed = False

    async def connect(self, peer: Address) -> Link | None:
        """A connection to a member; None if it cannot be dialled now."""
        idle = self._idle[peer]
        while idle:
            link = idle.pop()
            if link.alive():
                return link
            link.sock.close()
        if self._closed or self._given_up.get(peer, -math.inf) > self._clock():
            return None
        # A member that was restarted has another certificate and another port.
        for known in (self._endpoints.get(peer), None):
            endpoint = known or await self._ask(peer)
            if endpoint is None:
                break
            sock = await trio.to_thread.run_sync(
                self._dial, peer, endpoint, limiter=self.threads, abandon_on_cancel=True
            )
            if sock is not None:
                return SocketLink(peer, sock, self)
            self._endpoints.pop(peer, None)
        self._give_up(peer)
        return None

    def _give_up(self, peer: Address) -> None:
        now = self._clock()
        if self._given_up.get(peer, -math.inf) <= now:  # else several failed at once
            self._pauses[peer] = min(RETRY_MOST, 2 * self._pauses.get(peer, RETRY_FIRST / 2))
            self._given_up[peer] = now + self._pauses[peer]

    async def tell(self, peer: Address, topic: str, message: bytes, timeout: float) -> bool | None:
        """Bring a message to a member itself; whether it took it, None if it did not get there within `timeout` seconds."""
        with trio.move_on_after(timeout):
            try:
                link = await self.connect(peer)
            except OSError:
                return None
            if link is None:
                return None
            taken: bool | None = None
            try:
                taken = await link.run(told(topic, message, timeout))
            except (BadMessage, OSError) as error:
                _log.info("0x%s was not told: %s", peer.hex(), error)
            finally:
                await link.release(reusable=taken is not None)
            return taken
        return None

    async def _ask(self, peer: Address) -> Endpoint | None:
        endpoint = await self._greet(peer)
        if endpoint is not None:
            self._pins.pin(peer, endpoint.certificate)
            self._endpoints[peer] = endpoint
        return endpoint

    def learn(self, peer: Address, endpoint: Endpoint) -> None:
        """A member came and said where it listens."""
        self._pins.pin(peer, endpoint.certificate)
        self._endpoints[peer] = endpoint
        self._given_up.pop(peer, None)

    def refused_by(self, peer: Address) -> None:
        """It may not know our certificate any more: it is greeted again, once; then left to the network's streams."""
        known = self._endpoints.pop(peer, None) is not None
        if not known or peer in self._refused:
            self._give_up(peer)
        self._refused.add(peer)

    def _dial(self, peer: Address, endpoint: Endpoint) -> SecureSocket | None:
        """Blocking. None if none of its addresses leads to it."""
        for address in endpoint.addresses:
            raw = None
            try:
                raw = socket.create_connection(address, CONNECT_TIMEOUT)
                tune(raw)
                secure = self._pins.secure(raw, server=False, timeout=HANDSHAKE_TIMEOUT)
                if self._pins.member_of(secure.certificate) == peer and not self._closed:
                    return secure
                problem = "another member answers there"
            except OSError as error:
                problem = str(error)
            if raw is not None:
                raw.close()
            _log.info("no TLS connection with 0x%s at %s port %d: %s", peer.hex(), *address, problem)
        return None

    def put_back(self, link: SocketLink) -> None:
        """A connection that can be used again."""
        self._refused.discard(link.peer)
        self._pauses.pop(link.peer, None)
        idle = self._idle[link.peer]
        if self._closed or len(idle) >= KEPT or self._pins.member_of(link.sock.certificate) is None:
            link.sock.close()
        else:
            idle.append(link)

    def keep(self, members: frozenset[Address]) -> None:
        """Close the connections to all others, and forget them."""
        for peer in list(self._idle.keys() | self._endpoints.keys()):
            if peer not in members:
                self._endpoints.pop(peer, None)
                self._pauses.pop(peer, None)
                for link in self._idle.pop(peer, []):
                    link.sock.close()

    def close(self) -> None:
        """Close the idle ones; those in use are closed when they are given back. Idempotent."""
        self._closed = True
        self.keep(frozenset())
