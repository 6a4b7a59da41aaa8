"""The serving side over TLS: blocking sockets in threads, since neither trio's streams nor Yamux come near their speed."""

import contextlib
import errno
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

from swarmp2p.content.exchange.answers import Answers
from swarmp2p.content.exchange.effects import BadMessage, BlockingPipe
from swarmp2p.content.exchange.live import Live
from swarmp2p.content.exchange.offload import name_of
from swarmp2p.content.exchange.pins import Pins
from swarmp2p.content.exchange.secure import SecureSocket, hang_up
from swarmp2p.content.exchange.serving import ServerLimits, serve
from swarmp2p.content.interface import ContentStore
from swarmp2p.core.errors import ConfigError, ContentCorrupt, ContentUnavailable, PortInUse
from swarmp2p.core.types import Address

_log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 5.0
HANDSHAKES = 32
"""Strangers that may be at it at once."""
BACKLOG = 64
ACCEPT_PAUSE = 0.1
"""Seconds after a connection could not be accepted."""

Hear = Callable[[Address, str, bytes], bool]
"""Blocking: takes author, topic and message of a member, and says whether it was worth anything."""


def tune(sock: socket.socket) -> None:
    """What suits requests of a megabyte: no waiting for more to send, and a congestion control that fills short links."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(AttributeError, OSError):  # Linux, and only if the kernel has it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")


class Listener:
    """Listens for members' TLS connections from `start` to `close`.

    Args:
        hosts: IP addresses to listen on.
        port: on each of them; 0 takes a free one, the same for all.
        pins: whom to serve.
        limits: what one peer may take up.

    Raises:
        PortInUse, ConfigError: it cannot be listened there.
    """

    def __init__(self, hosts: tuple[str, ...], port: int, pins: Pins, limits: ServerLimits | None = None) -> None:
        self._pins = pins
        self._limits = limits or ServerLimits()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._hear: Hear | None = None
        self._threads: set[threading.Thread] = set()
        self._sockets: dict[socket.socket, Address | None] = {}
        self._listening: list[socket.socket] = []
        self.port = port
        """The port in use."""
        for host in hosts:
            try:
                self._listening.append(_listen(host, self.port))
            except BaseException:
                self.close()
                raise
            self.port = self._listening[-1].getsockname()[1]

    def start(self, store: ContentStore, live: Live | None = None, hear: Hear | None = None) -> None:
        """Serve this store, and what is in the making, from now on; `hear` is called with messages of members."""
        answers = Answers(store, live or Live())
        self._hear = hear
        for listening in self._listening:
            self._spawn(partial(self._accept, listening, answers))

    def keep(self, members: frozenset[Address]) -> None:
        """Hang up on all others."""
        with self._lock:
            gone = [sock for sock, member in self._sockets.items() if member is not None and member not in members]
        for sock in gone:
            hang_up(sock)

    def close(self) -> None:
        """Hang up on everybody, and return when no thread is left. Idempotent."""
        with self._lock:
            self._closing.set()
            sockets, threads = list(self._sockets), list(self._threads)
        for listening in self._listening:
            hang_up(listening)
        for sock in sockets:
            hang_up(sock)
        for thread in threads:
            thread.join()
        for listening in self._listening:
            listening.close()

    def _spawn(self, work: Callable[[], None]) -> bool:
        """Run it in a thread; False if there is none to be had, or no use for one any more."""

        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=run, name="swarmp2p-tls", daemon=True)
        with self._lock:
            if self._closing.is_set():
                return False
            try:
                thread.start()
            except RuntimeError as error:
                _log.warning("cannot serve a connection: %s", error)
                return False
            self._threads.add(thread)
        return True

    def _accept(self, listening: socket.socket, answers: Answers) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = listening.accept()
            except OSError as error:
                # Out of descriptors, say: some come back when connections end.
                if not self._closing.wait(ACCEPT_PAUSE):
                    _log.warning("cannot accept a connection: %s", error)
                continue
            with self._lock:
                strangers = sum(member is None for member in self._sockets.values())
                full = (
                    self._closing.is_set() or strangers >= HANDSHAKES or len(self._sockets) >= self._limits.connections
                )
                if not full:
                    self._sockets[sock] = None
            if full or not self._spawn(partial(self._connection, sock, answers)):
                with self._lock:
                    self._sockets.pop(sock, None)
                sock.close()

    def _connection(self, raw: socket.socket, answers: Answers) -> None:
        try:
            tune(raw)
            with self._pins.secure(raw, server=True, timeout=HANDSHAKE_TIMEOUT) as secure:
                member = self._admit(raw, secure)
                if member is not None:
                    self._serve(member, secure, answers)
        except OSError as error:
            _log.debug("a TLS connection broke: %s", error)
        finally:
            with self._lock:
                self._sockets.pop(raw, None)
            raw.close()

    def _admit(self, raw: socket.socket, secure: SecureSocket) -> Address | None:
        """Whose connection this is; None: nobody's that may have it."""
        member = self._pins.member_of(secure.certificate)
        with self._lock:
            held = Counter(self._sockets.values())[member]
            if member is None or self._closing.is_set() or held >= self._limits.connections_per_peer:
                return None
            self._sockets[raw] = member
            return member

    def _serve(self, member: Address, secure: SecureSocket, answers: Answers) -> None:
        hear = None if self._hear is None else partial(self._hear, member)
        try:
            BlockingPipe(secure).run(serve(answers, self._limits, waits=True, hear=hear))
        except BadMessage as error:
            _log.warning("refused a TLS connection of %s: %s", name_of(member), error)
        except (ContentUnavailable, ContentCorrupt) as error:
            _log.info("closed a TLS connection of %s in mid-answer: %s", name_of(member), error)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        where = f"{host} port {port}"
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"{where} is in use.", "Stop what uses it, or give another port.") from error
        raise ConfigError(f"{where} cannot be listened on: {error.strerror}.", "Name an address here.") from error
