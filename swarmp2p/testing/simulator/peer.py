"""A simulated peer: the real `observe` and `decide`, a driver of the same shape as the real one, crashes at any boundary."""

from collections.abc import Generator
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from swarmp2p.core import decide as core
from swarmp2p.core.actions import Action, Announce, Finish, Keep, SendAdvance, Sync, Wake
from swarmp2p.core.messages import RoundMessage, Signed
from swarmp2p.core.store import Report, Store, Update
from swarmp2p.core.types import Digest
from swarmp2p.core.view import View
from swarmp2p.testing.simulator import liars
from swarmp2p.testing.simulator.carry import carry_out
from swarmp2p.testing.simulator.chain import Transaction
from swarmp2p.testing.simulator.content import Piece, whole
from swarmp2p.testing.simulator.journal import Journal
from swarmp2p.testing.simulator.plan import Outage, PeerPlan

if TYPE_CHECKING:
    from swarmp2p.testing.simulator.world import World

Work: TypeAlias = Generator[float, None, None]
"""An action under way: yields how long its next step takes. Each yield is a boundary at which the process may die."""

IDEMPOTENCE_SAMPLE = 16
"""One in so many decisions is made twice, to see that nothing changes."""


ONCE = (Announce, Sync, SendAdvance)
"""Actions that name their attempt and are carried out once for each; others are begun anew while they are wanted."""


class Task:
    """An action under way, or done and still wanted."""

    __slots__ = ("action", "cancelled", "work")

    def __init__(self, action: Action, work: Work) -> None:
        self.action, self.work = action, work
        self.cancelled = False


