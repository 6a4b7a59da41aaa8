"""What a peer wants while a round merges (docs/protocol.md, sections 5 to 7 and 10)."""

from dataclasses import replace

from swarmp2p.core.actions import (
    Announce,
    FetchLeafList,
    FetchSlice,
    Merge,
    Sync,
    Train,
    Verify,
    Wake,
)
from swarmp2p.core.decide import observe
from swarmp2p.core.decide_merging import SYNC_EVERY
from swarmp2p.core.election import duty_width, permutation, rank_of
from swarmp2p.core.messages import Attestation, Claim, Objection
from swarmp2p.core.types import Reason, Status
from swarmp2p.identity import keccak256
from tests.core.builders import (
    CONFIG,
    INPUTS,
    KNOBS,
    SEED,
    T0,
    TIMEOUT,
    a_store,
    at_position,
    attestation,
    bodies,
    claim,
    collecting,
    compute,
    in_round,
    member,
    merging,
    objection,
    of,
    slice_of,
    update_of,
    wanted,
)


def on_duty(me: int, q: int = CONFIG.q, doublings: int = 0, n: int = 4, k: int = 2) -> list[int]:
    """The slices that this member works on, by the definition."""
    position = permutation((1 << n) - 1, SEED, keccak256).index(me)
    return [j for j in range(k) if rank_of(position, j, k, n) < duty_width(q, doublings, n)]


# Updates


def test_every_roster_member_tries_every_update_on_duty_or_not() -> None:
    for me in range(4):
        actions = wanted(merging(), a_store(me))
        assert of(FetchLeafList, actions) == [FetchLeafList(3, i, update_of(i)) for i in range(4)]
        assert not of(Merge, actions), "not before all leaf lists are held"


def test_who_is_not_on_the_roster_only_listens() -> None:
    view = merging(4, roster=0b0111, submitted=0b0111, count=3)
    store = a_store(3)
    in_round(view, store, lists=False)
    actions = wanted(view, store, T0 + 100)
    assert of(Sync, actions)
    assert not of(FetchLeafList, actions)
    assert not of(Merge, actions)
    assert of(Train, actions), "should the round be aborted, the head stays"


def test_an_update_that_fails_for_fetch_timeout_is_objected_to_once() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    current.failing[2] = T0 + 0.5
    due = T0 + 0.5 + KNOBS.fetch_timeout
    actions = wanted(view, store, due - 0.01)
    assert not bodies(actions, Objection)
    assert Wake(due) in actions
    body = Objection(3, INPUTS, 2, Reason.UNAVAILABLE, 0)
    assert bodies(wanted(view, store, due), Objection) == [body]
    current.add(objection(0, 2, Reason.UNAVAILABLE))
    assert not bodies(wanted(view, store, T0 + 100), Objection)


def test_q_members_exclude_what_cannot_be_had_and_fewer_do_not() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store, lists=False)
    current.add(objection(1, 2, Reason.UNAVAILABLE))
    assert FetchLeafList(3, 2, update_of(2)) in wanted(view, store)
    current.add(objection(3, 2, Reason.UNAVAILABLE))
    assert FetchLeafList(3, 2, update_of(2)) not in wanted(view, store)
    current.leaf_lists = {0, 1, 3}
    assert {merge.excluded for merge in of(Merge, wanted(view, store))} == {0b100}


def test_an_invalid_objection_counts_only_once_verified() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    for by in (1, 3):
        current.add(objection(by, 2, Reason.INVALID, 7))
    actions = wanted(view, store)
    assert set(of(Verify, actions)) == {Verify(3, 2, update_of(2), 7)}
    assert {merge.excluded for merge in of(Merge, actions)} == {0}
    current.invalid[2] = 7
    actions = wanted(view, store)
    assert bodies(actions, Objection) == [Objection(3, INPUTS, 2, Reason.INVALID, 7)]
    assert {merge.excluded for merge in of(Merge, actions)} == {0b100}
    assert not of(Verify, actions)


def test_a_refuted_objection_changes_nothing() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    current.add(objection(1, 2, Reason.INVALID, 7))
    current.refuted.add((member(1).address, 2, 7))
    actions = wanted(view, store)
    assert not of(Verify, actions)
    assert {merge.excluded for merge in of(Merge, actions)} == {0}


