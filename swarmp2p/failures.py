"""One error instead of a group of one: users catch `SwarmError`s, not the shape of our nurseries."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from swarmp2p.core.errors import SwarmError


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the only error of an exception group, its KeyboardInterrupt, or the first of several SwarmErrors; other
    groups as they are."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = [leaf for leaf in _leaves(group) if not isinstance(leaf, trio.Cancelled)]
        interrupts = [leaf for leaf in leaves if isinstance(leaf, KeyboardInterrupt)]
        if interrupts or len(leaves) == 1 or (leaves and all(isinstance(leaf, SwarmError) for leaf in leaves)):
            chosen = (interrupts or leaves)[0]
            raise chosen from chosen.__cause__
        raise
