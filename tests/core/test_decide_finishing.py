"""What a peer attests, and how a round ends (docs/protocol.md, sections 4, 6 and 7)."""

from dataclasses import replace

from swarmp2p.core.actions import (
    BuildRoot,
    FetchSlice,
    Merge,
    SendAdvance,
    SendFinalize,
    Wake,
)
from swarmp2p.core.messages import Attestation
from swarmp2p.core.store import RoundStore, Store
from swarmp2p.core.types import NO_DIGEST, Status
from swarmp2p.core.view import View
from tests.core.builders import (
    BOTH,
    CONFIG,
    INPUTS,
    KNOBS,
    MERGED,
    T0,
    a_store,
    at_position,
    attestation,
    bodies,
    claim,
    compute,
    in_round,
    member,
    merging,
    of,
    slice_of,
    wanted,
)

# Attestations


def test_a_root_needs_all_slices_agreed_and_their_lists_held() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    compute(current, 0)
    current.add(claim(1, 1))
    assert not of(BuildRoot, wanted(view, store))
    current.add(claim(2, 1))
    assert not of(BuildRoot, wanted(view, store)), "the other slice's list is not here yet"
    current.slice_lists.add(slice_of(1))
    assert of(BuildRoot, wanted(view, store)) == [BuildRoot(3, 0, BOTH)]
    current.roots[0, BOTH] = MERGED
    assert not of(BuildRoot, wanted(view, store))


def test_only_recomputed_and_flushed_slices_are_attested() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    compute(current, 0)
    for by in (1, 2):
        current.add(claim(by, 1))
    current.slice_lists.add(slice_of(1))
    current.slices_held.add((0, 1, slice_of(1)))  # fetched, not recomputed
    current.roots[0, BOTH] = MERGED
    assert bodies(wanted(view, store), Attestation) == [Attestation(3, INPUTS, 0, MERGED, BOTH, 0b01)]
    current.slices_held.discard((0, 0, slice_of(0)))
    assert not bodies(wanted(view, store), Attestation)


def test_a_slice_that_is_not_attested_needs_q_equal_claims() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    for slice_ in range(2):
        compute(current, slice_)
    current.slices_held.discard((0, 1, slice_of(1)))  # computed, not yet flushed
    current.roots[0, BOTH] = MERGED
    current.add(claim(1, 1))
    assert not bodies(wanted(view, store), Attestation)
    current.add(claim(2, 1))
    assert [body.mask for body in bodies(wanted(view, store), Attestation)] == [0b01]


def test_an_attestation_is_widened_never_narrowed_never_repeated() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    compute(current, 0)
    for by in (1, 2):
        current.add(claim(by, 1))
    current.slice_lists.add(slice_of(1))
    current.roots[0, BOTH] = MERGED
    current.add(attestation(0, 0b01))
    assert not bodies(wanted(view, store), Attestation)
    compute(current, 1)
    assert [body.mask for body in bodies(wanted(view, store), Attestation)] == [0b11]
    current.computed.clear()  # a restart that lost what it had computed, but not its signature
    compute(current, 1)
    current.add(claim(3, 0))
    current.add(claim(1, 0))
    assert [body.mask for body in bodies(wanted(view, store), Attestation)] == [0b11]


def test_no_second_attestation_that_contradicts_the_first() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    for slice_ in range(2):
        compute(current, slice_)
    current.roots[0, BOTH] = MERGED
    current.add(attestation(0, 0b01, merged=b"other".ljust(32, b"\0")))
    assert not bodies(wanted(view, store), Attestation)


def test_liars_claims_do_not_change_what_this_peer_computed() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    for slice_ in range(2):
        compute(current, slice_)
        for by in (1, 2):
            current.add(claim(by, slice_, b"x" * 32))
    current.roots[0, BOTH] = MERGED
    actions = wanted(view, store)
    assert [body.slices for body in bodies(actions, Attestation)] == [BOTH]
    assert not of(FetchSlice, actions)


def test_too_few_updates_make_an_abort() -> None:
    view, store = merging(), a_store()
    current = in_round(view, store)
    for index in (1, 2, 3):
        current.invalid[index] = 0
    actions = wanted(view, store)
    assert bodies(actions, Attestation) == [Attestation(3, INPUTS, 0b1110, NO_DIGEST, (), 0)]
    assert not of(Merge, actions)
    current.add(attestation(0, 0, merged=NO_DIGEST, excluded=0b1110))
    assert not bodies(wanted(view, store), Attestation)


# The end of a round


def covered() -> tuple[View, Store, RoundStore]:
    """A round as the member at position 2 of its order sees it."""
    view = merging()
    me = at_position(view, 2)
    store = a_store(me)
    current = in_round(view, store)
    return view, store, current


