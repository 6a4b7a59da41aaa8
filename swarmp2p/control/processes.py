"""Nodes of a chain as processes of ours: their last words, and their end."""

import contextlib
from pathlib import Path

import trio

_STOP_TIMEOUT = 5.0


async def stop(process: trio.Process) -> None:
    """End it: politely, then, after 5 s, not. Call it shielded from cancellation."""
    if process.returncode is None:
        process.terminate()
        with trio.move_on_after(_STOP_TIMEOUT):
            await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    if process.stdout is not None:
        with contextlib.suppress(trio.ClosedResourceError):
            await process.stdout.aclose()


def last_words(log: Path, most: int = 1000) -> str:
    """The end of a log, at most `most` bytes; 'no output' if there is none."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - most))
        if said := file.read().decode("utf-8", "replace").strip():
            return said
    return "no output"
