"""Small things that both sides of the content exchange need."""

from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

import trio

from swarmp2p.content.interface import Stream
from swarmp2p.core.types import Address

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")

BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What a stream or carrier raises when the other side is gone."""


class Offload(Protocol):
    """Runs a blocking function without blocking trio."""

    async def __call__(self, function: Callable[[*_Args], _T], *args: *_Args) -> _T: ...


def threads(limit: int) -> Offload:
    """Run blocking functions in trio's worker threads, at most `limit` at a time."""
    limiter = trio.CapacityLimiter(limit)

    async def run(function: Callable[[*_Args], _T], *args: *_Args) -> _T:
        return await trio.to_thread.run_sync(function, *args, limiter=limiter)

    return run


async def inline(function: Callable[[*_Args], _T], *args: *_Args) -> _T:
    """Run them in trio's own thread: for tests with a fake clock, which does not know of threads."""
    await trio.lowlevel.checkpoint()
    return function(*args)


async def close_stream(stream: Stream) -> None:
    """Close, also while being cancelled, and also when the other side does not help."""
    with trio.move_on_after(1) as scope:
        scope.shield = True
        try:
            await stream.aclose()
        except BROKEN:
            return


def name_of(peer: Address) -> str:
    """An address for people."""
    return "0x" + peer.hex()
