"""The user's model, as the swarm sees it, and the one thread in which it is called."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import trio

from swarmp2p.core.errors import LearnerFailed, SwarmError

T = TypeVar("T")


@runtime_checkable
class Learner(Protocol):
    """What a user writes. Plain blocking methods; all of them are called in one worker thread, never in trio's.

    Weights are a mapping from tensor name to a numpy array or torch tensor, or the Path of a safetensors file. Names,
    shapes and dtypes must be those of the genesis. They are copied before `get_weights`' caller goes on. A learner whose
    model lives elsewhere, as in a process of its own, gives and gets files, and the peer's process never holds a model.
    """

    def train(self, interval: int) -> None:
        """Train on `interval` local batches."""

    def evaluate(self) -> float | None:
        """The metric that the manifest names, on local validation data; None: no report."""

    def get_weights(self) -> Mapping[str, Any] | Path:
        """The weights as they are now."""

    def set_weights(self, weights: Any) -> None:
        """Take over merged weights: of the kind that `get_weights` returns. Arrays are the learner's own from then on, to
        write to as well (they are pages of the model's file, which takes up room on the disk for as long as one of them is
        kept); a file is not, and may be read only until this returns."""


class LearnerThread:
    """Calls a learner, one call at a time, in a worker thread.

    A call that is under way when its task is cancelled is abandoned: the thread ends it on its own, its result is
    dropped, and the next call waits for it. So a long interval never delays the end of a program, and a learner is
    never entered twice.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._mutex = threading.Lock()
        self._limiter = trio.CapacityLimiter(2)

    async def call(self, method: Callable[[Learner], T]) -> T:
        """Run `method(learner)` in the thread.

        Raises:
            LearnerFailed: the learner raised; its exception is the cause.
        """

        def locked() -> T:
            with self._mutex:
                return method(self._learner)

        try:
            return await trio.to_thread.run_sync(locked, abandon_on_cancel=True, limiter=self._limiter)
        except SwarmError:
            raise
        except Exception as error:
            raise LearnerFailed(
                f"The learner raised {type(error).__name__}: {error}",
                "Its own traceback is above; the swarm is unharmed.",
            ) from error
