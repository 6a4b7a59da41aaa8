"""Repeated timers as arithmetic on `now`, so that `decide` names the same moment in its condition and in its `Wake`.

Computed with a division alone, the two can differ by a rounding: a peer that wakes exactly on time would find nothing to
do and be told to wake at a time that is not in the future.
"""

SHORTEST = 1e-3
"""Seconds. Shorter intervals vanish in the resolution of Unix time in a float."""


def ticks(since: float, interval: float, now: float) -> tuple[int, float]:
    """How many whole intervals have passed since `since` (0 if that is in the future), and when the next one will have.

    The second is always later than `now`.
    """
    interval = max(interval, SHORTEST)
    count = max(0, int((now - since) / interval))
    while count and since + count * interval > now:
        count -= 1
    while since + (count + 1) * interval <= now:
        count += 1
    return count, since + (count + 1) * interval


def attempts(since: float, unit: float, now: float) -> tuple[int, float]:
    """Number of the attempt that is due, from 1 on, when the pause doubles from one to the next; and when the next is.

    Attempt a begins at since + (2^(a - 1) - 1) * unit.
    """
    count, _ = ticks(since, unit, now)
    attempt = (count + 1).bit_length()
    return attempt, since + ((1 << attempt) - 1) * max(unit, SHORTEST)
