"""What settling pays, and in which portions: the pure twin's own rules."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.core.history import Enrolled, Expelled, Merged, Opened, Record, Updated
from swarmp2p.core.money import Entry, Settlement, Terms
from swarmp2p.core.types import Bitmap
from swarmp2p.rewards.policy import EqualShares, WeightShares
from swarmp2p.rewards.settlement import (
    LONGEST_GAP,
    MAX_ENTRIES,
    MAX_ROUNDS,
    Pay,
    Why,
    batches,
    expulsions,
    merged_rounds,
    predict,
    unsettled,
)
from tests.rewards.strategies import amounts, entries, entry

NOBODY = bytes(20)


@dataclass(frozen=True)
class Result:
    included: Bitmap
    attesters: Bitmap


def terms(per_round: int, bps: int = 0) -> Terms:
    return Terms(NOBODY, NOBODY, per_round, bps, 0)


def update(round_: int, index: int, weight: int = 1) -> Updated:
    each = entry(index, weight)
    return Updated(round_, each.account, index, each.digest, weight, None)


def merged(round_: int, included: Bitmap) -> Merged:
    return Merged(round_, b"m" * 32, included, 0, 0, 1, 1, None)


@given(
    group=entries,
    pools=st.tuples(amounts, amounts),
    bps=st.integers(0, 10_000),
    included=st.integers(0, 2**12 - 1),
    attesters=st.integers(0, 2**12 - 1),
    out=st.sets(st.integers(0, 11)),
)
def test_nothing_is_paid_that_was_not_there(
    group: tuple[Entry, ...],
    pools: tuple[int, int],
    bps: int,
    included: Bitmap,
    attesters: Bitmap,
    out: set[int],
) -> None:
    per_round, pool = pools
    expelled = {entry(i, 1).account: Expelled(2, entry(i, 1).account, False, False) for i in out}
    settlements = [Settlement(round_, group) for round_ in (1, 2, 3)]
    results = {round_: Result(included, attesters) for round_ in (1, 2, 3)}
    for policy in (EqualShares(), WeightShares()):
        left = pool
        rounds = predict(settlements, results, expelled, terms(per_round, bps), policy, pool)
        assert [each.round for each in rounds] == [1, 2, 3]
        for each in rounds:
            assert each.pot == min(per_round, left)
            assert 0 <= each.paid <= each.pot
            left -= each.paid
            assert [pay.account for pay in each.pays] == [update.account for update in group]
            for pay, update_ in zip(each.pays, group, strict=True):
                assert (pay.why is None) == (pay.total > 0)
                if not included >> update_.index & 1:
                    assert pay.why is Why.EXCLUDED
                elif update_.index in out and each.round >= 2:
                    assert (pay.why, pay.since) == (Why.EXPELLED, 2)
                assert pay.attested == bool(attesters >> update_.index & 1)
                assert pay.attested or pay.bonus == 0


def test_the_attesters_part_is_shared_by_all_when_nobody_can_have_it() -> None:
    group = (entry(0, 1), entry(1, 3))

    def shares(attesters: Bitmap, bps: int, pot: int = 100) -> list[tuple[int, int]]:
        (pay,) = predict([Settlement(1, group)], {1: Result(3, attesters)}, {}, terms(pot, bps), WeightShares(), 10**6)
        return [(each.share, each.bonus) for each in pay.pays]

    assert shares(0b01, 2000) == [(20, 20), (60, 0)]
    assert shares(0b11, 2000) == [(20, 10), (60, 10)]
    assert shares(0b100, 2000) == [(25, 0), (75, 0)]
    # A bonus of less than a unit is none.
    assert shares(0b11, 100) == [(25, 0), (75, 0)]
    assert shares(0b11, 10_000) == [(0, 50), (0, 50)]


def test_reasons() -> None:
    first, second, third = (entry(index, 1) for index in range(3))
    records: list[Record] = [
        Enrolled(first.account, 0, 1, 1),
        update(4, 0), update(4, 1), update(4, 2),
        Expelled(4, second.account, False, True),
        Expelled(4, second.account, True, False),
        merged(4, 1),
    ]  # fmt: skip
    votes = expulsions(records)
    assert votes == {second.account: Expelled(4, second.account, True, True)}
    settlements = merged_rounds(records)
    assert settlements == (Settlement(4, (first, second, third)),)
    (pay,) = predict(settlements, {4: Result(1, 7)}, votes, terms(9), EqualShares(), 5)
    assert pay.pays == (
        Pay(first.account, 1, 5, 0, True),
        Pay(second.account, 1, 0, 0, True, Why.BANNED),
        Pay(third.account, 1, 0, 0, True, Why.EXCLUDED),
    )
    (pay,) = predict(settlements, {4: Result(1, 0)}, votes, terms(9), EqualShares(), 0)
    assert (pay.pot, pay.pays[0].why) == (0, Why.POOL_EMPTY)
    (pay,) = predict(settlements, {4: Result(7, 0)}, {}, terms(2), EqualShares(), 100)
    assert [each.why for each in pay.pays] == [Why.NO_SHARE] * 3


def test_rounds_without_a_merge_are_no_settlements() -> None:
    records: list[Record] = []
    for round_ in range(1, 6):
        records += [Opened(round_, b"h" * 32, 3, 2), update(round_, 0), update(round_, 1)]
        if round_ in (2, 3, 5):
            records.append(merged(round_, 3))
    assert [each.round for each in unsettled(records, 0)] == [2, 3, 5]
    assert [each.round for each in unsettled(records, 2)] == [3, 5]
    assert unsettled(records, 5) == ()
    assert [each.round for each in unsettled(records, 2, over=5 + LONGEST_GAP)] == [3, 5]
    steps = unsettled(records, 5, over=7 + 2 * LONGEST_GAP)
    assert steps == (Settlement(5 + LONGEST_GAP, ()), Settlement(5 + 2 * LONGEST_GAP, ()))
    far: list[Record] = [update(3 * LONGEST_GAP, 0), merged(3 * LONGEST_GAP, 1)]
    assert [each.round for each in unsettled([*records, *far], 3)] == [
        5,
        5 + LONGEST_GAP,
        5 + 2 * LONGEST_GAP,
        3 * LONGEST_GAP,
    ]


@given(
    st.lists(st.tuples(st.integers(1, 2 * LONGEST_GAP), st.integers(1, 256)), max_size=60),
    st.integers(0, 3 * LONGEST_GAP),
)
def test_each_portion_fits_a_transaction(rounds: list[tuple[int, int]], tail: int) -> None:
    records: list[Record] = []
    at = 0
    for gap, members in rounds:
        at += gap
        records += [update(at, index) if index < 255 else update(at, 0) for index in range(members)]
        records.append(merged(at, 1))
    wanted = unsettled(records, 0, over=at + tail)
    portions = list(batches(wanted, 0))
    assert [each for portion in portions for each in portion] == list(wanted)
    start = 0
    for portion in portions:
        assert 1 <= len(portion) <= MAX_ROUNDS
        assert len(portion) == 1 or sum(len(each.entries) for each in portion) <= MAX_ENTRIES
        # The treasury refuses a step without entries onto a round that merged, and to leave one out.
        assert portion[-1].round - start <= LONGEST_GAP
        start = portion[-1].round
    assert at + tail - start <= LONGEST_GAP
