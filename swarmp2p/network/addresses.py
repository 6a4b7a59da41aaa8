"""Where a host listens, and which addresses others are told."""

import errno
import socket
from collections.abc import Iterable

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError
from multiaddr.utils import get_network_addrs, is_wildcard

from swarmp2p.core.errors import ConfigError, PortInUse

MOST_ANNOUNCED = 2
"""Addresses that a wildcard stands for at most: the contract keeps 256 bytes a member, an address has about 90."""

_FAR = {"ip4": (socket.AF_INET, "192.0.2.1"), "ip6": (socket.AF_INET6, "2001:db8::1")}
"""An address for documentation, of each family: nobody's, so that the way to it is the way to anybody."""


def probe(address: Multiaddr) -> None:
    """py-libp2p only logs that it cannot listen; find out before, with an error that says what to do."""
    family = socket.AF_INET6 if any(p.name == "ip6" for p in address.protocols()) else socket.AF_INET
    where = str(address.value_for_protocol("ip6" if family == socket.AF_INET6 else "ip4"))
    port = int(str(address.value_for_protocol("tcp")))
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((where, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"Port {port} on {where} is in use.", "Stop what uses it, or listen elsewhere."
                ) from None
            raise ConfigError(f"{address} cannot be listened on: {error.strerror}.", "Name another address.") from None


def listen_address(text: str) -> Multiaddr:
    mend = "Write it like /ip4/0.0.0.0/tcp/4001; port 0 takes a free one."
    try:
        address = Multiaddr(text)
        names = [protocol.name for protocol in address.protocols()]
    except (MultiaddrError, ValueError) as error:
        raise ConfigError(f"{text!r} cannot be listened on: {error}.", mend) from None
    if names not in (["ip4", "tcp"], ["ip6", "tcp"]):
        raise ConfigError(f"{text!r} cannot be listened on.", mend)
    return address


def announced(listening: Iterable[Multiaddr]) -> list[Multiaddr]:
    """What to tell others: a wildcard means nothing on another machine, so the machine's own addresses in its place."""
    found: list[Multiaddr] = []
    for address in listening:
        family = next(protocol.name for protocol in address.protocols())
        where, port = str(address.value_for_protocol(family)), address.value_for_protocol("tcp")
        hosts = _own_addresses(family) if is_wildcard(where) else [where]
        found += [Multiaddr(f"/{family}/{host}/tcp/{port}") for host in hosts]
    return found


def _own_addresses(family: str) -> list[str]:
    """The machine's addresses, the one that it uses towards the outside first; the loopback's if there is no other."""
    others = get_network_addrs(int(family[-1]))
    with socket.socket(_FAR[family][0], socket.SOCK_DGRAM) as way:
        try:
            way.connect((_FAR[family][1], 9))  # of a datagram socket: sends nothing, only looks up the way
            first = [str(way.getsockname()[0])]
        except OSError:
            first = []
    loopback = "127.0.0.1" if family == "ip4" else "::1"
    return list(dict.fromkeys([*first, *others]))[:MOST_ANNOUNCED] or [loopback]