def test_a_nan_in_one_of_four_updates_does_not_stall_the_others() -> None:
    """A draft had minUpdates as the floor of a merge: one bad update stalled four members for ever."""
    config = replace(CONFIG, min_updates=4)
    view, store = merging(), a_store()
    in_round(view, store).invalid[2] = 0
    actions = wanted(view, store, config=config)
    assert of(Merge, actions)
    assert not bodies(actions, Attestation)


# Work


def test_ranks_below_q_work_at_once_and_nobody_else() -> None:
    for me in range(4):
        store = a_store(me)
        in_round(merging(), store)
        assert [merge.slice for merge in of(Merge, wanted(merging(), store))] == on_duty(me)


def test_duty_widens_while_equal_claims_are_missing() -> None:
    view = merging(8, 2)
    for me in range(8):
        store = a_store(me)
        in_round(view, store)
        for doublings in range(4):
            now = T0 + doublings * TIMEOUT
            merges = [merge.slice for merge in of(Merge, wanted(view, store, now))]
            assert merges == on_duty(me, doublings=doublings, n=8)


def test_unequal_claims_do_not_count_as_claims() -> None:
    """A draft counted them together, and waited for ever for a slice that nobody agreed about."""
    view = merging(8, 1)
    me = at_position(view, 7)
    store = a_store(me)
    current = in_round(view, store)
    current.add(claim(at_position(view, 0), 0))
    current.add(claim(at_position(view, 1), 0, b"x" * 32))
    assert of(Merge, wanted(view, store, T0 + 2 * TIMEOUT)), "two different claims are no agreement"
    assert not of(FetchSlice, wanted(view, store, T0 + 2 * TIMEOUT))


def test_claims_under_other_exclusions_do_not_count() -> None:
    view = merging(8, 1)
    me = at_position(view, 7)
    store = a_store(me)
    current = in_round(view, store)
    for position in range(2):
        current.add(claim(at_position(view, position), 0, excluded=0b1))
    assert of(Merge, wanted(view, store, T0 + 2 * TIMEOUT))


def test_workers_that_claim_and_die_are_replaced() -> None:
    """A draft widened on missing claims only, and was stuck when those who had claimed did not attest."""
    view = merging(8, 1)
    me = at_position(view, 7)
    store = a_store(me)
    current = in_round(view, store)
    claimed_at = T0 + 5
    for position in range(2):
        current.add(claim(at_position(view, position), 0))
    actions = wanted(view, store, claimed_at)
    assert not of(Merge, actions)
    assert Wake(claimed_at + TIMEOUT) in actions
    assert not of(Merge, wanted(view, store, claimed_at + 2 * TIMEOUT - 0.01)), "4 of 8 ranks after one timeout"
    assert of(Merge, wanted(view, store, claimed_at + 2 * TIMEOUT))
    for position in range(2):
        current.add(attestation(at_position(view, position), 1, k=1))
    assert not of(Merge, wanted(view, store, claimed_at + 2 * TIMEOUT)), "attested: nothing is missing any more"


def test_workers_that_are_expelled_after_they_attested_are_replaced() -> None:
    """Seen in a long run: the contract refused the signature, but the slice counted as attested until the round's abort."""
    view = merging(8, 1)
    me = at_position(view, 7)
    store = a_store(me)
    current = in_round(view, store)
    workers = [at_position(view, position) for position in range(2)]
    for worker in workers:
        current.add(claim(worker, 0))
        current.add(attestation(worker, 1, k=1))
    late = T0 + 3 * TIMEOUT
    wanted(view, store, T0)
    assert not of(Merge, wanted(view, store, late))
    gone = replace(view.members[workers[0]], status=Status.BARRED)
    view = replace(view, members=tuple(gone if m.index == gone.index else m for m in view.members))
    assert of(Merge, wanted(view, store, late))


