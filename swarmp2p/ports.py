"""TCP ports for processes that are started later, or again: nobody's outgoing connection takes them in between."""

import contextlib
import random
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from swarmp2p.core.errors import PortInUse

_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_IANA_DYNAMIC = (49152, 65535)
_LOWEST = 10000
"""Below it are the ports that services are known by."""
_ATTEMPTS = 1000


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Distinct TCP ports that were free a moment ago.

    They are none of those from which the kernel takes the near end of an outgoing connection (ip(7),
    `ip_local_port_range`), as port 0 would be: such a one is gone as soon as anybody dials.

    Raises:
        PortInUse: there are not as many.
    """
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for port in _candidates():
            if len(found) == count:
                break
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server((host, port)))
                found.append(port)
    if len(found) < count:
        raise PortInUse(f"{host} has not {count} free ports.", "End some of the processes that listen there.")
    return found


def require_free(ports: Iterable[int], host: str) -> None:
    """Raises PortInUse if one of these TCP ports is taken, or is named twice."""
    with contextlib.ExitStack() as stack:
        for port in ports:
            try:
                stack.enter_context(socket.create_server((host, port)))
            except OSError as error:
                raise PortInUse(
                    f"No node can listen on port {port} of {host}: {error.strerror}.",
                    "Give another port (0 takes free ones).",
                ) from None


def _candidates() -> Iterator[int]:
    lowest, highest = _outgoing()
    eligible = [port for port in range(_LOWEST, 65536) if not lowest <= port <= highest]
    # By chance, so that two processes that look at the same time do not find the same.
    return iter(random.SystemRandom().sample(eligible, min(_ATTEMPTS, len(eligible))))


def _outgoing() -> tuple[int, int]:
    try:
        lowest, highest = map(int, _OUTGOING.read_text().split())
    except (OSError, ValueError):
        return _IANA_DYNAMIC
    return lowest, highest
