"""What either side of the content exchange does on a connection, apart from how connections work.

A conversation is a generator that yields effects and is sent their results. The same generators run over streams of trio
(libp2p's) and over blocking sockets in threads (TLS): see `run_async` and `run_blocking`.
"""

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import trio

from swarmp2p.content.exchange.offload import Offload
from swarmp2p.content.interface import Stream

_T = TypeVar("_T")

END_OF_HEAD = b"\r\n\r\n"
_READ = 65_536


@dataclass(frozen=True, slots=True)
class Send:
    """Send all of it."""

    data: bytes | memoryview
    timeout: float


@dataclass(frozen=True, slots=True)
class Fill:
    """Read exactly as much as fits."""

    view: memoryview
    timeout: float


@dataclass(frozen=True, slots=True)
class ReadHead:
    """Read up to an empty line: bytes, it included; b"" when the connection ended before the first of them."""

    limit: int
    timeout: float


@dataclass(frozen=True, slots=True)
class Work:
    """Call a blocking function; its result, or its exception, comes back."""

    call: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for a signal, at most `timeout` seconds."""

    signal: "Signal"
    timeout: float


Effect: TypeAlias = Send | Fill | ReadHead | Work | Pause
Conversation: TypeAlias = Generator[Effect, Any, _T]


class BadMessage(Exception):
    """The other side sent what the protocol does not know."""


class Signal:
    """Wakes those who wait for it, in trio's thread or in others. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0
        self._callbacks: set[Callable[[], None]] = set()

    def send(self) -> None:
        """Wake all who wait now."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()
            callbacks = list(self._callbacks)
        for call in callbacks:
            call()

    @property
    def count(self) -> int:
        """How often it was sent; to be read before looking at what it is about."""
        return self._count

    def wait(self, timeout: float, since: int | None = None) -> None:
        """Block this thread until the next `send`, or, with `since`, until one that came after the count was this."""
        with self._condition:
            before = self._count if since is None else since
            self._condition.wait_for(lambda: self._count != before, timeout)

    async def wait_async(self, timeout: float) -> None:
        """Until the next `send`, in trio."""
        token, event = trio.lowlevel.current_trio_token(), trio.Event()

        def wake() -> None:
            try:
                trio.lowlevel.current_trio_token()
            except RuntimeError:
                token.run_sync_soon(event.set, idempotent=True)
            else:
                event.set()

        with self._condition:
            self._callbacks.add(wake)
        try:
            with trio.move_on_after(timeout):
                await event.wait()
        finally:
            with self._condition:
                self._callbacks.discard(wake)


class _Received:
    """Bytes that came with a head and belong to what follows it."""

    def __init__(self) -> None:
        self._data = b""

    def head_in(self, more: bytes, limit: int) -> bytes | None:
        """The head, when it is complete with these bytes. Raises BadMessage when it is longer than `limit`."""
        self._data += more
        at = self._data.find(END_OF_HEAD)
        if at < 0 or at + len(END_OF_HEAD) > limit:
            if len(self._data) >= limit:
                raise BadMessage(f"a head of more than {limit} bytes")
            return None
        end = at + len(END_OF_HEAD)
        head, self._data = self._data[:end], self._data[end:]
        return head

    def take(self, view: memoryview) -> int:
        """Fill the beginning of `view`; how many bytes."""
        count = min(len(view), len(self._data))
        if count:
            view[:count] = self._data[:count]
            self._data = self._data[count:]
        return count

    def nothing(self) -> bool:
        return not self._data


class AsyncPipe:
    """Carries conversations over a stream of trio.

    Args:
        stream: used by nobody else.
        offload: how blocking calls run.
    """

    def __init__(self, stream: Stream, offload: Offload) -> None:
        self._stream = stream
        self._offload = offload
        self._received = _Received()

    async def run(self, conversation: Conversation[_T]) -> _T:
        """Hold a conversation; its result. Raises what it raises, OSError and trio's errors of streams when the connection
        breaks, trio.TooSlowError when the other side is not in time."""
        try:
            effect = conversation.send(None)
            while True:
                try:
                    result = await self._do(effect)
                except Exception as error:
                    effect = conversation.throw(error)
                else:
                    effect = conversation.send(result)
        except StopIteration as stop:
            result = stop.value
        finally:
            conversation.close()
        return result  # type: ignore[no-any-return]

    async def _do(self, effect: Effect) -> Any:
        match effect:
            case Send(data, timeout):
                with trio.fail_after(timeout):
                    await self._stream.send_all(bytes(data))
            case Fill(view, timeout):
                with trio.fail_after(timeout):
                    await self._fill(view)
            case ReadHead(limit, timeout):
                with trio.fail_after(timeout):
                    return await self._head(limit)
            case Work(call):
                return await self._offload(call)
            case Pause(signal, timeout):
                await signal.wait_async(timeout)
        return None

    async def _fill(self, view: memoryview) -> None:
        at = self._received.take(view)
        while at < len(view):
            data = await self._stream.receive_some(min(_READ, len(view) - at))
            if not data:
                raise ConnectionError("the connection ended within a body")
            view[at : at + len(data)] = data
            at += len(data)

    async def _head(self, limit: int) -> bytes:
        data = b""
        while (head := self._received.head_in(data, limit)) is None:
            data = await self._stream.receive_some(_READ)
            if not data:
                if self._received.nothing():
                    return b""
                raise ConnectionError("the connection ended within a head")
        return head


class Socket(Protocol):
    """The part of a blocking socket (secure.py) that is used. Timeouts are for the whole call, in seconds."""

    def send_all(self, data: bytes | memoryview, timeout: float) -> None: ...

    def fill(self, view: memoryview, timeout: float) -> int: ...

    def receive(self, timeout: float) -> bytes: ...


class BlockingPipe:
    """Carries conversations over a blocking socket, in the calling thread.

    Args:
        socket: used by nobody else.
    """

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._received = _Received()

    def run(self, conversation: Conversation[_T]) -> _T:
        """As `AsyncPipe.run`; TimeoutError when the other side is not in time."""
        try:
            effect = conversation.send(None)
            while True:
                try:
                    result = self._do(effect)
                except Exception as error:
                    effect = conversation.throw(error)
                else:
                    effect = conversation.send(result)
        except StopIteration as stop:
            result = stop.value
        finally:
            conversation.close()
        return result  # type: ignore[no-any-return]

    def _do(self, effect: Effect) -> Any:
        # Once a chunk, three times: by type, the most frequent first, costs a third of a match statement.
        if isinstance(effect, Work):
            return effect.call()
        if isinstance(effect, Pause):
            effect.signal.wait(effect.timeout)
            return None
        if isinstance(effect, Fill):
            return self._fill(effect.view, effect.timeout)
        if isinstance(effect, Send):
            return self._socket.send_all(effect.data, effect.timeout)
        return self._head(effect.limit, effect.timeout)

    def _fill(self, view: memoryview, timeout: float) -> None:
        at = self._received.take(view)
        rest = view[at:] if at else view
        if self._socket.fill(rest, timeout) < len(rest):
            raise ConnectionError("the connection ended within a body")

    def _head(self, limit: int, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        data = b""
        while (head := self._received.head_in(data, limit)) is None:
            data = self._socket.receive(deadline - time.monotonic())
            if not data:
                if self._received.nothing():
                    return b""
                raise ConnectionError("the connection ended within a head")
        return head
