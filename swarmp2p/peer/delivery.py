"""Brings messages to the others: straight to each that can be dialled, by gossip where that leaves somebody out.

Gossip takes tens of milliseconds a hop, costs each peer several of computing, and loses a message now and then; one over a
connection of the content exchange is there at once, or known not to be. In a large swarm gossip is the cheaper of the two,
and the only one used.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

import trio

from swarmp2p.content.exchange import Hear
from swarmp2p.core.types import Address
from swarmp2p.network.interface import Messages, Validator, topic_name
from swarmp2p.peer.context import Context

FEW = 32
"""Others, at most, that messages are brought to one by one."""
PATIENCE = 0.5
"""Seconds after which a message that has not got through to everybody goes out by gossip."""
REMEMBERED = 512
"""Messages of which it is known who has them."""


@dataclass(frozen=True)
class _Letter:
    topic: str
    data: bytes
    reached: set[Address] = field(default_factory=set)
    gossip: bool = True
    lasts: bool = True
    """It is as true later as now."""
    first: frozenset[Address] = frozenset()
    """Whom alone it goes to, if they all take it."""


class Delivery:
    """All topics of one peer.

    A topic goes by a short name here, such as "round"; in gossip that of the swarm is added to it.
    """

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self._send, self._outbox = trio.open_memory_channel[_Letter](math.inf)
        self._reached: OrderedDict[tuple[str, bytes], set[Address]] = OrderedDict()
        self._hearers: dict[str, Validator] = {}

    def send(self, topic: str, data: bytes, first: Iterable[Address] = ()) -> None:
        """Bring a message to all members who do not have it yet. Returns at once.

        Args:
            first: who need it now. If these can be told directly, all others get it only with the next `send` of it.
        """
        reached = self._reached.setdefault((topic, data), set())
        while len(self._reached) > REMEMBERED:
            self._reached.popitem(last=False)
        self._send.send_nowait(_Letter(topic, data, reached, first=frozenset(first)))

    def nudge(self, topic: str, data: bytes) -> None:
        """Bring a message to all members, even if it is one that they have; it is worth something only now. Returns at
        once."""
        self._send.send_nowait(_Letter(topic, data, lasts=False))

    def tell_directly(self, topic: str, data: bytes) -> None:
        """`nudge`, but only to those who can be dialled."""
        self._send.send_nowait(_Letter(topic, data, gossip=False, lasts=False))

    def subscribe(self, topic: str, validator: Validator, heard: Validator) -> Messages:
        """Messages that come by gossip; those that come directly go to `heard`.

        Args:
            validator: whether gossip is to be passed on.
            heard: as for `listen`.
        """
        self.listen(topic, heard)
        return self._ctx.host.subscribe(self._full_name(topic), validator)

    def listen(self, topic: str, heard: Validator) -> None:
        """Take messages that come directly.

        Args:
            heard: called in trio's thread with author and message; whether it was worth anything.
        """
        self._hearers[topic] = heard

    async def run(self) -> None:
        """Send, and hand in what comes directly, until cancelled."""
        if self._ctx.tls is not None:
            self._ctx.tls.hear = self._hear_in(trio.lowlevel.current_trio_token())
        async with trio.open_nursery() as nursery:
            async for letter in self._outbox:
                nursery.start_soon(self._deliver, letter)

    def _hear_in(self, token: trio.lowlevel.TrioToken) -> Hear:
        def hear(member: Address, topic: str, data: bytes) -> bool:
            heard = self._hearers.get(topic)
            if heard is None:
                return False
            try:
                return trio.from_thread.run_sync(heard, member, data, trio_token=token)
            except trio.RunFinishedError:
                return False

        return hear

    async def _deliver(self, letter: _Letter) -> None:
        others = self._others()
        if self._ctx.tls is not None and len(others) <= FEW:
            if letter.first:
                await self._tell_each(others & letter.first, letter)
                if letter.first <= letter.reached:
                    return
            await self._tell_each(others, letter)
        if letter.gossip and not others <= letter.reached:
            await self._ctx.host.publish(self._full_name(letter.topic), letter.data)

    async def _tell_each(self, members: Set[Address], letter: _Letter) -> None:
        with trio.move_on_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for member in members - letter.reached:
                    nursery.start_soon(self._tell, member, letter)

    async def _tell(self, member: Address, letter: _Letter) -> None:
        tls = self._ctx.tls
        if tls is None:
            return
        taken = await tls.links.tell(member, letter.topic, letter.data, PATIENCE)
        # Who refuses it now may be behind, and take it later.
        if taken or (taken is False and not letter.lasts):
            letter.reached.add(member)

    def _others(self) -> set[Address]:
        ctx, now = self._ctx, self._ctx.clock()
        return {m.address for m in ctx.view.members if m.status.enrolled and m.expires >= now} - {ctx.store.me}

    def _full_name(self, topic: str) -> str:
        return topic_name(self._ctx.manifest.chain_id, self._ctx.manifest.contract, topic)
