"""Repeated timers: the moment in a condition is the moment in the wake-up."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.core.timers import attempts, ticks

times = st.floats(1.7e9, 1.9e9)
intervals = st.floats(0.01, 1000)


@given(times, intervals, st.floats(-100, 1e5))
def test_the_next_tick_is_always_in_the_future(since: float, interval: float, later: float) -> None:
    count, at = ticks(since, interval, since + later)
    assert at > since + later
    assert count == 0 or since + count * interval <= since + later


@given(times, intervals, st.integers(0, 50))
def test_waking_on_time_finds_the_tick_passed(since: float, interval: float, rounds: int) -> None:
    now = since
    for expected in range(rounds):
        count, now = ticks(since, interval, now)
        assert count == expected


@given(times, intervals, st.integers(1, 20))
def test_attempts_double_their_pause(since: float, unit: float, number: int) -> None:
    now, pauses = since, []
    for expected in range(1, number + 1):
        attempt, again = attempts(since, unit, now)
        assert attempt == expected
        assert attempts(since, unit, (now + again) / 2)[0] == expected
        pauses.append(again - now)
        now = again
    for before, after in pairwise(pauses):
        assert abs(after - 2 * before) < 1e-5


def test_an_interval_of_nothing_does_not_hang() -> None:
    count, at = ticks(1.8e9, 0.0, 1.8e9 + 10)
    assert count > 1000
    assert at > 1.8e9 + 10
