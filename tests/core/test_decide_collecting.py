"""What a peer wants while a round collects (docs/protocol.md, sections 4, 6 and 10)."""

from dataclasses import replace

from swarmp2p.core.actions import (
    Apply,
    FetchFile,
    Keep,
    SendAdvance,
    SendReady,
    SendUpdate,
    Train,
    Wake,
)
from swarmp2p.core.store import Report
from swarmp2p.core.types import Phase, Reason, ReportFlag, Status
from swarmp2p.core.view import Member
from tests.core.builders import (
    GENESIS,
    HEAD,
    KNOBS,
    T0,
    a_store,
    collecting,
    in_round,
    member,
    merging,
    objection,
    of,
    own_update,
    update_of,
    wanted,
)

REPORT = Report(HEAD, 930_000, ReportFlag.HAS_REPORT | ReportFlag.IMPROVED)


def with_me(status: Status = Status.ACTIVE, expires: int = 2**40 - 1, max_weight: int = 10) -> tuple[Member, ...]:
    others = [member(i, last_round=2, seq=2) for i in range(1, 4)]
    return (member(0, last_round=2, seq=2, status=status, expires=expires, max_weight=max_weight), *others)


def test_a_missing_head_is_fetched_then_applied_then_trained_from() -> None:
    store = a_store(applied=None, held=set())
    assert of(FetchFile, wanted(collecting(), store)) == [FetchFile(HEAD, 2)]
    assert not of(Train, wanted(collecting(), store))
    store.held.add(HEAD)
    actions = wanted(collecting(), store)
    assert of(Apply, actions) == [Apply(HEAD, 2)]
    assert not of(FetchFile, actions)
    store.applied = HEAD
    actions = wanted(collecting(), store)
    assert of(Train, actions) == [Train(HEAD)]
    assert not of(Apply, actions)


def test_the_genesis_is_the_head_of_round_0() -> None:
    view = collecting(head=GENESIS, head_round=0, round=1)
    assert of(FetchFile, wanted(view, a_store(applied=None))) == [FetchFile(GENESIS, 0)]


def test_an_update_is_sent_with_the_report_on_the_head_until_the_chain_has_it() -> None:
    store = a_store(update=own_update(), report=REPORT)
    sends = [SendUpdate(3, update_of(0), 5, 930_000, REPORT.flags)]
    actions = wanted(collecting(), store)
    assert of(SendUpdate, actions) == sends
    assert not of(Train, actions)
    assert of(SendUpdate, wanted(collecting(), store, T0 + 100)) == sends
    actions = wanted(collecting(4, 0b1), store)
    assert not of(SendUpdate, actions)
    assert not of(Train, actions)


def test_a_report_on_another_head_or_on_the_genesis_stays_at_home() -> None:
    store = a_store(update=own_update(), report=replace(REPORT, head=b"x" * 32))
    assert of(SendUpdate, wanted(collecting(), store)) == [SendUpdate(3, update_of(0), 5, 0, ReportFlag(0))]
    store = a_store(update=own_update(), report=REPORT)
    assert of(SendUpdate, wanted(collecting(head_round=0), store)) == [SendUpdate(3, update_of(0), 5, 0, ReportFlag(0))]


def test_no_more_weight_than_invited_for() -> None:
    view = collecting()
    view = replace(view, members=with_me(max_weight=2))
    assert of(SendUpdate, wanted(view, a_store(update=own_update())))[0].weight == 2


def test_an_update_from_an_older_head_is_trained_anew() -> None:
    store = a_store(update=own_update(base=GENESIS))
    actions = wanted(collecting(), store)
    assert of(Train, actions) == [Train(HEAD)]
    assert not of(SendUpdate, actions)


def test_after_a_restart_a_finished_update_is_sent_before_the_head_is_applied() -> None:
    store = a_store(applied=None, update=own_update())
    actions = wanted(collecting(), store)
    assert of(SendUpdate, actions)
    assert of(Apply, actions)


