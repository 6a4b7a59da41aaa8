"""The transitions between rounds and phases (docs/protocol.md, section 4): twin of contracts/src/SwarmRounds.sol."""

from __future__ import annotations

from swarmp2p.core.election import round_seed
from swarmp2p.core.slices import leaders_in_force
from swarmp2p.core.stopping import majority
from swarmp2p.core.types import Address, Phase, ReportFlag, Status, StopReason
from swarmp2p.testing.contract_state import ContractState, Enrolled, Event, Reverted


class ContractRounds(ContractState):
    """The steps that calls are made of."""

    __slots__ = ()

    # Rules, one method each

    def threshold_for(self, waited_for: int) -> int:
        """T of a round after the first: max(minUpdates, ceil(frac * waited_for))."""
        return max(self.config.min_updates, -(-self.config.frac_bps * waited_for // 10_000))

    def sealable(self) -> bool:
        """Everybody who is waited for is in, or T is reached and the grace is over."""
        count = self.roster.bit_count()
        if count >= self.threshold and self.seal_at and self.block.timestamp >= self.seal_at:
            return True
        needed = self.threshold if self.round == 1 else self.config.min_updates
        return self.wait_for & ~self.submitted == 0 and count >= needed

    def floor_of_included(self) -> int:
        """Updates that a merge must include."""
        return max(1, -(-self.roster.bit_count() // 2))

    def extend(self) -> None:
        """Be content with the updates that are there; the waiting set stays."""
        self.threshold = self.roster.bit_count()
        self.seal_at = self.block.timestamp + self.config.grace
        self.extend_at = 0
        self._emit("Extended", self.round, self.threshold)

    # Inner steps

    def _refuse(self, wrong: bool, name: str) -> None:
        if wrong:
            raise Reverted(name)

    def _emit(self, name: str, *args: object) -> None:
        self.events.append(Event(name, args))

    def _enrolled(self, account: Address) -> Enrolled:
        member = self.members.get(account)
        if member is None or member.standing != Status.IDLE:
            raise Reverted("NotAMember")
        return member

    def _authorised(self, account: Address) -> Enrolled:
        member = self._enrolled(account)
        self._refuse(self.block.timestamp > member.expires, "MemberExpired")
        return member

    def _activate(self, sender: Address, member: Enrolled) -> None:
        self.active |= 1 << member.index
        self.voters |= 1 << member.index
        self._emit("Activated", sender, self.round)

    def _counted_from(self) -> int:
        # A round that is still collecting is no miss.
        return self.sealed_rounds + (self.phase == Phase.COLLECTING)

    def _tally(self, member: Enrolled, metric: int, flags: int) -> None:
        self.reports += 1
        self.reached += bool(flags & ReportFlag.REACHED)
        self.improved += bool(flags & ReportFlag.IMPROVED)
        self.metric_sum += metric * member.weight
        self.metric_weight += member.weight

    def _schedule(self) -> None:
        if self.seal_at:
            return
        count = self.roster.bit_count()
        if count >= self.threshold:
            self.seal_at = self.block.timestamp + self.config.grace
            self.extend_at = 0
        elif count == self.config.min_updates:
            self.extend_at = self._next_extension()

    def _unschedule(self) -> None:
        count = self.roster.bit_count()
        if count >= self.threshold:
            return
        self.seal_at = 0
        if count < self.config.min_updates:
            self.extend_at = 0
        elif not self.extend_at:
            self.extend_at = self._next_extension()

    def _next_extension(self) -> int:
        passed = (self.block.timestamp - self.opened_at) // self.config.collect_timeout
        return self.opened_at + (passed + 1) * self.config.collect_timeout

    def _release(self, index: int) -> None:
        self.active &= ~(1 << index)
        self.voters &= ~(1 << index)
        self.wait_for &= ~(1 << index)
        self.freed |= 1 << index

    def _seal_if_complete(self) -> None:
        if self.phase == Phase.COLLECTING:
            self._try_seal()

    def _try_seal(self) -> bool:
        if not self.sealable():
            return False
        reason = self._judge()
        if reason != StopReason.NONE:
            self._stop(reason)
            return True
        self.phase = Phase.MERGING
        self.sealed_at = self.block.timestamp
        self.k = leaders_in_force(self.config.k_max, self.roster.bit_count(), self.config.chunks)
        self.sealed_rounds += 1
        self._emit("Sealed", self.round, self.inputs, self.roster, self.k)
        return True

    def _judge(self) -> StopReason:
        if self.reports < self.threshold or self.judged_round == self.head_round:
            return StopReason.NONE
        self.judged_round = self.head_round
        reached = majority(self.reached, self.reports)
        if reached or majority(self.improved, self.reports):
            self.best = self.head
            self.best_round = self.head_round
            self.stale = 0
        else:
            self.stale += 1
        if reached:
            return StopReason.TARGET
        if self.config.patience and self.stale >= self.config.patience:
            return StopReason.PATIENCE
        return StopReason.NONE

    def _open(self, threshold: int) -> None:
        self.round += 1
        self.phase = Phase.COLLECTING
        self.opened_at = self.block.timestamp
        self.seal_at = self.sealed_at = self.extend_at = 0
        self.count = self.k = 0
        self.threshold = threshold
        self._clear_reports()
        self.inputs = round_seed(self.salt, self.round, self.head, self.keccak)
        self.submitted = self.banned = 0
        self.held &= ~self.freed
        self.freed = 0
        self.wait_for = self.active
        self._emit("Opened", self.round, self.head, self.wait_for, threshold)

    def _clear_reports(self) -> None:
        self.reports = self.reached = self.improved = self.metric_sum = self.metric_weight = 0

    def _open_next(self) -> None:
        self._open(self.threshold_for(self.active.bit_count()))

    def _abort(self) -> None:
        self._emit("Aborted", self.round)
        self._open_next()

    def _stop(self, reason: StopReason) -> None:
        self.phase = Phase.STOPPED
        self.stop_reason = reason
        self._emit("Stopped", self.round, reason, self.head, self.best)
