"""What py-libp2p 0.8.1 needs before strangers may talk to it: nothing that a peer sends ends the host.

It overrides private methods, which is why pyproject pins the version.
"""

import logging
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.abc import IHost, INetStream, IRawConnection, ISecureConn
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream
from libp2p.tools.anyio_service import Service, TrioManager
from libp2p.transport.exceptions import SecurityUpgradeFailure

from swarmp2p.core.types import Address
from swarmp2p.network.peer_ids import address_of_peer

_log = logging.getLogger(__name__)

_HOST_FAULTS = (BaseLibp2pError, OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError)
"""What a frame of garbage has been seen to raise within py-libp2p. Protobuf's DecodeError is a ValueError or Exception
by version, so the stream guard below takes any Exception; cancellation is none."""


STALL = 30.0
"""Seconds that one frame may take to go out (it has at most 64 KiB) before its connection is given up."""
AFTERGLOW = 1.0
"""Seconds that py-libp2p gets to clean up after an incoming connection has closed."""
DAEMON_PAUSE = 1.0
"""Seconds before a background task of py-libp2p that failed is started again."""

SILENCE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}
"""Seconds (the last: milliseconds) after which a machine that says nothing at all counts as gone: tcp(7)."""

ENTERING = 10.0
"""Seconds from a visitor's handshake until its connection counts as such."""

WINDOW_PIECE = 64 * 1024
"""Bytes read before the sender is granted them again: a quarter of Yamux's first window."""


class Gate:
    """Who may connect: an allow-list of addresses, asked once the other side has proven its key.

    Attributes:
        members: their addresses; None: anybody whose key can be a member's.
        guests: nodes that are no members and were dialled by this one.
        most_visitors: how many that are no members may come by themselves.
        is_connected: whether a node has a connection.
    """

    def __init__(self) -> None:
        self.members: frozenset[Address] | None = None
        self.guests: set[ID] = set()
        self.most_visitors = 0
        self.is_connected: Callable[[ID], bool] = lambda peer_id: False
        self.refused = 0
        self._visitors: dict[ID, float] = {}
        """Until when each counts as one although it is not connected yet, by trio's clock."""

    def is_member(self, peer_id: ID) -> bool:
        """Whether this PeerID is a member's."""
        address = address_of_peer(peer_id)
        return address is not None and (self.members is None or address in self.members)

    def admits(self, peer_id: ID) -> bool:
        """Whether a node with this PeerID may be connected."""
        return self.is_member(peer_id) or peer_id in self.guests or peer_id in self._visitors

    def _let_in(self, peer_id: ID) -> bool:
        """The same of one that knocks: it becomes a visitor if there is room."""
        if self.is_member(peer_id) or peer_id in self.guests:
            return True
        now = trio.current_time()
        self._visitors = {
            known: until for known, until in self._visitors.items() if self.is_connected(known) or now < until
        }
        if peer_id not in self._visitors and len(self._visitors) >= self.most_visitors:
            return False
        self._visitors[peer_id] = now + ENTERING
        return True

    def entered(self, peer_id: ID) -> None:
        """A node has its connection: if it is a visitor, it is one for as long as it has."""
        if peer_id in self._visitors:
            self._visitors[peer_id] = 0.0

    def guard(self, upgrader: Any) -> None:
        """Put the gate behind the security handshake, in both directions."""
        upgrade = upgrader.upgrade_security

        async def upgrade_security(
            raw_conn: IRawConnection, is_initiator: bool, peer_id: ID | None = None
        ) -> ISecureConn:
            secured: ISecureConn = await upgrade(raw_conn, is_initiator, peer_id)
            remote = secured.get_remote_peer()
            if not self._let_in(remote):
                self.refused += 1
                _log.info("turned away %s: not a member", remote)
                await secured.close()
                raise SecurityUpgradeFailure(f"{remote} is not a member")
            return secured

        upgrader.upgrade_security = upgrade_security


