"""Which model is the head and which the best, as the chain's events tell it one after the other (section 4)."""

from swarmp2p.audit.report import expect, misfit
from swarmp2p.content.unixfs import cid
from swarmp2p.core.config import Config
from swarmp2p.core.history import Reopened, RolledBack
from swarmp2p.core.stopping import majority
from swarmp2p.core.types import Digest, ReportFlag, StopReason


class Lineage:
    """Head and best model, as of the last event that it was told of."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.models: dict[int, Digest] = {0: config.genesis}
        """By the round that merged it; 0: the genesis. With those that were left behind."""
        self.parents: dict[int, int] = {}
        self.head_round = self.best_round = 0
        self.max_rounds = config.max_rounds
        self._judged_round = self._stale = 0
        self._reports: list[ReportFlag] = []
        """On the head, in this round."""

    @property
    def head(self) -> Digest:
        """The model that is trained from."""
        return self.models[self.head_round]

    @property
    def best(self) -> Digest:
        """The best model by vote."""
        return self.models[self.best_round]

    def descends(self, round_: int) -> set[int]:
        """Rounds that a round's model descends from, with itself, without the genesis."""
        rounds = set[int]()
        while round_:
            rounds.add(round_)
            round_ = self.parents[round_]
        return rounds

    def merge(self, round_: int, merged: Digest) -> None:
        """A round's merged model is the head."""
        self.models[round_], self.parents[round_] = merged, self.head_round
        self.head_round = round_
        self.clear_reports()

    def clear_reports(self) -> None:
        """A round opens, or the reports were on another head."""
        self._reports.clear()

    def report(self, flags: ReportFlag) -> None:
        """A member's report on the head."""
        if flags:
            self._reports.append(flags)

    def judge(self, threshold: int) -> StopReason:
        """The vote on the head, once a head and only with enough reports. Returns why to stop, if so."""
        count = len(self._reports)
        if count < threshold or self._judged_round == self.head_round:
            return StopReason.NONE
        self._judged_round = self.head_round
        reached, improved = (
            majority(sum(flag in flags for flags in self._reports), count)
            for flag in (ReportFlag.REACHED, ReportFlag.IMPROVED)
        )
        if reached or improved:
            self.best_round, self._stale = self.head_round, 0
            return StopReason.TARGET if reached else StopReason.NONE
        self._stale += 1
        patience = self._config.patience
        return StopReason.PATIENCE if patience and self._stale >= patience else StopReason.NONE

    def roll_back(self, record: RolledBack) -> set[int]:
        """The head is an older one again. Returns the rounds that are left behind."""
        ancestors = self.descends(self.head_round) | {0}
        if record.to_round not in ancestors - {self.head_round}:
            expected = f"one that the head, of round {self.head_round}, descends from"
            misfit(record.round, "round that the swarm went back to", expected, record.to_round)
        self.best_round = min(self.best_round, record.to_round)
        return self._go_to(record, record.to_round)

    def reopen(self, record: Reopened, merged_rounds: int) -> set[int]:
        """The best model is the head. Returns the rounds that are left behind."""
        if record.max_rounds <= merged_rounds:
            misfit(record.round, "max_rounds of the reopening", f"more than {merged_rounds}", record.max_rounds)
        self.max_rounds = record.max_rounds
        return self._go_to(record, self.best_round)

    def _go_to(self, record: RolledBack | Reopened, to_round: int) -> set[int]:
        what = "model that the swarm went back to" if isinstance(record, RolledBack) else "model that it reopened with"
        model = self.models[to_round]
        expect(record.round, what, str(cid(model, self._config.size)), str(cid(record.head, self._config.size)))
        behind = self.descends(self.head_round) - self.descends(to_round)
        self.head_round = self._judged_round = to_round
        self._stale = 0
        return behind
