"""The stop rule: votes, not means (docs/protocol.md, section 4, "seal"). Twin of the contract's rule.

One liar moves nothing: stopping and choosing the best model take a strict majority of the reports on the head.
"""

from dataclasses import dataclass

from swarmp2p.core.types import Digest, StopReason
from swarmp2p.core.view import View


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the contract stores after it applied the stop rule."""

    judged: bool
    """False: too few reports, or this head was judged before. Nothing changes then."""
    best: Digest
    best_round: int
    stale: int
    """Judged heads in a row without improvement."""
    reason: StopReason
    """NONE: go on."""


def majority(votes: int, reports: int) -> bool:
    """A strict majority."""
    return 2 * votes > reports


def judge(view: View, patience: int, *, threshold: int | None = None) -> Verdict:
    """Apply the stop rule to the reports on the head.

    Args:
        view: the state just before the seal (or after a report on the last head).
        patience: `Config.patience`; 0: off.
        threshold: reports needed; None: the round's T.
    """
    unchanged = Verdict(False, view.best, view.best_round, view.stale, StopReason.NONE)
    needed = view.threshold if threshold is None else threshold
    # The genesis has round 0, which is judged from the beginning: nobody merged it, so nobody reports on it.
    if view.head_round == view.judged_round or view.reports < needed or view.reports == 0:
        return unchanged
    if majority(view.reached, view.reports):
        return Verdict(True, view.head, view.head_round, 0, StopReason.TARGET)
    if majority(view.improved, view.reports):
        return Verdict(True, view.head, view.head_round, 0, StopReason.NONE)
    stale = view.stale + 1
    stop = patience > 0 and stale >= patience
    return Verdict(True, view.best, view.best_round, stale, StopReason.PATIENCE if stop else StopReason.NONE)
