"""Swarm learning in an ordinary PyTorch loop: one call at the end of each batch."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

from swarmp2p.core.errors import ConfigError, SwarmError, SwarmWaiting
from swarmp2p.peer import BlockingSwarmPeer, Result

T = TypeVar("T")


class SwarmCallback:
    """Merges a `torch.nn.Module` with the swarm every `sync_interval` batches.

    The model is read, written and evaluated only in the thread that calls `on_batch_end`, while it waits there; so no
    lock is needed. All of the model's `state_dict` is merged, buffers too. The optimizer's state is kept.

    Args:
        manifest: the swarm's manifest file.
        model: the model; its state_dict must have the names, shapes and dtypes of the genesis.
        evaluate: returns the metric that the manifest names, on local validation data; None: no reports.
        sync_interval: local batches between two merges; None: as the manifest says.
        weight: this member's weight in the merge, usually its number of samples.
        timeout: seconds that `on_batch_end` waits for a merge; None: as long as it takes.
        options: as `SwarmPeer.open` takes them (home, listen, invitation, ...).
    """

    def __init__(
        self,
        manifest: str | Path,
        model: torch.nn.Module,
        *,
        evaluate: Callable[[], float | None] | None = None,
        sync_interval: int | None = None,
        weight: int,
        timeout: float | None = None,
        **options: Any,
    ) -> None:
        if sync_interval is not None and sync_interval < 1:
            raise ConfigError(f"sync_interval is {sync_interval}.", "It counts batches: give 1 or more.")
        self._timeout = timeout
        self._batches = 0
        self._meeting = _Meeting(model, evaluate)
        self._peer = BlockingSwarmPeer.open(
            manifest, learner=self._meeting, weight=weight, sync_interval=sync_interval, **options
        )
        self._watcher: threading.Thread | None = None
        self.result: Result | None = None

    def __enter__(self) -> Self:
        self._peer.__enter__()
        self._watcher = threading.Thread(target=self._watch, name="swarmp2p-callback", daemon=True)
        self._watcher.start()
        try:
            self._meeting.attend(None)  # the model takes over the head before the first batch
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._meeting.close()
        self._peer.__exit__(kind, error or SwarmError("closing"), traceback)
        if self._watcher is not None:
            self._watcher.join()

    @property
    def stopped(self) -> bool:
        """The swarm has stopped; the model holds the last merged weights."""
        return self._meeting.ended

    @property
    def peer(self) -> BlockingSwarmPeer:
        """The peer behind this callback: `head`, `best`, `status()`, `export()`."""
        return self._peer

    def on_batch_end(self, timeout: float | None = None) -> bool:
        """Call after each optimizer step; every `sync_interval`-th call merges.

        Args:
            timeout: seconds to wait for the merge, instead of the callback's own.

        Returns:
            True if the model now holds freshly merged weights.

        Raises:
            SwarmWaiting: the merge did not come in time. Training may go on; the next calls look for it again, and
                what was trained meanwhile is replaced when it arrives.
            LearnerFailed, NotAMember, ...: the peer ended.
        """
        if self._meeting.ended:
            return False
        self._batches += 1
        interval = self._meeting.interval
        if self._meeting.training and self._batches < interval:
            return False
        waited_already = not self._meeting.training
        self._meeting.finish_training()
        limit = self._timeout if timeout is None else timeout
        if waited_already and self._batches % interval:
            limit = 0.0
        try:
            self._meeting.attend(limit)
        except SwarmWaiting:
            if limit == 0.0 and timeout is None:
                return False
            raise
        self._batches = 0
        return True

    def _watch(self) -> None:
        try:
            self.result = self._peer.run()
            self._meeting.end(None)
        except BaseException as error:
            self._meeting.end(error)


class _Meeting:
    """A learner whose methods are carried out by the user's own thread, while it attends."""

    def __init__(self, model: torch.nn.Module, evaluate: Callable[[], float | None] | None) -> None:
        self._model = model
        self._evaluate = evaluate
        self._requests: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._trained: Future[None] | None = None
        self._error: BaseException | None = None
        self._closed = False
        self.interval = 1
        self.ended = False

    @property
    def training(self) -> bool:
        """The swarm waits for this interval to be trained."""
        return self._trained is not None

    def attend(self, timeout: float | None) -> None:
        """Carry out what the swarm asks for, until it asks for training or ends."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._trained is None and not self.ended:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                request = self._requests.get(timeout=left) if left != 0.0 else self._requests.get_nowait()
            except queue.Empty:
                raise SwarmWaiting(
                    f"No merge within {timeout} s.", "Go on training, or look at peer.status() for whom it waits."
                ) from None
            if request is None:
                self.ended = True
                break
            work, answer = request
            try:
                answer.set_result(work())
            except BaseException as error:
                answer.set_exception(error)
        if self._error is not None:
            raise self._error

    def finish_training(self) -> None:
        """The interval is trained."""
        trained, self._trained = self._trained, None
        if trained is not None:
            trained.set_result(None)

    def end(self, error: BaseException | None) -> None:
        """The peer has ended: let the user's thread go."""
        self._error = error
        self._requests.put(None)

    def close(self) -> None:
        """The user's thread will attend no more: refuse what is asked and will be asked."""
        self._closed = True
        self.finish_training()
        while True:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return
            if request is not None:
                request[1].set_exception(SwarmError("The training loop has ended."))

    def _ask(self, work: Callable[[], T]) -> T:
        answer: Future[T] = Future()
        self._requests.put((work, answer))
        if self._closed:
            self.close()
        return answer.result()

    def train(self, interval: int) -> None:
        """Wait for the user's loop to train an interval."""
        trained: Future[None] = Future()

        def begin() -> None:
            self.interval = interval
            self._trained = trained

        self._ask(begin)
        trained.result()

    def evaluate(self) -> float | None:
        """The user's metric."""
        return None if self._evaluate is None else self._ask(self._evaluate)

    def get_weights(self) -> Mapping[str, Any]:
        """A copy of the state_dict."""
        return self._ask(
            lambda: {name: tensor.detach().cpu().clone() for name, tensor in self._model.state_dict().items()}
        )

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Load merged weights into the model."""
        self._ask(lambda: self._model.load_state_dict(dict(weights)))
