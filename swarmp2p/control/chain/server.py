"""A small strict HTTP/1.1 server for JSON-RPC: trio and h11, keep-alive, limits on everything that comes in."""

import ipaddress
import json
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import h11
import trio
from trio import TaskStatus  # type: ignore[attr-defined,unused-ignore]
from trio.abc import HalfCloseableStream

from swarmp2p.control.chain.endpoint import ChainEndpoint
from swarmp2p.control.chain.evm import DEFAULT_CHAIN_ID as DEFAULT_CHAIN_ID
from swarmp2p.control.chain.evm import EmbeddedChain
from swarmp2p.control.chain.methods import ChainMethods
from swarmp2p.control.chain.rpc_values import PARSE_ERROR, RpcError
from swarmp2p.core.errors import PortInUse, SwarmError

MAX_HEAD = 16 * 1024
MAX_BODY = 2 * 1024 * 1024
"""Bytes. The largest transaction, a deployment, is about 50 kB."""
MAX_CONNECTIONS = 512
REQUEST_TIMEOUT = 20.0
"""Seconds from a request's first byte to its last, and for the client to take the response."""
IDLE_TIMEOUT = 120.0
MAX_DEPTH = 32
MAX_BRACKETS = 20_000
_BRACKETS = re.compile(rb"[\[\]{}]")
_LINGER = 2.0
_RECEIVE = 64 * 1024

_log = logging.getLogger(__name__)


class _BadRequestError(Exception):
    """A request to answer with an HTTP error, and to close the connection after."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def serve_chain(
    host: str = "127.0.0.1",
    port: int = 8545,
    folder: str | os.PathLike[str] = "chain",
    *,
    chain_id: int = DEFAULT_CHAIN_ID,
    allowed_hosts: Collection[str] = (),
    clock: Callable[[], float] = time.time,
    task_status: TaskStatus[ChainEndpoint] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the embedded chain until cancelled.

    Args:
        host: address to listen on; anything but loopback lets everybody who reaches it use the faucet.
        port: 0 takes a free one.
        folder: where the chain is kept; made if it is not there.
        allowed_hosts: names that a request's Host header may have, besides localhost and IP addresses. (A web page
            could otherwise point a name of its own at this address and talk to the chain from a browser.)
        clock: Unix seconds.
        task_status: started with a ChainEndpoint once requests are answered.

    Raises:
        PortInUse: the address is taken.
        HomeLocked: another process runs the chain in the folder.
        ConfigError: the folder's chain has another id, or is damaged.
    """
    listeners = await _listen(host, port)
    try:
        chain = await trio.to_thread.run_sync(lambda: EmbeddedChain(Path(folder), chain_id, clock))
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    try:
        server = _Server(ChainMethods(chain), {"localhost", host.lower(), *(name.lower() for name in allowed_hosts)})
        bound = listeners[0].socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, server.serve, listeners)
            task_status.started(ChainEndpoint(f"http://{shown}:{bound}", chain_id))
    finally:
        chain.close()