def notice_silence(upgrader: Any) -> None:
    """Give up connections to machines that lost power or their network: these send no farewell, and a connection that
    is believed alive would be preferred to the new one that they open when they are back."""
    upgrade = upgrader.upgrade_security

    async def upgrade_watched(raw_conn: Any, *args: Any, **kwargs: Any) -> ISecureConn:
        stream = getattr(getattr(raw_conn, "stream", None), "stream", None)
        if isinstance(stream, trio.SocketStream):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in SILENCE.items():
                if hasattr(socket, name):  # each system has its own choice of them
                    stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        secured: ISecureConn = await upgrade(raw_conn, *args, **kwargs)
        return secured

    upgrader.upgrade_security = upgrade_watched


def contain_handlers(host: IHost) -> None:
    """An exception in any stream handler resets its stream and goes no further."""
    network: Any = host.get_network()
    handle = network.common_stream_handler

    async def contained(stream: INetStream) -> None:
        try:
            await handle(stream)
        except Exception as error:
            _log.info("a stream handler failed: %r", error)
            try:
                await stream.reset()
            except _HOST_FAULTS as again:
                _log.debug("the stream could not be reset either: %r", again)

    network.set_stream_handler(contained)


def calm_windows() -> None:
    """Let Yamux grant its window in pieces of a quarter, not after each read: with small messages, every other frame
    on the wire was a grant of some bytes, a tenth of a peer's processor time. Applies to the process, once."""
    grant = YamuxStream._auto_tune_and_send_window_update
    if getattr(grant, "calm", False):
        return

    async def grant_in_pieces(self: Any, *, bytes_read: int = 0) -> None:
        owed = getattr(self, "_owed_bytes", 0) + bytes_read
        self._owed_bytes = owed if owed < WINDOW_PIECE else 0
        if owed >= WINDOW_PIECE:
            await grant(self, bytes_read=owed)

    grant_in_pieces.calm = True  # type: ignore[attr-defined]
    YamuxStream._auto_tune_and_send_window_update = grant_in_pieces  # type: ignore[method-assign]


def keep_frames_whole() -> None:
    """Let no cancellation cut a Yamux frame in two, nor leak the slot of a stream that was being opened.

    py-libp2p's writes can be cancelled in the middle; the rest of the connection then is noise to the other side, and
    all its streams are lost with the one that was cancelled. Applies to the process, once.
    """
    open_stream = Yamux.open_stream
    if getattr(open_stream, "whole", False):
        return

    async def write_frame(self: Any, data: bytes) -> None:
        async with self._write_lock:
            with trio.move_on_after(STALL, shield=True) as scope:
                await self.secured_conn.write(data)
            if scope.cancelled_caught:
                await self.secured_conn.close()  # half a frame is out: nothing that follows could be understood
                raise MuxedStreamError(f"the connection took no data for {STALL:.0f} seconds")

    async def open_whole(self: Any) -> YamuxStream:
        await trio.lowlevel.checkpoint()
        if self.stream_backlog_semaphore.value == 0:
            raise MuxedStreamError("too many streams are open on this connection")
        with trio.CancelScope(shield=True):
            stream = await open_stream(self)
        return stream  # noqa: RET504 (mypy takes it that a scope may swallow an exception)

    open_whole.whole = True  # type: ignore[attr-defined]
    Yamux._write_frame = write_frame  # type: ignore[method-assign]
    Yamux.open_stream = open_whole  # type: ignore[method-assign]


def release_incoming(network: Any) -> None:
    """End the task of an incoming connection with the connection.

    py-libp2p keeps it, and one of 250 permits, until the host ends: a host that lives long would refuse everybody.
    """
    handle = network._handle_inbound_connection

    async def handle_and_end(stream: Any, multiaddr: Any) -> None:
        closed = trio.Event()
        close = stream.close

        async def closing() -> None:
            closed.set()
            await close()

        async def reap() -> None:
            await closed.wait()
            await trio.sleep(AFTERGLOW)
            nursery.cancel_scope.cancel()

        stream.close = closing
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reap)
            await handle(stream, multiaddr)
            nursery.cancel_scope.cancel()

    network._handle_inbound_connection = handle_and_end