class SimPeer:
    """One process, its disk, and its network."""

    def __init__(self, id_: int, plan: PeerPlan, world: "World", random: Random) -> None:
        self.id, self.plan, self.world, self.random = id_, plan, world, random
        self.address = plan.address
        self.disk: set[Piece] = {whole(world.plan.config.genesis)}
        self.slice_rounds: dict[Digest, int] = {}
        """Round in which a merged slice came to the disk."""
        self.journal = Journal(plan.address)
        self.up = False
        self.online = True
        self.finished = False
        self.live_since = float("inf")
        """Since when it is up and online without a break."""
        self.trained = 0
        self._outages = list(plan.outages)
        self._reset()

    def _reset(self) -> None:
        self.store = Store(self.address, weight=self.id + 1)
        self.view: View | None = None
        self.tasks: dict[Action, Task] = {}
        self.boundaries = 0
        self.decisions = 0
        self._thinking = self._polling = False
        self._wake_at = float("inf")
        self._kept: frozenset[Digest] | None = None

    @property
    def honest(self) -> bool:
        """Follows the protocol."""
        return not self.plan.lies

    @property
    def live(self) -> bool:
        """Up and online."""
        return self.up and self.online

    @property
    def now(self) -> float:
        """The time on its own clock."""
        return self.world.loop.now + self.plan.skew

    # Life

    def start(self) -> None:
        """Start the process, for the first time or after a crash, from what is on its disk."""
        self._reset()
        self.up = True
        self.live_since = self.world.loop.now if self.online else float("inf")
        held = {piece[1] for piece in self.disk if piece[0] == "file"}
        self.store.held = held
        self.store.update = self.journal.update
        self.store.report = self.journal.report
        self.store.started_at = self.now
        for outage in self._outages:
            if outage.at_time:
                self.world.loop.at(self.world.start + outage.at_time, self._suffer, outage)
        self.world.trace("start", self.id)
        for transaction in tuple(self.journal.pending):
            self.send(transaction)
        self.poll()

    def crash(self, duration: float) -> None:
        """Lose everything that is not on the disk; come back later, or never."""
        self.up = False
        self.live_since = float("inf")
        for task in self.tasks.values():
            task.cancelled = True
        self.tasks = {}
        self.world.trace("crash", self.id, duration)
        self.world.faults["crash"] += 1
        if duration == float("inf"):
            self.world.faults["crash for ever"] += 1
        else:
            self.world.loop.after(duration, self.start)

    def disconnect(self, duration: float) -> None:
        """Lose the network for a while; the process goes on."""
        self.online = False
        self.live_since = float("inf")
        self.world.trace("disconnect", self.id, duration)
        self.world.faults["partition"] += 1
        self.world.loop.after(duration, self._reconnect)

    def _reconnect(self) -> None:
        self.online = True
        if self.up:
            self.live_since = self.world.loop.now
            self.poll()

    def _suffer(self, outage: Outage) -> None:
        if outage not in self._outages or not self.up:
            return
        self._outages.remove(outage)
        self.disconnect(outage.duration) if outage.network else self.crash(outage.duration)

    def _boundary(self) -> bool:
        """One more point at which the process may die; True: it does."""
        self.boundaries += 1
        for outage in self._outages:
            if outage.at_boundary and self.boundaries >= outage.at_boundary:
                self._outages.remove(outage)
                self.crash(outage.duration)
                return True
        return False

    # Seeing

    def poll(self) -> None:
        """Read the chain soon."""
        if self.live and not self._polling:
            self._polling = True
            # A run of the process is known by its store: what was scheduled by an earlier run is ignored.
            self.world.loop.after(self.random.uniform(0.02, 0.2), self._read_chain, self.store)

    def _read_chain(self, run: Store) -> None:
        if run is not self.store:
            return
        self._polling = False
        if self.live:
            self.view = self.world.chain.model.state()
            self.wake()

    def receive(self, messages: tuple[Signed, ...]) -> None:
        """Gossip, or the answer to a sync: whatever is not of the round that it merges is forgotten."""
        current = self.store.round
        if not self.live or current is None:
            return
        new = [message for message in messages if message.signer != self.address and current.add(message)]
        if new:
            self.wake()

    def serves(self, who: "SimPeer", piece: Piece) -> bool:
        """Whether it answers this request; all honest ones do."""
        return self.honest or liars.serves(self, who, piece)

    def holds(self, piece: Piece) -> bool:
        """Whether the piece, or the file that it is of, is on the disk."""
        disk = self.disk
        return piece in disk or (piece[0] != "file" and ("file", piece[1], 0, 0) in disk)

    # Thinking

    def wake(self) -> None:
        """Decide soon; what comes until then is seen together."""
        if self.up and not self._thinking:
            self._thinking = True
            self.world.loop.after(self.random.uniform(0.01, 0.08), self._think, self.store)

    def _wake_later(self, at: float) -> None:
        if at < self._wake_at:
            self._wake_at = at
            self.world.loop.at(at - self.plan.skew + 1e-6, self._timer, self.store, at)

    def _timer(self, run: Store, at: float) -> None:
        if run is self.store and self._wake_at == at:
            self._wake_at = float("inf")
            self._thinking = True
            self._think(run)

    def _think(self, run: Store) -> None:
        if run is not self.store or not self.up:
            return
        self._thinking = False
        if self.view is None:
            return
        before = self.store.round
        self._observe(self.view)
        if self.store.round is not None and self.store.round is not before:
            for message in self.journal.messages_of(self.store.round):
                self.store.round.add(message, own=True)
            self._observe(self.view)
        wanted = self._decide(self.view)
        self.decisions += 1
        if self.decisions % IDEMPOTENCE_SAMPLE == 0:
            self._observe(self.view)
            if self._decide(self.view) != wanted:
                self.world.violation("8: decide is not idempotent", self.id)
        self._reconcile(wanted)
        if not self.honest:
            liars.mischief(self)

    def _observe(self, view: View) -> None:
        core.observe(view, self.store, self.world.plan.config, self.now)

    def _decide(self, view: View) -> tuple[Action, ...]:
        plan = self.world.plan
        return core.decide(view, self.store, plan.config, plan.knobs, self.now, self.world.keccak)

    def _reconcile(self, wanted: tuple[Action, ...]) -> None:
        now = frozenset(wanted)
        for action in [action for action in self.tasks if action not in now]:
            self.tasks.pop(action).cancelled = True
        for action in wanted:
            if isinstance(action, Wake):
                self._wake_later(action.at)
            elif isinstance(action, Keep):
                self._keep(action)
            elif isinstance(action, Finish):
                self.finished, self.up = True, False
                self.world.trace("finish", self.id)
                return
            elif action not in self.tasks:
                task = self.tasks[action] = Task(action, carry_out(self, action))
                self._resume(task)
                if not self.up:
                    return

    def _resume(self, task: Task) -> None:
        if task.cancelled or self._boundary():
            return
        try:
            delay = next(task.work)
        except StopIteration:
            if not isinstance(task.action, ONCE):
                self.tasks.pop(task.action, None)
            if not self._boundary():
                self.wake()
        else:
            self.world.loop.after(delay, self._resume, task)

    def _keep(self, action: Keep) -> None:
        if action.digests == self._kept or self.view is None:
            return
        self._kept = action.digests
        self.store.held &= action.digests
        oldest = self.view.round - 1
        self.disk = {
            piece for piece in self.disk if piece[1] in action.digests or self.slice_rounds.get(piece[1], -1) >= oldest
        }

    # Acting, for `carry`

    def send(self, transaction: Transaction) -> None:
        """Hand a journaled transaction to the chain; it may get lost on the way."""
        if not self.online or self.random.random() < self.world.plan.transaction_loss:
            self.world.faults["transaction lost"] += 1
            return
        self.world.loop.after(self.random.uniform(0.005, 0.05), self.world.chain.submit, transaction)

    def sign(self, body: RoundMessage) -> Signed:
        """Journal and sign."""
        if self.honest:
            self.world.checker.signing(self, body)
        signed = Signed(body, self.address, b"")
        self.journal.add(signed)
        return signed

    def remember(self, update: Update | None = None, report: Report | None = None) -> None:
        """Journal an update or a report, and take it into the store."""
        if update is not None:
            self.journal.update = self.store.update = update
        if report is not None:
            self.journal.report = self.store.report = report
