"""Rounds and money by chance."""

from hypothesis import strategies as st

from swarmp2p.core.money import Entry

amounts = st.integers(0, 2**128 - 1)
weights = st.integers(1, 2**32 - 1)


def entry(index: int, weight: int) -> Entry:
    """The update of member `index`."""
    return Entry(bytes([index + 1]) * 20, index, bytes([index + 1]) * 32, weight)


entries = st.lists(weights, min_size=1, max_size=12).map(
    lambda group: tuple(entry(index, weight) for index, weight in enumerate(group))
)
