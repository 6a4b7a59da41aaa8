"""Nodes of a chain as processes of ours: free ports for them, their last words, and their end."""

import contextlib
import socket
from collections.abc import Iterable
from pathlib import Path

import trio

from swarmp2p.core.errors import PortInUse

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


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Distinct TCP ports that were free a moment ago."""
    return _bound(host, [0] * count)


def require_free(ports: Iterable[int], host: str) -> None:
    """Raises PortInUse if one of these TCP ports is taken."""
    _bound(host, ports)


def _bound(host: str, ports: Iterable[int]) -> list[int]:
    with contextlib.ExitStack() as stack:
        bound: list[int] = []
        for port in ports:
            try:
                listening = stack.enter_context(socket.create_server((host, port)))
            except OSError as error:
                raise PortInUse(
                    f"No node can listen on port {port} of {host}: {error.strerror}.",
                    "Give another port (0 takes free ones).",
                ) from None
            bound.append(listening.getsockname()[1])
        return bound


def last_words(log: Path, most: int = 1000) -> str:
    """The end of a log, at most `most` bytes; 'no output' if there is none."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - most))
        if said := file.read().decode("utf-8", "replace").strip():
            return said
    return "no output"
