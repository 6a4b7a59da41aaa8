"""Hosts within one process, without sockets: the network's surface for tests, under any clock, with faults on demand."""

import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager

import trio

from swarmp2p.core.errors import ConfigError, PeerUnreachable
from swarmp2p.core.types import Address
from swarmp2p.identity import Key
from swarmp2p.network.interface import MAX_MESSAGE, Messages, NetworkStatus, Stream, StreamHandler, Target, Validator
from swarmp2p.network.peer_ids import peer_id_of
from swarmp2p.testing.memory_stream import MemoryStream, memory_stream_pair


class MemoryNetwork:
    """The ether between `MemoryHost`s. Made by `open_memory_network`.

    Attributes:
        loss: probability that a gossip message is lost on one hop between two hosts.
        delay: seconds that a hop takes, drawn evenly between the two.
        loses: called with (from, to, data) for every hop; True loses it. For faults aimed at one message.
    """

    def __init__(self, nursery: trio.Nursery, seed: int) -> None:
        self.loss = 0.0
        self.delay = (0.0, 0.0)
        self.loses: Callable[[Address, Address, bytes], bool] = lambda sender, receiver, data: False
        self.hosts: dict[Address, MemoryHost] = {}
        self.changed = trio.Event()
        self._nursery = nursery
        self._chance = random.Random(seed)
        self._groups: tuple[frozenset[Address], ...] = ()
        self._links: dict[frozenset[Address], list[MemoryStream]] = {}
        self._published = 0

    @asynccontextmanager
    async def open_host(self, secret: bytes) -> AsyncIterator["MemoryHost"]:
        """A host with this secp256k1 secret; the same secret again is the same peer, restarted."""
        host = MemoryHost(self, Key(secret))
        if host.address in self.hosts:
            raise ConfigError(f"0x{host.address.hex()} is open already.", "Close it first.")
        self.hosts[host.address] = host
        self.settle()
        try:
            yield host
        finally:
            del self.hosts[host.address]
            self.settle()

    def partition(self, *groups: Collection[Address]) -> None:
        """Cut all connections between groups; hosts in no group are alone."""
        self._groups = tuple(frozenset(group) for group in groups)
        self.settle()

    def heal(self) -> None:
        """End the partition; hosts dial each other again."""
        self._groups = ()
        self.settle()

    def settle(self) -> None:
        """Make and cut connections as they have to be now."""
        for link in list(self._links):
            if not self._may_link(*link):
                for stream in self._links.pop(link):
                    stream.break_off()
        for host in self.hosts.values():
            for target in host.targets.values():
                problem = self._problem(host, target.address)
                if problem:
                    target.attempts, target.problem = target.attempts + 1, problem
                else:
                    target.attempts, target.problem = 0, ""
                    self._links.setdefault(frozenset((host.address, target.address)), [])
        self.changed.set()
        self.changed = trio.Event()

    def neighbours(self, address: Address) -> list[Address]:
        """Whom a host is connected with, in order of address."""
        return sorted(other for link in self._links if address in link for other in link - {address})

    def connect_stream(self, one: Address, other: Address) -> tuple[MemoryStream, MemoryStream]:
        """Two ends of a stream that breaks with the connection."""
        ends = memory_stream_pair()
        self._links[frozenset((one, other))] += ends
        return ends

    def start(self, handler: StreamHandler, stream: MemoryStream, peer: Address) -> None:
        """Run a stream's handler; a failure ends the stream only."""

        async def serve() -> None:
            try:
                await handler(stream, peer)
            except Exception:
                stream.break_off()
            finally:
                await stream.aclose()

        self._nursery.start_soon(serve)

    def publish(self, author: Address, topic: str, data: bytes) -> None:
        """Flood a message over those that subscribe and accept it."""
        self._published += 1
        self.hosts[author].seen.add(self._published)
        self.spread(author, author, self._published, topic, data)

    def spread(self, author: Address, sender: Address, number: int, topic: str, data: bytes) -> None:
        """One hop further, to all neighbours."""
        for receiver in self.neighbours(sender):
            if self._chance.random() >= self.loss and not self.loses(sender, receiver, data):
                seconds = self._chance.uniform(*self.delay)
                self._nursery.start_soon(self._hop, seconds, author, receiver, number, topic, data)

    async def _hop(
        self, seconds: float, author: Address, receiver: Address, number: int, topic: str, data: bytes
    ) -> None:
        await trio.sleep(seconds)
        host = self.hosts.get(receiver)
        if host is not None and number not in host.seen and host.take(author, topic, data):
            host.seen.add(number)
            self.spread(author, receiver, number, topic, data)

    def _may_link(self, one: Address, other: Address) -> bool:
        return not self._problem(self.hosts.get(one), other)

    def _problem(self, host: "MemoryHost | None", other: Address) -> str:
        peer = self.hosts.get(other)
        if host is None or peer is None:
            return "it is not running"
        if not host.admits(other) or not peer.admits(host.address):
            return "one is no member to the other"
        if self._groups and not any({host.address, other} <= group for group in self._groups):
            return "the network is partitioned"
        return ""


class _Dialled:
    """A member that a host dials."""

    def __init__(self, address: Address, multiaddr: str) -> None:
        self.address, self.multiaddr = address, multiaddr
        self.attempts, self.problem = 0, ""


