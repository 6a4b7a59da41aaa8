"""Invariant 11 while a round merges: who came too late for it is waited for in the next one."""

from dataclasses import replace

from swarmp2p.core.actions import SendReady, Train
from swarmp2p.core.types import Status
from swarmp2p.core.view import View
from tests.core.builders import HEAD, a_store, member, merging, of, own_update, wanted


def missed(status: Status) -> View:
    """Round 3 merges without member 0."""
    members = (member(0, status=status, last_round=1, seq=1), *(member(i) for i in range(1, 4)))
    return replace(merging(), roster=0b1110, submitted=0b1110, count=3, active=0b1110, members=members)


def test_a_member_that_came_too_late_says_ready_before_the_next_round_opens() -> None:
    # Found by the simulator: the others' updates are ready when a round is aborted, so that they filled and sealed the next
    # one at once, and again, and a slow member, IDLE by then, never got its update in.
    actions = wanted(missed(Status.IDLE), a_store(update=own_update()))
    assert of(SendReady, actions) == [SendReady(3)]
    actions = wanted(missed(Status.IDLE), a_store())
    assert of(SendReady, actions) == [SendReady(3)]
    assert of(Train, actions) == [Train(HEAD)]


def test_nobody_else_says_ready_then() -> None:
    assert not of(SendReady, wanted(missed(Status.ACTIVE), a_store(update=own_update())))
    assert not of(SendReady, wanted(missed(Status.IDLE), a_store(applied=None)))
    idle_on_roster = replace(merging(), members=(member(0, status=Status.IDLE), *(member(i) for i in range(1, 4))))
    assert not of(SendReady, wanted(idle_on_roster, a_store()))
