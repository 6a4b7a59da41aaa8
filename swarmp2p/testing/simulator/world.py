"""A simulated swarm: peers, gossip, content and chain on one clock, and the checkers that watch them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from random import Random

from swarmp2p.core.messages import Invite, Signed
from swarmp2p.core.types import Digest, Keccak, Phase
from swarmp2p.testing.contract_model import Block, ContractModel
from swarmp2p.testing.simulator.chain import Chain, Transaction
from swarmp2p.testing.simulator.checkers import Checker
from swarmp2p.testing.simulator.content import Content
from swarmp2p.testing.simulator.loop import Loop
from swarmp2p.testing.simulator.peer import SimPeer
from swarmp2p.testing.simulator.plan import FAR, START, Plan, digest_of


def fast_keccak(data: bytes) -> bytes:
    """Stands for Keccak-256, which is ten times slower without a native library and no different to the protocol."""
    return hashlib.sha256(data).digest()


@dataclass(slots=True)
class Outcome:
    """What came of a simulated swarm."""

    seed: int
    finalized: int = 0
    aborted: int = 0
    eligible: int = 0
    """Sealed rounds with at least q honest live members and enough reachable updates."""
    eligible_finalized: int = 0
    stalled: list[int] = field(default_factory=list)
    """Eligible rounds that were not finalized."""
    violations: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    end: str = ""
    seconds: float = 0.0
    """Simulated time."""
    events: int = 0
    trace: str = ""
    """Hash over everything that happened."""
    head: Digest = b""


class World:
    """One run of one plan."""

    def __init__(
        self,
        plan: Plan,
        *,
        model_class: type[ContractModel] = ContractModel,
        show: Callable[[str], None] | None = None,
    ) -> None:
        self.plan, self.random, self.start = plan, Random(plan.seed ^ 0x5EED), float(START)
        self.loop = Loop(self.start)
        self.keccak: Keccak = fast_keccak
        self.faults: Counter[str] = Counter()
        self.violations: list[str] = []
        self._show = show
        self._hash = hashlib.sha256()
        self._once: set[Hashable] = set()
        self._better: dict[Digest, bool] = {}
        self.content = Content(self.random, plan.fetch_loss, plan.undialable)
        model = model_class.deploy(plan.config, digest_of("salt", plan.seed), fast_keccak, Block(1, START))
        self.chain = Chain(self.loop, self.random, model, plan.block_time, self._mined, self._changed)
        self.peers = [SimPeer(i, peer, self, Random(plan.seed * 1000 + i)) for i, peer in enumerate(plan.peers)]
        self.content.peers = self.peers
        self.by_address = {peer.address: peer for peer in self.peers}
        self.checker = Checker(self)
        self._seen_events = 0

    def run(self) -> Outcome:
        """Run until all peers have finished or died, or the limit."""
        for peer in self.peers:
            self._enrol(peer)
        self.loop.run(self.start + self.plan.limit, self._over)
        self.checker.end()
        outcome = self.checker.outcome
        outcome.violations, outcome.faults = self.violations, self.faults
        outcome.end = self.chain.model.stop_reason.name if self.chain.model.phase is Phase.STOPPED else "LIMIT"
        outcome.seconds, outcome.events = self.loop.now - self.start, self.loop.events
        outcome.trace, outcome.head = self._hash.hexdigest(), self.chain.model.head
        return outcome

    def _over(self) -> bool:
        return self.chain.model.phase is Phase.STOPPED and all(peer.finished or not peer.up for peer in self.peers)

    def _enrol(self, peer: SimPeer) -> None:
        plan = peer.plan
        invite = Invite(peer.address, 0, 1 << 31, FAR, 0, self.plan.config.purpose, FAR)
        joins = self.start + plan.joins_at
        self.loop.at(joins, self.chain.submit, Transaction(peer.address, invite))
        self.loop.at(joins + plan.starts_at, peer.start)
        self.faults["joiner"] += plan.joins_at > 0
        self.faults["liar"] += bool(plan.lies)
        for lie in plan.lies:
            self.faults[f"liar: {lie.name.lower().replace('_', ' ')}"] += 1

    # Gossip

    def broadcast(self, sender: SimPeer, messages: tuple[Signed, ...]) -> None:
        """Send to everybody; some of it is lost, late or doubled."""
        plan, random = self.plan, self.random
        if not sender.online:
            self.faults["message lost"] += len(self.peers) - 1
            return
        for peer in self.peers:
            if peer is sender:
                continue
            if random.random() < plan.loss:
                self.faults["message lost"] += 1
                continue
            self.loop.after(random.expovariate(1.0 / plan.delay), peer.receive, messages)
            if random.random() < plan.duplicates:
                self.faults["message doubled"] += 1
                self.loop.after(random.expovariate(0.2 / plan.delay), peer.receive, messages)

    # Chain

    def _mined(self, transaction: Transaction, error: str) -> None:
        peer = self.by_address[transaction.sender]
        peer.journal.pending.pop(transaction, None)
        self.trace("mined", peer.id, type(transaction.call).__name__, error)
        events = self.chain.model.events[self._seen_events :]
        self._seen_events += len(events)
        self.checker.mined(transaction, error, events)

    def _changed(self) -> None:
        for peer in self.peers:
            peer.poll()

    # For peers and checkers

    def is_better(self, head: Digest) -> bool:
        """Whether honest validation finds this head better than the best."""
        return self._better.setdefault(head, self.random.random() < self.plan.improves)

    def once(self, key: Hashable) -> bool:
        """True the first time that it is asked for a key."""
        if key in self._once:
            return False
        self._once.add(key)
        return True

    def violation(self, what: str, peer: int | None = None) -> None:
        """Note that an invariant does not hold."""
        text = what if peer is None else f"{what} (peer {peer})"
        self.trace("violation", -1, text)
        if text not in self.violations:
            self.violations.append(text)

    def trace(self, what: str, peer: int, *details: object) -> None:
        """Note what happens."""
        line = f"{self.loop.now - self.start:.6f} {what} {peer} {details}"
        self._hash.update(line.encode())
        if self._show is not None:
            self._show(line)
