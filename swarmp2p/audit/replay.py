"""The swarm's past, event by event: what each may do by the contract's rules, and what follows from it (section 4)."""

from swarmp2p.audit.decisions import Decisions
from swarmp2p.audit.evidence import Evidence, RoundEvidence
from swarmp2p.audit.lineage import Lineage
from swarmp2p.audit.report import Report, expect, misfit, shown
from swarmp2p.audit.roll import Roll, indexes
from swarmp2p.audit.round_checks import RoundChecks
from swarmp2p.content.unixfs import cid
from swarmp2p.core.history import (
    Activated,
    Enrolled,
    Expelled,
    Extended,
    Idled,
    Left,
    Merged,
    Opened,
    Record,
    Reopened,
    Reported,
    RolledBack,
    Sealed,
    Stopped,
    Updated,
)
from swarmp2p.core.threshold import threshold
from swarmp2p.core.types import Digest, Phase, StopReason

_AT_SEAL = (StopReason.TARGET, StopReason.PATIENCE)


class Replay:
    """The contract's state as far as it was told; what fits is added to a report.

    Raises:
        Misfit: at the first event that does not fit.
    """

    def __init__(self, evidence: Evidence, report: Report) -> None:
        self._evidence, self._config, self._report = evidence, evidence.config, report
        self._roll = Roll(evidence.config)
        self._lineage = Lineage(evidence.config)
        self._decisions = Decisions(evidence.config, evidence.domain, self._roll)
        self._rounds = RoundChecks(evidence, self._roll)
        self._current = RoundEvidence(0)
        self._phase = Phase.STOPPED
        self._threshold = self._sealed_rounds = self._merged_rounds = self._quiet_since = 0
        self._last: Record | None = None

    @property
    def _round(self) -> int:
        return self._current.round

    def _cid(self, digest: Digest) -> str:
        return str(cid(digest, self._config.size))

    @property
    def _counted_from(self) -> int:
        """A round that is still collecting is no miss."""
        return self._sealed_rounds + (self._phase == Phase.COLLECTING)

    def tell(self, record: Record) -> None:
        """The next event, in the chain's order."""
        match record:
            case Opened():
                self._opened(record)
            case Enrolled():
                self._decisions.enrolment(record, self._round)
                self._roll.enrol(record, self._round, self._counted_from)
            case Activated():
                self._in_round(record)
                self._roll.activate(record, self._counted_from)
            case Idled():
                self._in_round(record)
                self._roll.idle(record, self._sealed_rounds)
            case Left():
                self._in_round(record)
                self._roll.leave(record)
            case Updated():
                self._updated(record)
            case Extended():
                self._in_round(record, Phase.COLLECTING)
                expect(self._round, "threshold extended to", self._current.roster.bit_count(), record.threshold)
                self._threshold = record.threshold
            case Sealed():
                self._sealed(record)
            case Merged():
                self._merged(record)
            case Expelled():
                self._expelled(record)
            case RolledBack() | Reopened():
                self._went_back(record)
            case Stopped():
                self._stopped(record)
            case Reported():
                self._reported(record)
        self._last = record

    def _in_round(self, record: Record, *phases: Phase) -> None:
        """An event is of the round that is open, and of one of these phases, if any are given."""
        name = type(record).__name__
        expect(self._round, f"round of an event {name}", self._round, getattr(record, "round"))  # noqa: B009
        if phases and self._phase not in phases:
            allowed = " or ".join(phase.name for phase in phases)
            misfit(self._round, f"phase in which there is an event {name}", allowed, self._phase.name)

    # ---- rounds

    def _opened(self, record: Opened) -> None:
        number, active = self._round + 1, self._roll.active
        expect(number, "number of the round that opens", number, record.round)
        what = "parent, from which its updates were trained"
        expect(number, what, self._cid(self._lineage.head), self._cid(record.head))
        expect(number, "ACTIVE members when it opened", indexes(active), indexes(record.wait_for))
        expect(number, "threshold", threshold(self._config, number, active.bit_count()), record.threshold)
        self._current, self._phase, self._threshold = RoundEvidence(number), Phase.COLLECTING, record.threshold
        self._roll.open_round()
        self._lineage.clear_reports()
        if number == 1:
            self._quiet_since = record.block_timestamp

    def _updated(self, record: Updated) -> None:
        self._in_round(record, Phase.COLLECTING)
        self._rounds.update(self._round, record)
        entry = self._roll.entries[record.address]
        if not self._roll.active >> entry.index & 1:
            misfit(self._round, f"event Activated of {shown(record.address)}, who was IDLE", "one", "none")
        entry.submitted_in, entry.counted_from = self._round, self._counted_from
        self._lineage.report(record.flags)
        self._current.updates.append(record)

    def _sealed(self, record: Sealed) -> None:
        self._in_round(record, Phase.COLLECTING)
        reason = self._lineage.judge(self._threshold)
        if reason != StopReason.NONE:
            misfit(self._round, "what the reports on the head led to", f"a stop, {reason.name}", "a merge")
        self._current.sealed = record
        self._sealed_rounds += 1
        self._phase = Phase.MERGING

    def _merged(self, record: Merged) -> None:
        self._in_round(record)
        if self._phase == Phase.STOPPED:
            misfit(self._round, "merges after the swarm stopped", "none", self._cid(record.merged))
        lineage = self._lineage
        checked = self._rounds.merge(self._current, record, lineage.head_round, lineage.head)
        self._merged_rounds += 1
        if self._merged_rounds > lineage.max_rounds:
            misfit(self._round, "merged rounds", f"{lineage.max_rounds} or fewer", self._merged_rounds)
        lineage.merge(self._round, record.merged)
        self._roll.exclude(record.excluded)
        self._quiet_since = record.block_timestamp
        self._report.rounds.append(checked)

    # ---- decisions

    def _expelled(self, record: Expelled) -> None:
        self._report.votes.append(self._decisions.vote(record, self._round))
        known = self._roll.entries.get(record.address)
        barred = known is not None and known.expelled_in != 0
        # A seal that the expulsion makes possible is told of before it.
        sealed_by_it = isinstance(self._last, Sealed) or (
            isinstance(self._last, Stopped) and self._last.reason in _AT_SEAL
        )
        rounds = {self._round + (self._phase == Phase.STOPPED)} | ({self._round} if sealed_by_it else set())
        entry = self._roll.expel(record, self._round, sorted(rounds))
        submitted = entry.submitted_in == self._round and not barred
        may = submitted and (self._phase == Phase.COLLECTING or sealed_by_it)
        must = submitted and self._phase == Phase.COLLECTING
        if record.banned not in {may, must}:
            expected = "yes, since it was there" if must else "no, since there was none in a round that collects"
            what = f"whether the update of {shown(record.address)} was forced out"
            misfit(self._round, what, expected, "yes" if record.banned else "no")
        if record.banned:
            self._current.banned |= 1 << entry.index

    def _went_back(self, record: RolledBack | Reopened) -> None:
        if isinstance(record, RolledBack):
            self._in_round(record, Phase.COLLECTING, Phase.MERGING)
        else:
            self._in_round(record, Phase.STOPPED)
        vote = self._decisions.vote(record, self._round)
        if isinstance(record, RolledBack):
            behind = self._lineage.roll_back(record)
        else:
            behind = self._lineage.reopen(record, self._merged_rounds)
        for each in self._report.rounds:
            if each.round in behind:
                each.left_by = vote.vote.ballot
        self._report.votes.append(vote)
        self._quiet_since = record.block_timestamp

    def _stopped(self, record: Stopped) -> None:
        self._in_round(record, Phase.COLLECTING, Phase.MERGING)
        if record.reason == StopReason.VOTE:
            self._report.votes.append(self._decisions.vote(record, self._round))
        elif record.reason == StopReason.ABANDONED:
            self._check_abandoned(record)
        elif record.reason == StopReason.MAX_ROUNDS:
            expect(self._round, "merged rounds when it stopped", self._lineage.max_rounds, self._merged_rounds)
        else:
            expect(self._round, "phase in which it stopped", Phase.COLLECTING.name, self._phase.name)
            reason = self._lineage.judge(self._threshold)
            expect(self._round, "what the reports on the head led to", reason.name, record.reason.name)
        expect(self._round, "head when it stopped", self._cid(self._lineage.head), self._cid(record.head))
        expect(self._round, "best model when it stopped", self._cid(self._lineage.best), self._cid(record.best))
        self._phase = Phase.STOPPED

    def _check_abandoned(self, record: Stopped) -> None:
        until = self._quiet_since + self._config.abandon_after
        if record.block_timestamp < until:
            misfit(self._round, "time when it was abandoned", f"{until} or later", record.block_timestamp)

    def _reported(self, record: Reported) -> None:
        if self._phase != Phase.STOPPED:
            misfit(self._round, "phase in which there is an event Reported", Phase.STOPPED.name, self._phase.name)
        expect(self._round, "head that is reported on", self._cid(self._lineage.head), self._cid(record.head))
        if self._roll.enrolled(record.address) is None:
            misfit(self._round, "sender of a report", "a member", f"{shown(record.address)}, who is none")
        self._lineage.report(record.flags)
        self._lineage.judge(self._threshold)

    # ---- the end

    def check_view(self) -> None:
        """The contract's state is what follows from its events."""
        view, lineage = self._evidence.view, self._lineage
        for what, follows, found in (
            ("round", self._round, view.round),
            ("phase", self._phase.name, Phase(view.phase).name),
            ("round of the head", lineage.head_round, view.head_round),
            ("merged rounds", self._merged_rounds, view.merged_rounds),
            ("round of the best model", lineage.best_round, view.best_round),
            ("best model", self._cid(lineage.best), self._cid(view.best)),
            ("max_rounds", lineage.max_rounds, view.max_rounds),
            ("number of the next vote", self._decisions.ballots, view.ballot),
            ("ACTIVE members", indexes(self._roll.active), indexes(view.active)),
            ("voters", indexes(self._roll.electorate), indexes(view.voters)),
        ):
            expect(self._round, f"{what}, as follows from the events", follows, found)