def test_the_clock_of_attestations_starts_when_every_slice_is_claimed() -> None:
    view, store = merging(8, 2), a_store()
    current = in_round(view, store)
    for by in (1, 2):
        current.add(claim(by, 0))
    observe(view, store, CONFIG, T0 + 3)
    assert current.claimed_at == {}
    for by in (1, 2):
        current.add(claim(by, 1))
    for now in (T0 + 4, T0 + 9):
        observe(view, store, CONFIG, now)
        assert current.claimed_at == {0: T0 + 4}


def test_what_is_computed_is_claimed_once() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    compute(current, 1)
    assert bodies(wanted(view, store), Claim) == [Claim(3, INPUTS, 0, 1, slice_of(1))]
    assert Merge(3, INPUTS, 0, 1) not in wanted(view, store)
    current.add(claim(0, 1))
    assert not bodies(wanted(view, store), Claim)


def test_a_slice_that_others_agree_on_is_fetched_by_who_is_not_on_duty() -> None:
    view = merging(8, 1)
    worker, idle = at_position(view, 0), at_position(view, 7)
    for me, expected in ((worker, []), (idle, [FetchSlice(3, 0, 0, slice_of(0))])):
        store = a_store(me)
        current = in_round(view, store)
        for by in (at_position(view, 2), at_position(view, 3)):
            current.add(claim(by, 0))
        assert of(FetchSlice, wanted(view, store)) == expected
    current.slices_held.add((0, 0, slice_of(0)))
    assert not of(FetchSlice, wanted(view, store))


def test_who_cannot_merge_a_slice_fetches_it_to_attest_the_others() -> None:
    view = merging(8, 1)
    me = at_position(view, 0)
    store = a_store(me)
    current = in_round(view, store)
    for by in (at_position(view, 2), at_position(view, 3)):
        current.add(claim(by, 0))
    assert not of(FetchSlice, wanted(view, store))
    current.failing[at_position(view, 5)] = T0
    actions = wanted(view, store)
    assert of(FetchSlice, actions) == [FetchSlice(3, 0, 0, slice_of(0))]
    assert of(Merge, actions), "and goes on trying"


# Talking


def test_own_messages_are_announced_again_and_again() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    assert not of(Announce, wanted(view, store, T0 + 5.5))
    current.add(claim(0, 1))
    assert not of(Announce, wanted(view, store, T0 + 0.5))
    assert of(Announce, wanted(view, store, T0 + 5.5)) == [Announce(3, 5)]
    assert of(Announce, wanted(view, store, T0 + 5.9)) == [Announce(3, 5)]
    assert Wake(T0 + 6) in wanted(view, store, T0 + 5.9)


def test_who_comes_late_asks_at_once_and_the_others_after_an_interval() -> None:
    view = merging()
    assert of(Sync, wanted(view, a_store(started_at=T0 - 1))) == [Sync(3, 0)]
    store = a_store()
    assert not of(Sync, wanted(view, store, T0))
    assert not of(Sync, wanted(view, store, T0 + SYNC_EVERY - 0.1))
    assert of(Sync, wanted(view, store, T0 + SYNC_EVERY)) == [Sync(3, 1)]
    assert of(Sync, wanted(view, store, T0 + 2 * SYNC_EVERY)) == [Sync(3, 2)]


# Observing


def test_a_round_that_was_sealed_again_after_a_reorganisation_begins_anew() -> None:
    view, store = merging(), a_store()
    compute(in_round(view, store), 0)
    other = replace(view, inputs=b"j" * 32)
    assert of(Merge, wanted(other, store, T0 + 1)) == []
    assert store.round is not None
    assert (store.round.inputs, store.round.computed, store.round.seal_seen) == (b"j" * 32, {}, T0 + 1)


def test_messages_of_another_round_or_other_inputs_are_not_taken() -> None:
    store = a_store()
    current = in_round(merging(), store)
    known = claim(1, 0)
    assert not current.add(replace(known, body=replace(known.body, round=4)))
    assert not current.add(replace(known, body=replace(known.body, inputs=b"j" * 32)))
    assert current.add(known)
    assert not current.add(known)


def test_without_a_seal_there_is_no_round_store() -> None:
    store = a_store()
    observe(collecting(), store, CONFIG, T0)
    assert store.round is None
