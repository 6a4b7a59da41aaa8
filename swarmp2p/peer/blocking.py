"""The same peer for programs without trio: trio runs in a thread of its own, so training never stalls the network."""

import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import trio
from multiformats import CID

from swarmp2p.core.errors import SwarmError
from swarmp2p.peer.events import Result, Round, Status
from swarmp2p.peer.learner import Learner
from swarmp2p.peer.swarm_peer import SwarmPeer

T = TypeVar("T")

SIGNAL_INTERVAL = 0.2
"""Seconds between two looks of a waiting thread for signals."""


class BlockingSwarmPeer:
    """A `SwarmPeer` with blocking methods; use as a context manager, from any thread.

    The learner's methods are called in a thread of their own. Leaving the block, also by Ctrl-C, stops the peer without
    leaving the swarm: the next run with the same home carries on.
    """

    def __init__(self, manifest: str | Path, **options: Any) -> None:
        self._manifest = manifest
        self._options = options
        self._opened: Future[SwarmPeer] = Future()
        self._thread = threading.Thread(target=self._main, name="swarmp2p", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        self._closing: trio.Event | None = None
        self._nursery: trio.Nursery | None = None
        """Of the calls from other threads, while it is open."""
        self._ended: Future[None] = Future()

    @classmethod
    def open(cls, manifest: str | Path, *, learner: Learner, **options: Any) -> Self:
        """Takes what `SwarmPeer.open` takes; the peer starts when the block is entered."""
        return cls(manifest, learner=learner, **options)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._peer = self._opened.result()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()
        if error is None:
            self._ended.result()

    def _close(self) -> None:
        if self._token is not None and self._closing is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._closing.set)
        self._thread.join()

    def _main(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:
            if not self._opened.done():
                self._opened.set_exception(error)
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._closing = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._close_when_told, nursery.cancel_scope, self._closing)
            self._nursery = nursery
            try:
                async with SwarmPeer.open(self._manifest, **self._options) as peer:
                    self._opened.set_result(peer)
                    await trio.sleep_forever()
            finally:
                self._nursery = None

    @staticmethod
    async def _close_when_told(scope: trio.CancelScope, closing: trio.Event) -> None:
        await closing.wait()
        scope.cancel()

    def _in_trio(self, function: Callable[[], Awaitable[T]]) -> T:
        done: Future[T] = Future()

        async def call() -> None:
            try:
                result = await function()
            except Exception as error:
                done.set_exception(error)
            except BaseException:
                done.cancel()
                raise
            else:
                done.set_result(result)

        def begin() -> None:
            if self._nursery is None:
                done.cancel()
            else:
                self._nursery.start_soon(call)

        try:
            if self._token is not None:
                self._token.run_sync_soon(begin)
            return self._wait(done)
        except (trio.RunFinishedError, CancelledError):
            self._thread.join()
            self._ended.result()
            raise SwarmError("This peer is closed.", "Open it again: its home holds all that it needs.") from None

    def _wait(self, done: Future[T]) -> T:
        """A signal that comes at the instant at which a thread begins to wait is seen only when it wakes up, so it does now
        and then: else a Ctrl-C could be lost."""
        while True:
            finished, _ = wait([done], SIGNAL_INTERVAL)
            if finished:
                return done.result()
            if self._ended.done():
                raise CancelledError

    def rounds(self) -> Iterator[Round]:
        """Merged rounds as they are applied; ends when the swarm has stopped."""
        iterator = self._peer.rounds()
        while True:
            try:
                yield self._in_trio(iterator.__anext__)
            except StopAsyncIteration:
                return

    def run(self) -> Result:
        """Take part until the swarm has stopped."""
        for _ in self.rounds():
            pass
        return self._peer.result

    def wait_for_round(self, after: int) -> None:
        """Wait until a round later than `after` is applied, or the swarm has stopped."""

        async def wait() -> None:
            await self._peer.wait_for_round(after)

        self._in_trio(wait)

    @property
    def head(self) -> CID:
        """The last merged model."""
        return self._peer.head

    @property
    def best(self) -> CID:
        """The best merged model by the members' vote."""
        return self._peer.best

    def status(self) -> Status:
        """What the peer is doing, and for whom it waits."""

        async def status() -> Status:
            return self._peer.status()

        return self._in_trio(status)

    def export(self, path: str | Path, which: str = "best") -> Path:
        """Write the best (or "head") model as a safetensors file; see `SwarmPeer.export`."""

        async def export() -> Path:
            return await self._peer.export(path, which)

        return self._in_trio(export)