async def _listen(host: str, port: int) -> Sequence[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise SwarmError(f"There is no address {host!r} to listen on.", "Give one of this machine's.") from None
        raise PortInUse(
            f"The chain cannot listen on {host}:{port}: {error.strerror or error}.",
            "Stop the other program, or give another --port (0 takes a free one).",
        ) from None


class _Server:
    def __init__(self, methods: ChainMethods, hosts: Collection[str]) -> None:
        self._methods = methods
        self._hosts = hosts
        self._open = 0

    async def serve(self, stream: HalfCloseableStream) -> None:
        """One connection. Never raises anything but Cancelled."""
        self._open += 1
        try:
            async with stream:
                if isinstance(stream, trio.SocketStream):
                    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._open <= MAX_CONNECTIONS:
                    await self._requests(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.LocalProtocolError, OSError):
            _log.debug("a client went away", exc_info=True)
        except Exception:
            _log.exception("a connection failed")
        finally:
            self._open -= 1

    async def _requests(self, stream: HalfCloseableStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        while True:
            try:
                request = await self._head(stream, connection)
                if request is None:
                    return
                with trio.move_on_after(REQUEST_TIMEOUT) as scope:
                    self._check(request)
                    body = await self._body(stream, connection, request)
                if scope.cancelled_caught:
                    raise _BadRequestError(408, "the request took too long")
                answer = await self._answer(body)
            except h11.RemoteProtocolError as error:
                await _refuse(stream, connection, error.error_status_hint or 400, str(error))
                return
            except _BadRequestError as error:
                await _refuse(stream, connection, error.status, str(error))
                return
            await _respond(stream, connection, 200 if answer else 204, answer)
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _head(self, stream: HalfCloseableStream, connection: h11.Connection) -> h11.Request | None:
        """The next request's head, or None when the client is done or silent."""
        with trio.move_on_after(IDLE_TIMEOUT):
            event = await _event(stream, connection)
            return event if isinstance(event, h11.Request) else None
        return None

    def _check(self, request: h11.Request) -> None:
        if request.method != b"POST":
            raise _BadRequestError(405, "JSON-RPC is sent with POST")
        headers = dict(request.headers)
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._host_allowed(host):
            raise _BadRequestError(403, "this Host is not served here; use an IP address, or allow the name")
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        # A browser's form cannot say this, so a web page cannot send us one without being asked first.
        if kind != b"application/json":
            raise _BadRequestError(415, "the content type is not application/json")
        length = headers.get(b"content-length")
        if length is not None and int(length) > MAX_BODY:
            raise _BadRequestError(413, f"more than {MAX_BODY} bytes")

    def _host_allowed(self, host: str) -> bool:
        name, _, _ = host[1:].partition("]") if host.startswith("[") else host.partition(":")
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def _body(self, stream: HalfCloseableStream, connection: h11.Connection, request: h11.Request) -> bytes:
        if connection.they_are_waiting_for_100_continue:
            await stream.send_all(_bytes(connection, h11.InformationalResponse(status_code=100, headers=[])))
        body = bytearray()
        while True:
            event = await _event(stream, connection)
            if isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    raise _BadRequestError(413, f"more than {MAX_BODY} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)
            else:
                raise _BadRequestError(400, "the request ended early")

    async def _answer(self, body: bytes) -> bytes:
        try:
            request = json.loads(body) if _shallow(body) else None
        except ValueError:
            request = None
        if request is None:
            error = RpcError(PARSE_ERROR, "parse error")
            raise _BadRequestError(400, json.dumps({"jsonrpc": "2.0", "id": None, "error": error.body()}))
        answer = await self._methods.answer(request)
        return b"" if answer is None else json.dumps(answer, separators=(",", ":")).encode()


def _shallow(body: bytes) -> bool:
    """Whether brackets, those in strings included, are few and nest little.

    py-evm raises the interpreter's recursion limit, so json would overflow the C stack before it refuses.
    """
    depth = 0
    for number, bracket in enumerate(_BRACKETS.finditer(body)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH or number >= MAX_BRACKETS:
            return False
    return True


def _bytes(connection: h11.Connection, event: Any) -> bytes:
    return bytes(connection.send(event) or b"")


async def _event(stream: HalfCloseableStream, connection: h11.Connection) -> Any:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event
        connection.receive_data(bytes(await stream.receive_some(_RECEIVE)))


async def _respond(stream: HalfCloseableStream, connection: h11.Connection, status: int, body: bytes) -> None:
    headers = [("content-length", str(len(body)))]
    if body:
        headers.append(("content-type", "application/json"))
    out = _bytes(connection, h11.Response(status_code=status, headers=headers))
    if body:
        out += _bytes(connection, h11.Data(data=body))
    out += _bytes(connection, h11.EndOfMessage())
    with trio.move_on_after(REQUEST_TIMEOUT) as scope:
        await stream.send_all(out)
    if scope.cancelled_caught:
        raise trio.BrokenResourceError("the client does not take the response")


async def _refuse(stream: HalfCloseableStream, connection: h11.Connection, status: int, reason: str) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = (reason if reason.startswith("{") else json.dumps({"error": reason})).encode()
    headers = [
        ("content-length", str(len(body))),
        ("content-type", "application/json"),
        ("connection", "close"),
    ]
    out = _bytes(connection, h11.Response(status_code=status, headers=headers))
    out += _bytes(connection, h11.Data(data=body)) + _bytes(connection, h11.EndOfMessage())
    with trio.move_on_after(_LINGER):
        await stream.send_all(out)
        await stream.send_eof()
        # Closing with unread data resets the connection, and the client would never see the reason.
        for _ in range(2 * MAX_BODY // _RECEIVE):
            if not await stream.receive_some(_RECEIVE):
                break
