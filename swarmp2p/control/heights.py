"""Tells a node that lags from a chain that was reorganised: both show as a lower block than was seen before."""

PATIENCE = 3.0
"""Seconds for which a lower block has to stay until it is believed. A branch that replaces another is hardly ever shorter,
while nodes behind one address differ by a block or two all the time."""


class Heights:
    """The highest block seen, and since when only lower ones are."""

    def __init__(self) -> None:
        self._highest = 0
        self._lower_since: float | None = None

    def believes(self, number: int, now: float) -> bool:
        """Whether a state of this block may follow what was seen; `now` is in seconds on any steady clock."""
        if number < self._highest:
            if self._lower_since is None:
                self._lower_since = now
            if now - self._lower_since < PATIENCE:
                return False
        self._highest, self._lower_since = number, None
        return True
