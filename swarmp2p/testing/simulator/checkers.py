"""What must hold in every simulated swarm: the invariants of docs/protocol.md, section 10, by their numbers there.

The checkers keep their own account, from events and from what they know of the peers; they do not ask the contract's
rules whether the contract's rules were kept.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swarmp2p.core.messages import Attestation, Claim, RoundMessage
from swarmp2p.core.types import NO_DIGEST, Address, Bitmap, Digest, Phase, bits
from swarmp2p.testing.contract_model import ContractModel, Event, Reverted
from swarmp2p.testing.simulator.chain import Transaction
from swarmp2p.testing.simulator.content import honest_slice, root_of, whole

if TYPE_CHECKING:
    from swarmp2p.testing.simulator.peer import SimPeer
    from swarmp2p.testing.simulator.world import World

STRANGER: Address = b"\xff" * 20
LONG = 400.0
"""Seconds after which a swarm with enough live members must have got on: two collect timeouts, a merge, and some."""


@dataclass(slots=True)
class RoundAccount:
    """What the checkers know of a round."""

    number: int
    opened: float
    waited_for: set[Address]
    threshold: int
    reached: float | None = None
    """When the threshold was reached."""
    count: int = 0
    roster: Bitmap = 0
    inputs: Digest = NO_DIGEST
    k: int = 0
    sealed: float | None = None
    updates: dict[int, Digest] = field(default_factory=dict)


class Checker:
    """Watches one world."""

    def __init__(self, world: "World") -> None:
        from swarmp2p.testing.simulator.world import Outcome

        self._world = world
        self.outcome = Outcome(world.plan.seed)
        self._config = world.plan.config
        self._active: set[Address] = set()
        self._enrolled: dict[Address, float] = {}
        self._lost_standing: dict[Address, int] = {}
        """Round in which a member was made IDLE last."""
        self._stopped = float("inf")
        self._heads: dict[int, Digest] = {0: self._config.genesis}
        first = RoundAccount(1, world.loop.now, set(), self._config.initial_members)
        self._rounds = {1: first}
        self._now = first

    # Events of the contract

    def mined(self, transaction: Transaction, error: str, events: list[Event]) -> None:
        """After each transaction."""
        model = self._world.chain.model
        if model.submitted.bit_count() != model.count:
            self._world.violation("6: popcount(submitted) differs from count")
        if error and events:
            self._world.violation("a reverted call left events")
        for event in events:
            self._world.trace("event", -1, event.name, *event.args[:2])
            handler = getattr(self, f"_on_{event.name.lower()}", None)
            if handler is not None:
                handler(*event.args)
        if not error:
            self._always_enabled(model)

    def _on_enrolled(self, account: Address, *_: object) -> None:
        self._active.add(account)
        self._enrolled[account] = self._world.loop.now
        if self._now.number == 1 and self._now.sealed is None:
            self._now.waited_for.add(account)

    def _on_activated(self, account: Address, _: int) -> None:
        self._active.add(account)

    def _on_idled(self, account: Address, round_: int) -> None:
        self._active.discard(account)
        self._lost_standing[account] = round_

    def _on_updated(self, round_: int, account: Address, index: int, digest: Digest, *_: object) -> None:
        self._now.count += 1
        self._now.updates[index] = digest
        self._note_reached()

    def _note_reached(self) -> None:
        if self._now.reached is None and self._now.count >= self._now.threshold:
            self._now.reached = float(self._world.chain.model.block.timestamp)

    def _on_extended(self, round_: int, _: int) -> None:
        account, now = self._now, self._world.chain.model.block.timestamp
        if now < account.opened + self._config.collect_timeout or account.count < self._config.min_updates:
            self._world.violation("4: extended too early")
        account.threshold = account.count
        self._note_reached()

    def _on_sealed(self, round_: int, inputs: Digest, roster: Bitmap, k: int) -> None:
        account, now = self._now, self._world.chain.model.block.timestamp
        account.sealed, account.inputs, account.roster, account.k = self._world.loop.now, inputs, roster, k
        self._check_waiting(account, now)

    def _check_waiting(self, account: RoundAccount, now: float) -> None:
        """11: nobody who could still be in time is left behind."""
        submitted = {self._world.chain.model.at[index] for index in account.updates}
        graced = account.reached is not None and now >= account.reached + self._config.grace
        if graced:
            return
        if account.waited_for - submitted:
            self._world.violation(f"11: round {account.number} sealed without waiting for members that it waits for")
        for peer in self._world.peers:
            if peer.address not in submitted and self._ought_to_be_waited_for(peer, account.number):
                self._world.violation(f"11: round {account.number} did not wait", peer.id)

    def _ought_to_be_waited_for(self, peer: "SimPeer", round_: int) -> bool:
        """Honest, and running and online for two whole rounds before this one."""
        earlier = self._rounds.get(round_ - 2)
        return (
            peer.honest
            and earlier is not None
            and max(peer.live_since, self._enrolled.get(peer.address, float("inf"))) <= earlier.opened
            and self._lost_standing.get(peer.address, 0) < round_ - 2
        )

    def _on_merged(self, round_: int, merged: Digest, included: Bitmap, excluded: Bitmap, parent: int) -> None:
        world, account = self._world, self._now
        if round_ in self._heads:
            world.violation("1: two results of one round")
        if parent not in self._heads or parent != max(self._heads):
            world.violation("1: the lineage does not reach genesis")
        self._heads[round_] = merged
        slices = tuple(honest_slice(account.inputs, excluded, j) for j in range(account.k))
        if merged != root_of(slices):
            world.violation("2: a wrong digest on the chain")
        for index in bits(included):
            if world.content.library.invalid.get(account.updates[index]) is not None:
                world.violation("2: an invalid update in a merged model")
        for index in bits(excluded):
            peer = world.by_address[world.chain.model.at[index]]
            self._active.discard(peer.address)
            self._lost_standing[peer.address] = round_
            if peer.honest and self._was_there(peer, account) and not self._cut_off(account):
                world.violation("2: an honest reachable member was excluded", peer.id)
        self.outcome.finalized += 1
        self._note_end_of_merge(finalized=True)

    def _on_aborted(self, _: int) -> None:
        self.outcome.aborted += 1
        self._note_end_of_merge(finalized=False)

    def _note_end_of_merge(self, *, finalized: bool) -> None:
        """3: q honest live members and enough reachable updates make a round finalize."""
        if not self._eligible(self._now):
            return
        self.outcome.eligible += 1
        if finalized:
            self.outcome.eligible_finalized += 1
        else:
            self.outcome.stalled.append(self._now.number)

    def _eligible(self, account: RoundAccount) -> bool:
        if account.sealed is None:
            return False
        world = self._world
        # Who came back only at the end had no time to do its part.
        since = max(account.sealed, world.loop.now - self._config.merge_timeout / 2)
        live = [p for p in self._members_of(account) if p.honest and p.live_since <= since]
        if any((a.id, b.id) in world.plan.undialable for a in live for b in live):
            # Too few for an exclusion may be unable to reach an update, and too few others able to.
            return False
        return len(live) >= max(self._config.q, -(-account.count // 2))

    def _was_there(self, peer: "SimPeer", account: RoundAccount) -> bool:
        return peer.live_since <= (account.sealed or 0.0) and self._dialable(peer, account)

    def _cut_off(self, account: RoundAccount) -> bool:
        """Whether so many honest members lost the others for a while that they could take them for gone: with f = 0
        one of them is enough to exclude somebody."""
        cut_off = [p for p in self._members_of(account) if p.honest and p.live_since > (account.sealed or 0.0)]
        return len(cut_off) >= self._config.q

    def _members_of(self, account: RoundAccount) -> list["SimPeer"]:
        world = self._world
        return [world.by_address[world.chain.model.at[index]] for index in bits(account.roster)]

    def _dialable(self, peer: "SimPeer", account: RoundAccount) -> bool:
        """Whether the roster can reach a peer. Others pass on what they hold, but a slice only those who merge it."""
        undialable = self._world.plan.undialable
        return not any((other.id, peer.id) in undialable for other in self._members_of(account))

    def _on_stopped(self, *_: object) -> None:
        self._stopped = self._world.loop.now

    def _on_opened(self, round_: int, *_: object) -> None:
        threshold = max(self._config.min_updates, -(-self._config.frac_bps * len(self._active) // 10_000))
        now = float(self._world.chain.model.block.timestamp)
        self._now = self._rounds[round_] = RoundAccount(round_, now, set(self._active), threshold)

    # Questions of the kind "what if"

    def _always_enabled(self, model: ContractModel) -> None:
        """4: a stranger can end a merge that nobody works on, and seal or extend a round with enough updates."""
        if model.phase is Phase.STOPPED or not self._world.once(("enabled", model.round, model.phase, model.count)):
            return
        later = model.clone()
        if model.phase is Phase.MERGING:
            later.block.timestamp = max(model.block.timestamp, model.sealed_at + self._config.merge_timeout)
            steps = 1
        elif model.count >= self._config.min_updates:
            later.block.timestamp += self._config.collect_timeout + self._config.grace
            steps = 2
        else:
            return
        for _ in range(steps):
            try:
                later.advance(STRANGER, ())
            except Reverted:
                self._world.violation(f"4: nothing is enabled in {model.phase.name} of round {model.round}")
                return
            if later.phase is not model.phase or later.round != model.round:
                return
            later.block.timestamp += self._config.grace
        self._world.violation(f"4: round {model.round} goes nowhere from {model.phase.name}")

    # Peers

    def signing(self, peer: "SimPeer", body: RoundMessage) -> None:
        """An honest member is about to sign: only what it did, and no contradiction (section 7)."""
        current = peer.store.round
        if not isinstance(body, Claim | Attestation) or current is None:
            return
        if peer.journal.contradicts(body):
            self._world.violation("7: an honest member would contradict itself", peer.id)
        if isinstance(body, Claim) and current.computed.get((body.excluded, body.slice)) != body.digest:
            self._world.violation("7: an honest member claims what it did not compute", peer.id)
        if isinstance(body, Attestation) and body.merged != NO_DIGEST:
            signed_before = 0
            for message in peer.journal.messages_of(current):
                if isinstance(message.body, Attestation) and message.body.excluded == body.excluded:
                    signed_before |= message.body.mask
            for slice_ in bits(body.mask & ~signed_before):
                if current.computed.get((body.excluded, slice_)) != body.slices[slice_]:
                    self._world.violation("7: an honest member attests what it did not compute", peer.id)
            if root_of(body.slices) != body.merged:
                self._world.violation("7: an honest member attests a root that it did not build", peer.id)

    def end(self) -> None:
        """When the simulation is over: the chain has the right end, and all who are there have the head."""
        world, model = self._world, self._world.chain.model
        if self._heads[model.head_round] != model.head:
            world.violation("1: the head is not the last result")
        if self._head_lost(model):
            world.faults["head lost with its only holder (f = 0)"] += 1
            return
        if model.phase is not Phase.STOPPED:
            self._check_stuck(model)
            return
        ended = [peer for peer in world.peers if peer.finished]
        for peer in world.peers:
            # Who comes back when the others have served for long enough and gone finds nobody.
            here = peer.finished or (peer.live_since <= self._stopped and self._can_have_head(peer, ended, model.head))
            if peer.address in self._enrolled and peer.honest and here and not peer.holds(whole(model.head)):
                world.violation("9: a live member does not have the last head", peer.id)

    def _can_have_head(self, peer: "SimPeer", there: list["SimPeer"], head: Digest) -> bool:
        dialable = [p for p in there if p is peer or (peer.id, p.id) not in self._world.plan.undialable]
        return any(p.holds(whole(head)) for p in dialable)

    def _head_lost(self, model: ContractModel) -> bool:
        """With f = 0 one attestation is enough, and who gave it may have died with the only copy."""
        holders = [p for p in self._world.peers if (p.up or p.finished) and p.holds(whole(model.head))]
        return self._config.f == 0 and not holders

    def _check_stuck(self, model: ContractModel) -> None:
        """3, 4: with enough live members the swarm must have got on within a long time."""
        world, account = self._world, self._now
        since = max(account.opened, account.sealed or 0.0)
        if world.loop.now - since < LONG:
            return
        there = [p for p in world.peers if world.loop.now - p.live_since > LONG]
        live = [p for p in there if p.honest and self._can_have_head(p, there, model.head)]
        if len(live) >= self._config.min_updates:
            world.violation(f"4: stuck in {model.phase.name} of round {model.round} for {LONG:.0f} s")
