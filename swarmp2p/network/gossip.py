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

DEGREE, DEGREE_LOW, DEGREE_HIGH = 5, 4, 256
"""A peer asks for links up to 5 when it has fewer than 4, and takes all that it is asked for (256: as many as a swarm has
members). py-libp2p's pruning is not used: of 16 peers, those that all the others had pruned got no messages for a minute."""
BACK_OFF = 5
"""Seconds before a link that was refused or given up is asked for again; py-libp2p's default is 60."""
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


class _Router(GossipSub):
    """Gossipsub that sends each peer the control messages that are for it."""

    async def _emit_control_msgs(
        self,
        peers_to_graft: dict[ID, list[str]],
        peers_to_prune: dict[ID, list[str]],
        peers_to_gossip: dict[ID, dict[str, list[bytes]]],
    ) -> None:
        # One peer at a time: py-libp2p's loop sends each peer also what it collected for those before.
        for peer in dict.fromkeys([*peers_to_graft, *peers_to_prune, *peers_to_gossip]):
            await super()._emit_control_msgs(
                {peer: peers_to_graft[peer]} if peer in peers_to_graft else {},
                {peer: peers_to_prune[peer]} if peer in peers_to_prune else {},
                {peer: peers_to_gossip[peer]} if peer in peers_to_gossip else {},
            )

    def _perform_opportunistic_grafting(self, topic: str, peers_to_graft: dict[ID, list[str]]) -> int:
        """None: scores are all zero without weights, so that it linked everybody to everybody."""
        return 0

    async def _maintain_mesh_quality(self, topic: str) -> None:
        """Not done: it replaces links by scores as well."""


class Gossip:
    """Topics of one host."""

    def __init__(self, host: IHost, admits: Callable[[Address], bool], is_member: Callable[[ID], bool]) -> None:
        router = _Router(
            protocols=[PROTOCOL_ID_V12, PROTOCOL_ID_V11, PROTOCOL_ID],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=HEARTBEAT,
            prune_back_off=BACK_OFF,
            unsubscribe_back_off=BACK_OFF,
            adaptive_gossip_enabled=False,  # it slows the heartbeat to a minute just when the network is in trouble
            spam_protection_enabled=False,  # its 10 messages a second would hang rounds; the limit here is per author
            eclipse_protection_enabled=False,  # members behind one address are normal, and are members by their key
        )
        self.pubsub = SafePubsub(host, router, strict_signing=True, max_inbound_rpc_size=MAX_FRAME, is_member=is_member)
        self.router = router
        self.dropped = 0
        self._me = host.get_id()
        self._admits = admits
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
            if not self._admits(author):  # a member passes on what another key signed
                return False
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
                self._topics.discard(topic)
                try:
                    await self.pubsub.unsubscribe(topic)
                except Exception as error:
                    _log.info("leaving %s failed: %r", topic, error)
                return
            try:
                sender.send_nowait((author, bytes(message.data)))
            except trio.WouldBlock:
                own.receive_nowait()
                self.dropped += 1
                sender.send_nowait((author, bytes(message.data)))
