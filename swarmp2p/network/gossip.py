"""Gossipsub, set up for few, small, signed messages (DESIGN, section 4)."""

import logging
from collections import defaultdict
from collections.abc import Callable

import trio
from libp2p.abc import IHost
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11, PROTOCOL_ID_V12, GossipSub
from libp2p.pubsub.pb import rpc_pb2

from swarmp2p.core.types import Address
from swarmp2p.network.hardening import SafePubsub
from swarmp2p.network.interface import MAX_MESSAGE, Messages, Validator
from swarmp2p.network.peer_ids import address_of_peer

_log = logging.getLogger(__name__)

DEGREE, DEGREE_LOW, DEGREE_HIGH = 6, 4, 12
HEARTBEAT = 1
"""Seconds; py-libp2p's default of 120 repairs a mesh only after minutes."""
MAX_FRAME = 256 * 1024
"""Bytes of one RPC that is taken in; several messages may share one."""
RATE, BURST = 50.0, 200.0
"""Messages a second and author that are passed on, and how many at once."""
PACE = 0.002
"""Seconds between two messages of our own: py-libp2p's queue to a peer holds 32 frames and drops more silently."""


class _Bucket:
    """A token bucket."""

    def __init__(self) -> None:
        self.tokens, self.at = BURST, trio.current_time()

    def take(self) -> bool:
        now = trio.current_time()
        self.tokens, self.at = min(BURST, self.tokens + (now - self.at) * RATE), now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Gossip:
    """Topics of one host."""

    def __init__(self, host: IHost) -> None:
        router = GossipSub(
            protocols=[PROTOCOL_ID_V12, PROTOCOL_ID_V11, PROTOCOL_ID],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=HEARTBEAT,
            adaptive_gossip_enabled=False,  # it slows the heartbeat to a minute just when the network is in trouble
            spam_protection_enabled=False,  # its 10 messages a second would hang rounds; the limit here is per author
            eclipse_protection_enabled=False,  # members behind one address are normal, and are members by their key
        )
        self.pubsub = SafePubsub(host, router, strict_signing=True, max_inbound_rpc_size=MAX_FRAME)
        self.router = router
        self.dropped = 0
        self._me = host.get_id()
        self._topics: set[str] = set()
        self._sending = trio.Lock()
        self._rates: defaultdict[Address, _Bucket] = defaultdict(_Bucket)

    async def publish(self, topic: str, data: bytes) -> None:
        """Send to all subscribers, a little apart from the message before."""
        if len(data) > MAX_MESSAGE:
            raise ValueError(f"a gossip message of {len(data)} bytes is above the limit of {MAX_MESSAGE}")
        async with self._sending:
            await self.pubsub.publish(topic, data)
            await trio.sleep(PACE)

    def subscribe(self, nursery: trio.Nursery, topic: str, validator: Validator, capacity: int) -> Messages:
        """Messages of others that the validator accepts."""
        if topic in self._topics:
            raise ValueError(f"{topic} is subscribed to already")
        self._topics.add(topic)
        self.pubsub.set_topic_validator(topic, self._checked(validator), False)
        sender, receiver = trio.open_memory_channel[tuple[Address, bytes]](capacity)
        nursery.start_soon(self._pump, topic, sender, receiver.clone())
        return receiver

    def _checked(self, validator: Validator) -> Callable[[ID, rpc_pb2.Message], bool]:
        def check(forwarder: ID, message: rpc_pb2.Message) -> bool:
            author = address_of_peer(ID(message.from_id))
            if author is None or len(message.data) > MAX_MESSAGE:
                return False
            if message.from_id == self._me.to_bytes():
                return True
            if not self._rates[author].take():
                _log.info("0x%s sends too much; dropped a message", author.hex())
                return False
            try:
                return bool(validator(author, bytes(message.data)))
            except Exception as error:
                _log.warning("a message validator failed: %r", error)
                return False

        return check

    async def _pump(
        self,
        topic: str,
        sender: trio.MemorySendChannel[tuple[Address, bytes]],
        own: trio.MemoryReceiveChannel[tuple[Address, bytes]],
    ) -> None:
        """Empty py-libp2p's queue of 32 at once into one of ours, which forgets the oldest."""
        subscription = await self.pubsub.subscribe(topic)
        while True:
            message = await subscription.get()
            author = address_of_peer(ID(message.from_id))
            if author is None or message.from_id == self._me.to_bytes():
                continue
            if own.statistics().open_receive_channels == 1:
                await self.pubsub.unsubscribe(topic)
                self._topics.discard(topic)
                return
            try:
                sender.send_nowait((author, bytes(message.data)))
            except trio.WouldBlock:
                own.receive_nowait()
                self.dropped += 1
                sender.send_nowait((author, bytes(message.data)))