def test_finalize_takes_turns_once_every_slice_is_covered_q_times() -> None:
    view, store, current = covered()
    current.add(attestation(0, 0b11))
    current.add(attestation(1, 0b01))
    assert not of(SendFinalize, wanted(view, store))
    current.add(attestation(3, 0b10))
    now = T0 + 7
    actions = wanted(view, store, now)
    assert not of(SendFinalize, actions)
    assert Wake(now + 2 * KNOBS.stagger) in actions
    sends = of(SendFinalize, wanted(view, store, now + 2 * KNOBS.stagger))
    signatures = (attestation(0, 0b11), attestation(1, 0b01), attestation(3, 0b10))
    assert sends == [SendFinalize(3, 0, MERGED, BOTH, signatures)]


def test_a_late_attestation_does_not_make_another_transaction() -> None:
    view, store, current = covered()
    for by in (2, 3):
        current.add(attestation(by, 0b11))
    wanted(view, store, T0)
    first = of(SendFinalize, wanted(view, store, T0 + 10))
    for by in (0, 1):
        current.add(attestation(by, 0b11))
    assert of(SendFinalize, wanted(view, store, T0 + 30)) == first != []


def test_signatures_of_barred_or_expired_members_are_replaced() -> None:
    view, store, current = covered()
    one, two, three = (index for index in range(4) if member(index).address != store.me)
    for by in (one, two, three):
        current.add(attestation(by, 0b11))
    wanted(view, store, T0)
    (send,) = of(SendFinalize, wanted(view, store, T0 + 10))
    assert [signed.signer for signed in send.signatures] == [member(one).address, member(two).address]

    barred = replace(view.members[one], status=Status.BARRED)
    view = replace(view, members=tuple(barred if m.index == one else m for m in view.members))
    (send,) = of(SendFinalize, wanted(view, store, T0 + 30))
    assert [signed.signer for signed in send.signatures] == [member(two).address, member(three).address]

    expired = replace(view.members[three], expires=int(T0))
    view = replace(view, members=tuple(expired if m.index == three else m for m in view.members))
    assert not of(SendFinalize, wanted(view, store, T0 + 40))
    assert current.covered_at == {}


def test_attestations_of_different_models_do_not_add_up() -> None:
    view, store, current = covered()
    current.add(attestation(0, 0b11))
    current.add(attestation(1, 0b11, merged=b"x" * 32))
    assert not of(SendFinalize, wanted(view, store, T0 + 100))


def test_the_first_finalize_wins_whoever_excluded_what() -> None:
    view, store, current = covered()
    for by in (0, 1):
        current.add(attestation(by, 0b11, excluded=0b1000))
    sends = of(SendFinalize, wanted(view, store, T0)) + of(SendFinalize, wanted(view, store, T0 + 100))
    assert [send.excluded for send in sends] == [0b1000]


def test_but_nobody_helps_an_update_that_it_found_wrong() -> None:
    view, store, current = covered()
    current.invalid[3] = 1
    for by in (0, 1):
        current.add(attestation(by, 0b11))
    assert not of(SendFinalize, wanted(view, store, T0 + 100))


def test_what_the_contract_would_refuse_is_not_sent() -> None:
    view, store, current = covered()
    for by in (0, 1):
        current.add(attestation(by, 0b11, excluded=0b0111))  # below the floor of half
        current.add(attestation(by, 0b11, excluded=1 << 9))  # not on the roster
        current.add(attestation(by, 0b11, excluded=0b10, slices=(slice_of(0),)))  # one slice too few
    assert not of(SendFinalize, wanted(view, store, T0 + 100))


def test_q_members_abort_a_round() -> None:
    view, store, current = covered()
    current.add(attestation(0, 0, merged=NO_DIGEST, excluded=0b1110))
    assert not of(SendFinalize, wanted(view, store, T0))
    current.add(attestation(1, 0, merged=NO_DIGEST, excluded=0b1110))
    wanted(view, store, T0)
    (send,) = of(SendFinalize, wanted(view, store, T0 + 100))
    assert (send.merged, send.slices, len(send.signatures)) == (NO_DIGEST, (), 2)


def test_who_is_idle_or_off_the_roster_finalizes_too_but_last() -> None:
    view = merging(5, roster=0b01111, submitted=0b01111, count=4)
    store = a_store(4)
    current = in_round(view, store)
    for by in (0, 1):
        current.add(attestation(by, 0b11))
    assert not of(SendFinalize, wanted(view, store, T0 + 1))
    assert of(SendFinalize, wanted(view, store, T0 + 1 + 4 * KNOBS.stagger))


def test_after_merge_timeout_somebody_advances() -> None:
    view, store = merging(), a_store()
    due = T0 + CONFIG.merge_timeout + KNOBS.slack
    assert not of(SendAdvance, wanted(view, store, due - 0.01))
    assert of(SendAdvance, wanted(view, store, due + 4 * KNOBS.stagger))


def test_but_not_while_the_round_can_be_finalized() -> None:
    view, store, current = covered()
    for by in (0, 1):
        current.add(attestation(by, 0b11))
    late = T0 + CONFIG.merge_timeout + KNOBS.slack + 4 * KNOBS.stagger
    actions = wanted(view, store, late)
    assert not of(SendAdvance, actions)
    actions = wanted(view, store, late + 100)
    assert of(SendFinalize, actions)
    assert of(SendAdvance, actions), "if it does not get through, the round must end some time"
