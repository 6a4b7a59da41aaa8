"""Keeps dialling the members that are known: from any start order, after any loss, without ever giving up."""

import logging
import random
from collections.abc import Callable, Iterable
from typing import Any

import trio
from libp2p.abc import IHost
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from swarmp2p.core.errors import ConfigError
from swarmp2p.core.types import Address
from swarmp2p.network.interface import Target
from swarmp2p.network.peer_ids import address_of_peer

_log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between two attempts, doubled after each failure."""
DIAL_TIMEOUT = 5.0
MAX_ADDRESSES = 8
"""Addresses kept of one member, the newest."""


class Bootstrap:
    """One dialling task a member."""

    def __init__(self, host: IHost, admits: Callable[[Address], bool]) -> None:
        self._host = host
        self._network: Any = host.get_network()
        self._admits = admits
        self._targets: dict[Address, _Dialling] = {}
        self._nursery: trio.Nursery | None = None
        self.changed = trio.Event()

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Dial until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None  # it closes; something may still become known

    def know(self, multiaddrs: Iterable[str]) -> None:
        """Add addresses; all are checked before any is added."""
        own = address_of_peer(self._host.get_id())
        for address, multiaddr, peer_id in [_parse(text) for text in multiaddrs]:
            if address == own:
                continue
            target = self._targets.get(address)
            if target is None:
                target = self._targets[address] = _Dialling(address, peer_id)
                if self._nursery is not None:
                    self._nursery.start_soon(self._keep_connected, target)
            if multiaddr not in target.multiaddrs:
                target.multiaddrs = [*target.multiaddrs, multiaddr][-MAX_ADDRESSES:]
                target.wake.set()

    def forget(self, address: Address) -> None:
        """Stop dialling a member."""
        target = self._targets.pop(address, None)
        if target is not None:
            target.scope.cancel()

    def connection_changed(self) -> None:
        """A connection came or went: look again."""
        for target in self._targets.values():
            target.wake.set()
        self.changed.set()
        self.changed = trio.Event()

    def targets(self) -> tuple[Target, ...]:
        """Whom it dials, and how that goes."""
        return tuple(
            Target(t.address, tuple(map(str, t.multiaddrs)), self._connected(t.peer_id), t.attempts, t.problem)
            for t in self._targets.values()
        )

    def _connected(self, peer_id: ID) -> bool:
        return bool(self._network.get_connections(peer_id))

    async def _keep_connected(self, target: "_Dialling") -> None:
        with target.scope:
            while True:
                target.wake = trio.Event()
                if self._connected(target.peer_id) or not self._admits(target.address):
                    target.attempts, target.problem = 0, ""
                    with trio.move_on_after(LONGEST_PAUSE):
                        await target.wake.wait()
                    continue
                await self._dial(target)

    async def _dial(self, target: "_Dialling") -> None:
        # Each address by itself: py-libp2p's own dialling tries only one TCP address of a peer, for ever the same, none
        # on the loopback interface if there is another, and none at all for 60 seconds after a failure.
        for multiaddr in reversed(target.multiaddrs):
            try:
                with trio.fail_after(DIAL_TIMEOUT):
                    await self._network.dial_addr(multiaddr, target.peer_id)
            except (BaseLibp2pError, OSError, trio.TooSlowError, RuntimeError, ValueError) as error:
                target.problem = _reason(error)
            else:
                target.multiaddrs.remove(multiaddr)
                target.multiaddrs.append(multiaddr)  # the first to be tried the next time
                return
            if self._connected(target.peer_id):
                return
        target.attempts += 1
        if target.attempts & (target.attempts - 1) == 0:  # 1, 2, 4, 8, ...: say it, but ever less often
            addresses = ", ".join(map(str, target.multiaddrs))
            _log.info("still trying 0x%s at %s: %s", target.address.hex(), addresses, target.problem)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(target.attempts - 1, 10))
        with trio.move_on_after(pause * random.uniform(0.5, 1.0)):
            await target.wake.wait()


class _Dialling:
    """A member that is dialled."""

    def __init__(self, address: Address, peer_id: ID) -> None:
        self.address, self.peer_id = address, peer_id
        self.multiaddrs: list[Multiaddr] = []
        self.attempts = 0
        self.problem = ""
        self.wake = trio.Event()
        self.scope = trio.CancelScope()


def _reason(error: BaseException) -> str:
    """The innermost cause that says something: "connection refused", not "dialling failed"."""
    if isinstance(error, trio.TooSlowError):
        return f"no answer within {DIAL_TIMEOUT:.0f} seconds"
    text = str(error)
    while error.__cause__ is not None:
        error = error.__cause__
        text = str(error) or text
    return text.split("\n", 1)[0] or type(error).__name__


def _parse(text: str) -> tuple[Address, Multiaddr, ID]:
    mend = "Write it like /ip4/192.0.2.7/tcp/4001/p2p/16Uiu2…, as the other peer prints it."
    try:
        multiaddr = Multiaddr(text)
        info = info_from_p2p_addr(multiaddr)
    except (MultiaddrError, BaseLibp2pError, ValueError, KeyError) as error:
        raise ConfigError(f"{text!r} is no address of a peer: {error}.", mend) from None
    address = address_of_peer(info.peer_id)
    if address is None or not info.addrs:
        raise ConfigError(f"{text!r} does not end in the PeerID of a secp256k1 key.", mend)
    return address, info.addrs[0], info.peer_id
