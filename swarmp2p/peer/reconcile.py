"""Keeps the running tasks equal to the actions that `decide` wants: starts new ones, cancels those not wanted."""

import logging
from collections.abc import Awaitable, Callable, Iterable

import trio

from swarmp2p.core.actions import Action, Announce, Keep, SendAdvance, Sync, Wake
from swarmp2p.core.errors import SwarmError

_log = logging.getLogger(__name__)

RETRY_FIRST, RETRY_MOST = 0.1, 5.0
"""Pause in seconds after a failed action, doubled with each failure in a row."""
REST = 0.05
"""Pause in seconds before an action that ended well, but is still wanted, is carried out again."""

_ONCE = (Announce, Sync, Keep, SendAdvance)
"""Actions that leave no trace in view or store; they name their attempt and are carried out once. One of each kind runs at
a time, to its end: an attempt that takes long is not cut short by the next."""


class Reconciler:
    """One task an action, keyed by equality."""

    def __init__(
        self,
        nursery: trio.Nursery,
        carry_out: Callable[[Action], Awaitable[None]],
        settled: Callable[[], None],
        fatal: tuple[type[SwarmError], ...] = (),
    ) -> None:
        self._nursery = nursery
        self._carry_out = carry_out
        self._settled = settled
        self._fatal = fatal
        self._running: dict[Action, trio.CancelScope] = {}
        self._done: set[Action] = set()
        self._rests: dict[Action, tuple[int, float]] = {}
        self._passed_over: set[type] = set()
        """Kinds of which one waits until another one has ended."""
        self.trouble: SwarmError | None = None

    @property
    def running(self) -> list[Action]:
        """Actions under way."""
        return list(self._running)

    def want(self, actions: Iterable[Action]) -> float:
        """Bring the tasks in line with the wanted actions; returns the trio time at which to come again."""
        wanted = dict.fromkeys(actions)
        self._passed_over.clear()
        come_again = trio.current_time() + 3600.0
        for action, scope in list(self._running.items()):
            if action not in wanted and not isinstance(action, _ONCE):
                scope.cancel()
        self._done = {action for action in self._done if action in wanted}
        self._rests = {action: rest for action, rest in self._rests.items() if action in wanted}
        if not any(failures for failures, _ in self._rests.values()):
            self.trouble = None
        for action in wanted:
            if isinstance(action, Wake) or action in self._running or action in self._done:
                continue
            if isinstance(action, _ONCE) and any(type(running) is type(action) for running in self._running):
                self._passed_over.add(type(action))
                continue
            _, not_before = self._rests.get(action, (0, 0.0))
            if not_before > trio.current_time():
                come_again = min(come_again, not_before)
                continue
            scope = trio.CancelScope()
            self._running[action] = scope
            self._nursery.start_soon(self._run, action, scope, name=repr(action)[:80])
        return come_again

    async def _run(self, action: Action, scope: trio.CancelScope) -> None:
        changes = True
        try:
            with scope:
                await self._carry_out(action)
                if isinstance(action, _ONCE):
                    self._done.add(action)
                    changes = type(action) in self._passed_over
                self._rests[action] = (0, trio.current_time() + REST)
        except self._fatal:
            raise
        except SwarmError as error:
            self._failed(action, error)
        finally:
            del self._running[action]
            if changes:
                self._settled()

    def _failed(self, action: Action, error: SwarmError) -> None:
        count = self._rests.get(action, (0, 0.0))[0] + 1
        pause = min(RETRY_MOST, RETRY_FIRST * 2 ** (count - 1))
        self._rests[action] = (count, trio.current_time() + pause)
        if self.trouble is None or str(self.trouble) != str(error):
            _log.warning("%s: %s (trying again)", type(action).__name__, error)
        self.trouble = error