def test_a_returner_says_ready_when_it_starts_to_train() -> None:
    """A draft did not wait for returners: at half speed they were never included."""
    view = replace(collecting(active=0b1110, wait_for=0b1110), members=with_me(Status.IDLE))
    assert not of(SendReady, wanted(view, a_store(applied=None)))
    actions = wanted(view, a_store())
    assert of(SendReady, actions) == [SendReady(3)]
    assert of(Train, actions) == [Train(HEAD)]
    assert not of(SendReady, wanted(collecting(), a_store()))
    assert not of(SendReady, wanted(view, a_store(update=own_update())))


def test_expired_members_neither_train_nor_submit_but_take_the_head() -> None:
    view = replace(collecting(), members=with_me(expires=int(T0) - 1))
    actions = wanted(view, a_store(update=own_update(), applied=None))
    assert not of(SendUpdate, actions)
    assert not of(Train, actions)
    assert of(Apply, actions)


def test_strangers_and_barred_members_want_nothing() -> None:
    assert wanted(collecting(), a_store(me=9)) == []
    assert wanted(replace(collecting(), members=with_me(Status.BARRED)), a_store()) == []


def test_after_an_abort_the_same_update_is_sent_again() -> None:
    store = a_store(update=own_update())
    in_round(merging(), store)
    assert of(SendUpdate, wanted(collecting(round=4), store))[0].digest == update_of(0)


def test_but_not_one_that_q_members_call_invalid() -> None:
    store = a_store(update=own_update())
    current = in_round(merging(), store)
    current.add(objection(1, 0, Reason.INVALID, 3))
    assert of(SendUpdate, wanted(collecting(round=4), store)), "one objection may be a lie"
    current.add(objection(2, 0, Reason.INVALID, 3))
    actions = wanted(collecting(round=4), store)
    assert not of(SendUpdate, actions)
    assert of(Train, actions) == [Train(HEAD)]


def test_nor_one_that_this_peer_itself_found_invalid() -> None:
    store = a_store(update=own_update())
    in_round(merging(), store).invalid[0] = 3
    assert not of(SendUpdate, wanted(collecting(round=4), store))


def test_who_was_refused_once_may_offer_another_update() -> None:
    """The objections are to a digest, not to the member: else it would train for ever and never be included."""
    store = a_store(update=own_update())
    current = in_round(merging(), store)
    for by in (1, 2, 3):
        current.add(objection(by, 0, Reason.INVALID, 3))
    store.update = replace(own_update(), digest=b"n" * 32)
    assert of(SendUpdate, wanted(collecting(round=4), store))[0].digest == b"n" * 32


def test_advance_waits_for_the_own_clock_with_slack_and_one_after_the_other() -> None:
    view = collecting(4, 0b0111, threshold=2, seal_at=int(T0) + 60)
    due = T0 + 60 + KNOBS.slack
    starts = []
    for me in range(4):
        store = a_store(me)
        assert not of(SendAdvance, wanted(view, store, due - 0.001))
        wakes = of(Wake, wanted(view, store, due - 0.001))
        starts.append(min(wake.at for wake in wakes))
        assert of(SendAdvance, wanted(view, store, starts[-1])) == [SendAdvance(3, (), 1)]
    assert sorted(starts) == [due + position * KNOBS.stagger for position in range(4)]


def test_a_lost_advance_is_sent_again_with_growing_pauses() -> None:
    view = collecting(4, 0b0111, threshold=2, seal_at=int(T0))
    now, seen = T0 + 100.0, []
    for _ in range(5):
        actions = wanted(view, a_store(), now)
        (send,) = of(SendAdvance, actions)
        again = min(wake.at for wake in of(Wake, actions) if wake.at > now)
        seen.append((send.attempt, again - now))
        now = again
    attempts = [attempt for attempt, _ in seen]
    assert attempts == list(range(attempts[0], attempts[0] + 5))
    assert seen[-1][1] > 2 * seen[1][1]


