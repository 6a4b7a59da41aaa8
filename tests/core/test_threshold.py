"""When a round seals and what a merge must include (docs/protocol.md, sections 2, 4 and 10)."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.core.threshold import due_at, inclusion_floor, missed, roster_of, sealable, threshold
from tests.core.builders import CONFIG, T0, collecting, member, merging, stopped

bitmaps = st.integers(0, 2**8 - 1)


def test_round_one_waits_for_all_initial_members() -> None:
    assert threshold(CONFIG, 1, 0) == CONFIG.initial_members


@given(st.integers(0, 256), st.integers(0, 10_000))
def test_a_threshold_is_a_share_rounded_up_and_at_least_min_updates(waited_for: int, bps: int) -> None:
    needed = threshold(replace(CONFIG, frac_bps=bps), 2, waited_for)
    assert needed >= CONFIG.min_updates
    assert needed == CONFIG.min_updates or (needed - 1) * 10_000 < bps * waited_for <= needed * 10_000


@given(bitmaps, bitmaps, st.integers(1, 8), st.booleans(), st.integers(1, 2))
def test_a_seal_needs_everybody_waited_for_or_threshold_and_grace(
    submitted: int, wait_for: int, needed: int, over: bool, round_: int
) -> None:
    count = submitted.bit_count()
    seal_at = int(T0) if count >= needed else 0
    view = collecting(8, submitted, wait_for=wait_for, threshold=needed, seal_at=seal_at, round=round_)
    result = sealable(view, CONFIG, T0 if over else T0 - 1)
    complete = wait_for & ~submitted == 0 and count >= (needed if round_ == 1 else CONFIG.min_updates)
    assert result == (count > 0 and (complete or (count >= needed and over)))


def test_the_seal_looks_at_who_is_waited_for_not_at_how_many_submitted() -> None:
    # Three are waited for, and three heads are here; but one of them is a newcomer, and 2 is still training.
    view = collecting(4, 0b1011, wait_for=0b0111, threshold=4)
    assert not sealable(view, CONFIG, T0)
    assert sealable(replace(view, wait_for=0b1011), CONFIG, T0)


def test_banned_updates_alone_do_not_make_a_roster() -> None:
    view = collecting(4, 0b11, banned=0b11, threshold=2, seal_at=1)
    assert roster_of(view) == 0
    assert not sealable(view, CONFIG, T0)


def test_banned_updates_do_not_count_for_the_seal() -> None:
    # Three came in, and one was forced out: two are left of the three that are needed.
    view = collecting(4, 0b0111, banned=0b0100, threshold=3, seal_at=1)
    assert not sealable(view, CONFIG, T0)
    assert sealable(replace(view, banned=0), CONFIG, T0)


def test_only_a_collecting_round_seals() -> None:
    assert not sealable(merging(), CONFIG, T0 + 10**6)


def test_floor_is_half_of_the_updates_so_one_bad_update_does_not_stall_four_members() -> None:
    config = replace(CONFIG, min_updates=4)
    assert inclusion_floor(4) == 2 < config.min_updates
    assert [inclusion_floor(count) for count in (0, 1, 2, 3, 5)] == [1, 1, 1, 2, 3]


def test_what_is_due_is_what_advance_would_do() -> None:
    assert due_at(collecting(), CONFIG) is None
    assert due_at(collecting(4, 0b11, seal_at=77), CONFIG) == 77
    assert due_at(collecting(4, 0b11, threshold=3, extend_at=88), CONFIG) == 88
    # Fewer than min_updates: no extension however late, the swarm waits.
    assert due_at(collecting(4, 0b1, threshold=3), CONFIG) is None
    assert due_at(merging(sealed_at=100), CONFIG) == 700
    assert due_at(stopped(), CONFIG) is None


def test_who_submitted_to_this_round_has_missed_nothing() -> None:
    view = collecting(4, 0b1, sealed_rounds=9)
    assert missed(view, member(0, seq=2)) == 0
    assert missed(view, member(1, seq=2)) == 7
    assert missed(view, member(1, seq=10)) == 0