def stay_with_known(network: Any) -> None:
    """Let Bootstrap alone decide whom to dial: py-libp2p dials, by itself, addresses that other peers claim to have."""

    async def dial_nobody() -> None:
        await trio.lowlevel.checkpoint()

    network.auto_connector.maybe_connect = dial_nobody


class _ContainingManager(TrioManager):
    """Runs a service of py-libp2p so that a background task that fails takes nothing else with it."""

    def run_task(
        self, async_fn: Any, *args: Any, daemon: bool = False, name: str | None = None, _internal: bool = False
    ) -> None:
        """Run a task; a failing daemon is started again."""

        async def contained(*args: Any) -> None:
            failed = True
            while failed:
                failed = False
                try:
                    await async_fn(*args)
                except Exception as error:
                    _log.info("a background task of %s failed: %r", self._service, error)
                    failed = daemon
                    await trio.sleep(DAEMON_PAUSE if daemon else 0)

        name = name or getattr(async_fn, "__qualname__", None)
        super().run_task(async_fn if _internal else contained, *args, daemon=daemon, name=name, _internal=_internal)


@asynccontextmanager
async def contained_service(service: Service) -> AsyncIterator[None]:
    """A service of py-libp2p, running, its background tasks contained.

    Cancellation reaches it only by way of the block that it serves: cancelled at the same instant, its tasks would drop
    connections that the block's end still has to close, and the other side would go on talking to nobody.
    """

    async def run() -> None:
        with trio.CancelScope(shield=True):
            await manager.run()

    async with trio.open_nursery() as nursery:
        manager = _ContainingManager(service)
        service._manager = manager
        nursery.start_soon(run)
        try:
            await manager.wait_started()
            yield
        finally:
            with trio.CancelScope(shield=True):
                await manager.stop()


class SafePubsub(Pubsub):
    """Pubsub whose frames do not mix and whose faults stay with the message that caused them."""

    def __init__(self, *args: Any, is_member: Callable[[ID], bool], **kwargs: Any) -> None:
        self._is_member = is_member
        self._in_flight: set[bytes] = set()
        self._write_locks: weakref.WeakKeyDictionary[INetStream, trio.Lock] = weakref.WeakKeyDictionary()
        super().__init__(*args, **kwargs)

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """Open a stream to a new peer, if it is a member: others are told nothing."""
        if self._is_member(peer_id):
            await super()._handle_new_peer(peer_id)

    async def stream_handler(self, stream: INetStream) -> None:
        """Take in what a member says: others are not listened to, not even when they pass on what members signed."""
        if self._is_member(stream.muxed_conn.peer_id):
            await super().stream_handler(stream)
        else:
            await stream.reset()

    def meet(self, peer_id: ID) -> None:
        """A node that is connected already has become a member."""
        if peer_id not in self.peers:
            self._schedule_peer_stream_retry(peer_id)

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Deliver and forward a message, once, however many copies arrive while it is being validated."""
        message_id = self._msg_id_constructor(msg)
        if message_id in self._in_flight:
            return
        self._in_flight.add(message_id)
        try:
            await super().push_msg(msg_forwarder, msg)
        except Exception as error:
            if msg_forwarder == self.my_id:
                raise
            _log.info("dropped a gossip message from %s: %r", msg_forwarder, error)
        finally:
            self._in_flight.discard(message_id)

    async def write_msg(self, stream: INetStream, rpc_msg: rpc_pb2.RPC) -> bool:
        """Write one frame, alone: py-libp2p's writes are not atomic above 64 KiB."""
        lock = self._write_locks.setdefault(stream, trio.Lock())
        async with lock:
            return bool(await super().write_msg(stream, rpc_msg))
