"""The stop rule counts votes (docs/protocol.md, section 4)."""

from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.core.stopping import judge
from swarmp2p.core.types import StopReason
from tests.core.builders import HEAD, collecting

counts = st.integers(0, 8)


@given(counts, counts, counts, st.integers(1, 8), st.integers(0, 4), st.integers(0, 4))
def test_verdicts(reports: int, reached: int, improved: int, needed: int, stale: int, patience: int) -> None:
    reached, improved = min(reached, reports), min(improved, reports)
    view = collecting(
        reports=reports, reached=reached, improved=improved, threshold=needed, stale=stale, best=b"b" * 32, best_round=1
    )
    verdict = judge(view, patience)
    if reports < needed:
        assert not verdict.judged
        assert (verdict.best, verdict.stale, verdict.reason) == (view.best, stale, StopReason.NONE)
    elif 2 * reached > reports:
        assert (verdict.best, verdict.reason) == (HEAD, StopReason.TARGET)
    elif 2 * improved > reports:
        assert (verdict.best, verdict.best_round, verdict.stale) == (HEAD, 2, 0)
        assert verdict.reason is StopReason.NONE
    else:
        assert (verdict.best, verdict.stale) == (view.best, stale + 1)
        assert (verdict.reason is StopReason.PATIENCE) == (0 < patience <= stale + 1)


def test_a_head_is_judged_once() -> None:
    view = collecting(reports=4, reached=4, judged_round=2)
    assert not judge(view, 0).judged


def test_the_genesis_is_not_judged() -> None:
    view = collecting(reports=4, reached=4, head_round=0, judged_round=0)
    assert not judge(view, 0).judged


@given(st.integers(2, 20), st.booleans(), st.booleans())
def test_one_liar_moves_nothing(honest: int, says_reached: bool, all_others: bool) -> None:
    votes = honest if all_others else 0
    for lie in (0, 1):
        view = collecting(reports=honest + 1, reached=votes + lie * says_reached, improved=votes)
        assert judge(view, 0).reason is (StopReason.TARGET if all_others else StopReason.NONE)


def test_the_vote_after_the_end_may_need_another_number() -> None:
    view = collecting(reports=1, improved=1, threshold=2, best=b"b" * 32)
    assert not judge(view, 0).judged
    assert judge(view, 0, threshold=1).best == HEAD