def test_nothing_is_due_while_the_swarm_waits_for_enough() -> None:
    view = collecting(4, 0b1, threshold=2)
    assert not of(SendAdvance, wanted(view, a_store(), T0 + 10**6))


def test_the_extension_is_asked_for_when_the_contract_grants_it() -> None:
    view = collecting(4, 0b0011, threshold=3, extend_at=int(T0) + 1200)
    assert not of(SendAdvance, wanted(view, a_store(), T0 + 1200))
    assert of(SendAdvance, wanted(view, a_store(), T0 + 1210))


def test_members_that_missed_too_many_rounds_or_expired_are_named() -> None:
    members = (
        member(0, seq=9), member(1, seq=6), member(2, seq=7), member(3, seq=9, expires=int(T0) - 10),
        member(4, seq=5, status=Status.IDLE),
    )  # fmt: skip
    view = collecting(5, 0b00001, threshold=1, seal_at=int(T0), sealed_rounds=9, members=members, voters=0b01111)
    (send,) = of(SendAdvance, wanted(view, a_store(), T0 + 100))
    assert send.idle == (1, 3)


def test_what_was_sealed_is_kept_until_its_merge_is_here() -> None:
    """The view shows only a member's latest update; a head that is lost has to be merged again from the earlier one."""
    store = a_store(update=own_update())
    in_round(merging(), store)
    newer = member(1, digest=b"n" * 32, last_round=4)
    view = collecting(4, 0b10, round=4, head_round=3, head=b"m" * 32, members=(member(0), newer, member(2), member(3)))
    (keep,) = of(Keep, wanted(view, store))
    assert keep.digests == {b"m" * 32, HEAD, b"n" * 32} | {update_of(i) for i in range(4)}
    store.held.add(b"m" * 32)
    (keep,) = of(Keep, wanted(view, store))
    assert keep.digests == {b"m" * 32, HEAD, b"n" * 32}


def test_updates_of_a_round_that_merged_nothing_are_kept() -> None:
    """They are offered again."""
    store = a_store(update=own_update())
    store.held.add(HEAD)
    in_round(merging(), store)
    view = collecting(round=4)
    assert view.head_round < 3
    (keep,) = of(Keep, wanted(view, store))
    assert keep.digests == {HEAD} | {update_of(i) for i in range(4)}


def test_nothing_but_models_is_kept_in_the_end() -> None:
    store = a_store(update=own_update())
    in_round(merging(), store)
    store.held.add(b"m" * 32)
    view = merging(phase=Phase.STOPPED, head=b"m" * 32, head_round=3)
    (keep,) = of(Keep, wanted(view, store))
    assert keep.digests == {b"m" * 32, HEAD}


def test_updates_of_long_ago_are_not_kept() -> None:
    old = member(3, last_round=1)
    view = collecting(round=5, members=(member(0, last_round=4), member(1, last_round=4), member(2, last_round=4), old))
    (keep,) = of(Keep, wanted(view, a_store()))
    assert keep.digests == {HEAD, update_of(0), update_of(1), update_of(2)}


def test_a_merge_that_changes_nothing_is_applied_and_trained_from_again() -> None:
    store = a_store(update=own_update())
    assert of(SendUpdate, wanted(collecting(), store))
    view = collecting(head_round=3, round=4)
    actions = wanted(view, store)
    assert of(Apply, actions) == [Apply(HEAD, 3)]
    assert not of(SendUpdate, actions)
    store.applied = HEAD
    assert of(Train, wanted(view, store)) == [Train(HEAD)]


def test_after_an_abort_the_same_update_is_offered_again() -> None:
    store = a_store(update=own_update())
    assert of(SendUpdate, wanted(collecting(), store))
    assert of(SendUpdate, wanted(collecting(round=4), store))