class MemoryHost:
    """Implements `swarmp2p.network.interface.Host`."""

    def __init__(self, network: MemoryNetwork, key: Key) -> None:
        self.address = key.address
        self.peer_id = str(peer_id_of(key.public))
        self.targets: dict[Address, _Dialled] = {}
        self.seen: set[int] = set()
        self._network = network
        self._members: frozenset[Address] | None = None
        self._handlers: dict[str, StreamHandler] = {}
        self._refused = self._dropped = 0
        self._topics: dict[
            str,
            tuple[
                Validator,
                trio.MemorySendChannel[tuple[Address, bytes]],
                trio.MemoryReceiveChannel[tuple[Address, bytes]],
            ],
        ] = {}

    def multiaddrs(self) -> list[str]:
        """One, of a kind that only memory hosts dial."""
        return [f"/memory/{self.address.hex()}/p2p/{self.peer_id}"]

    def admits(self, address: Address) -> bool:
        """Whether the gate lets this one in."""
        return self._members is None or address in self._members

    def set_members(self, members: frozenset[Address] | None) -> None:
        """Who may connect."""
        self._members = members
        self._network.settle()

    def know(self, multiaddrs: Iterable[str]) -> None:
        """Dial these."""
        for address, multiaddr in [_parse(text) for text in multiaddrs]:
            if address != self.address:
                self.targets.setdefault(address, _Dialled(address, multiaddr))
        self._network.settle()

    def forget(self, address: Address) -> None:
        """Stop dialling."""
        self.targets.pop(address, None)

    def connected(self) -> frozenset[Address]:
        """Whom we hold a connection with."""
        return frozenset(self._network.neighbours(self.address))

    async def wait_connected(self, addresses: Collection[Address]) -> None:
        """Return when all are connected."""
        await trio.lowlevel.checkpoint()
        while not self.connected() >= set(addresses):
            await self._network.changed.wait()

    async def wait_disconnected(self, address: Address) -> None:
        """Return when this one is not connected."""
        await trio.lowlevel.checkpoint()
        while address in self.connected():
            await self._network.changed.wait()

    async def wait_subscribers(self, topic: str, addresses: Collection[Address]) -> None:
        """Return when all would get a message."""
        await self.wait_connected(addresses)
        while not all(
            topic in host._topics for address in addresses if (host := self._network.hosts.get(address)) is not None
        ):
            await self._network.changed.wait()

    async def publish(self, topic: str, data: bytes) -> None:
        """Send to all subscribers."""
        if len(data) > MAX_MESSAGE:
            raise ValueError(f"a gossip message of {len(data)} bytes is above the limit of {MAX_MESSAGE}")
        await trio.lowlevel.checkpoint()
        self._network.publish(self.address, topic, data)

    def subscribe(self, topic: str, validator: Validator, *, capacity: int = 1024) -> Messages:
        """Messages of others."""
        if topic in self._topics and not _abandoned(self._topics[topic][2]):
            raise ValueError(f"{topic} is subscribed to already")
        sender, receiver = trio.open_memory_channel[tuple[Address, bytes]](capacity)
        self._topics[topic] = (validator, sender, receiver.clone())
        self._network.settle()
        return receiver

    def take(self, author: Address, topic: str, data: bytes) -> bool:
        """A message arrives: deliver it, and say whether it goes on."""
        if topic not in self._topics or author == self.address or not self.admits(author):
            return False
        validator, sender, own = self._topics[topic]
        if _abandoned(own):
            del self._topics[topic]
            return False
        try:
            if not validator(author, data):
                return False
        except Exception:
            return False
        try:
            sender.send_nowait((author, data))
        except trio.WouldBlock:
            own.receive_nowait()
            self._dropped += 1
            sender.send_nowait((author, data))
        return True

    async def open_stream(self, address: Address, protocol: str) -> Stream:
        """A new stream to a connected member."""
        await trio.lowlevel.checkpoint()
        if address not in self.connected():
            raise PeerUnreachable(f"0x{address.hex()} is not connected.", "It is dialled again and again.")
        handler = self._network.hosts[address]._handlers.get(protocol)
        if handler is None:
            raise PeerUnreachable(f"0x{address.hex()} does not speak {protocol}.")
        ours, theirs = self._network.connect_stream(self.address, address)
        self._network.start(handler, theirs, self.address)
        return ours

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Serve incoming streams of a protocol."""
        self._handlers[protocol] = handler

    def status(self) -> NetworkStatus:
        """For people."""
        connected = self.connected()
        return NetworkStatus(
            listening=tuple(self.multiaddrs()),
            connected=connected,
            targets=tuple(
                Target(t.address, (t.multiaddr,), t.address in connected, t.attempts, t.problem)
                for t in self.targets.values()
            ),
            refused=sum(
                self.address in host.targets and not self.admits(address)
                for address, host in self._network.hosts.items()
            ),
            dropped=self._dropped,
        )


@asynccontextmanager
async def open_memory_network(seed: int = 0) -> AsyncIterator[MemoryNetwork]:
    """An empty network; what its seed decides is loss and delay."""
    async with trio.open_nursery() as nursery:
        yield MemoryNetwork(nursery, seed)
        nursery.cancel_scope.cancel()


def _abandoned(own: "trio.MemoryReceiveChannel[tuple[Address, bytes]]") -> bool:
    return own.statistics().open_receive_channels == 1


def _parse(text: str) -> tuple[Address, str]:
    parts = text.split("/")
    try:
        if len(parts) != 5 or (parts[0], parts[1], parts[3]) != ("", "memory", "p2p") or len(parts[2]) != 40:
            raise ValueError("not /memory/<address>/p2p/<peer id>")
        return bytes.fromhex(parts[2]), text
    except ValueError as error:
        raise ConfigError(f"{text!r} is no address of a memory host: {error}.", "Use its multiaddrs().") from None
