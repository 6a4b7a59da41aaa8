"""One error instead of a group of one: users catch `SwarmError`s, not the shape of our nurseries."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the only error of an exception group, or its KeyboardInterrupt; other groups as they are."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = [leaf for leaf in _leaves(group) if not isinstance(leaf, trio.Cancelled)]
        interrupts = [leaf for leaf in leaves if isinstance(leaf, KeyboardInterrupt)]
        if interrupts or len(leaves) == 1:
            chosen = (interrupts or leaves)[0]
            raise chosen from chosen.__cause__
        raise
