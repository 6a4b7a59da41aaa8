"""The end (docs/protocol.md, section 9)."""

from dataclasses import replace
from typing import Any

from swarmp2p.core.actions import Apply, FetchFile, Finish, SendAdvance, SendReport, Train, Wake
from swarmp2p.core.store import Report
from swarmp2p.core.types import ReportFlag, Status
from swarmp2p.core.view import View
from tests.core.builders import HEAD, KNOBS, T0, a_store, collecting, member, of, stopped, wanted

REPORT = Report(HEAD, 1, ReportFlag.HAS_REPORT)
END = T0 + KNOBS.linger


def test_the_last_head_is_fetched_and_applied_before_anything_else() -> None:
    store = a_store(applied=None, held=set(), report=REPORT)
    actions = wanted(stopped(reported=0b1111), store, END + 1000)
    assert of(FetchFile, actions)
    assert not of(Finish, actions)
    store.held.add(HEAD)
    assert of(Apply, wanted(stopped(reported=0b1111), store))


def test_a_report_is_sent_until_the_chain_has_it() -> None:
    store = a_store(report=REPORT)
    assert of(SendReport, wanted(stopped(), store)) == [SendReport(HEAD, 1, REPORT.flags)]
    assert not of(SendReport, wanted(stopped(reported=0b1), store))


def test_no_report_on_another_head_none_without_evaluation_none_on_the_genesis() -> None:
    assert not of(SendReport, wanted(stopped(), a_store(report=replace(REPORT, head=b"x" * 32))))
    assert not of(SendReport, wanted(stopped(), a_store(report=replace(REPORT, flags=ReportFlag(0)))))
    assert not of(SendReport, wanted(stopped(head_round=0), a_store(report=REPORT)))


def test_a_peer_ends_when_all_active_members_have_reported() -> None:
    store = a_store(report=REPORT)
    assert not of(Finish, wanted(stopped(reported=0b0111), store))
    assert of(Finish, wanted(stopped(reported=0b1111), store))


def test_who_was_late_for_the_last_merge_is_waited_for_too() -> None:
    """A peer back from a crash, or one whose update was left out, found nobody to get the last head from."""
    store = a_store(report=REPORT)
    assert not of(Finish, wanted(stopped(included=0b0111, reported=0b0111), store))


def test_the_expired_are_not_waited_for_and_the_idle_only_for_a_while() -> None:
    store = a_store(report=REPORT)
    view = stopped(reported=0b0111)

    def changed(**change: Any) -> View:
        return replace(view, members=tuple(replace(m, **change) if m.index == 3 else m for m in view.members))

    assert of(Finish, wanted(changed(expires=T0 - 1), store))
    idle, patience = changed(status=Status.IDLE), KNOBS.linger / 4
    assert Wake(T0 + patience) in wanted(idle, store, T0)
    assert not of(Finish, wanted(idle, store, T0 + patience - 0.01))
    assert of(Finish, wanted(idle, store, T0 + patience))


def test_a_slow_or_restarted_one_still_gets_the_last_head() -> None:
    store = a_store(report=REPORT)
    actions = wanted(stopped(reported=0b0111), store, T0)
    assert not of(Finish, actions)
    assert Wake(END) in actions
    assert not of(Finish, wanted(stopped(reported=0b0111), store, END - 0.01))
    assert of(Finish, wanted(stopped(reported=0b0111), store, END))


def test_a_report_that_does_not_get_through_does_not_hold_a_peer_for_ever() -> None:
    store = a_store(report=REPORT)
    wanted(stopped(), store, T0)
    assert not of(Finish, wanted(stopped(), store, END))
    assert of(Finish, wanted(stopped(), store, END + KNOBS.linger))


def test_a_swarm_that_never_merged_lingers() -> None:
    store = a_store()
    view = stopped(head_round=0, included=0)
    assert not of(Finish, wanted(view, store, T0))
    assert of(Finish, wanted(view, store, END))


def test_nobody_trains_or_advances_after_the_end() -> None:
    actions = wanted(stopped(), a_store(), T0 + 10**6)
    assert not of(Train, actions)
    assert not of(SendAdvance, actions)


def test_an_expired_member_cannot_report_but_ends() -> None:
    view = stopped(members=(member(0, expires=1), member(1), member(2), member(3)))
    store = a_store(report=REPORT)
    assert not of(SendReport, wanted(view, store, T0))
    assert of(Finish, wanted(view, store, END))


def test_reopened_is_not_stopped() -> None:
    store = a_store()
    wanted(stopped(), store, T0)
    assert store.stopped_seen == T0
    wanted(collecting(), store, T0 + 1)
    assert store.stopped_seen is None
