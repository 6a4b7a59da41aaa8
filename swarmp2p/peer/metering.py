"""Receipts among peers: each signs, at the end of a round, how many bytes it got from whom, and keeps what others signed.

Nothing depends on them: a lost receipt is a number that is too small in `swarmp2p meter`. See rewards/receipts.py.
"""

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from swarmp2p.core.errors import MessageRefused, SwarmError
from swarmp2p.core.messages import Receipt
from swarmp2p.core.types import Address, Phase
from swarmp2p.home import RECEIPTS_FILE
from swarmp2p.network.wire import MAX_RECEIPTS, decode_receipts, encode_receipts
from swarmp2p.peer.context import Context
from swarmp2p.peer.delivery import Delivery
from swarmp2p.rewards.receipts import ReceiptStore, SignedReceipt, sign_receipt, verify_receipt

TOPIC = "receipts"
MOST_WAITING = 1024
"""Messages that wait to be written down."""
MOST_RECEIPTS = 512
"""Of one member about one round: it has at most 255 others to tell of, and says the last round in pieces."""
MOST_MESSAGES = 16
"""Of one member about one round: two for a large swarm, and more for the last round."""
PLAUSIBLE = 4
"""Times that all updates and two models may be needed in a round, with what is fetched twice because somebody is slow."""
REST = 1.0
"""Seconds after a round before receipts are given: right after it all are busy with its merge, and then training begins."""
LATE = 16
"""Rounds that a receipt may be behind: they may be over sooner than REST."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Heard:
    """What came of an author since it first told of this round, the latest that it told of."""

    round: int
    messages: int = 0
    receipts: int = 0


class Metering:
    """One peer's receipts, given and taken."""

    def __init__(self, context: Context, delivery: Delivery) -> None:
        self._ctx = context
        self._delivery = delivery
        self._send, self._told = trio.open_memory_channel[list[SignedReceipt]](MOST_WAITING)
        self._round = context.view.round
        self._start: dict[Address, int] = dict(context.fetcher.received)
        """What had come before this round."""
        self._signed: dict[Address, int] = {}
        self._heard: dict[Address, _Heard] = {}

    async def run(self) -> None:
        """Until cancelled. A file that cannot be used ends it, and not the peer."""
        store: ReceiptStore | None = None
        try:
            store = await trio.to_thread.run_sync(ReceiptStore, self._ctx.home.path / RECEIPTS_FILE)
            incoming = self._delivery.subscribe(TOPIC, self._valid, self._hear)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._give, store)
                nursery.start_soon(self._take_told, store)
                async for _, data in incoming:
                    await self._take(store, data)
        except* (SwarmError, sqlite3.Error, OSError) as errors:
            _log.warning("no receipts any more: %s", errors.exceptions[0])
        finally:
            if store is not None:
                store.close()

    # ---- given

    async def _give(self, store: ReceiptStore) -> None:
        ctx = self._ctx
        while True:
            changed, view, received = ctx.change(), ctx.view, dict(ctx.fetcher.received)
            if view.round != self._round and view.phase is not Phase.STOPPED:
                with trio.move_on_after(REST):  # the others too are busy now
                    while ctx.view.phase is not Phase.STOPPED:
                        await ctx.changed()
            if view.round != self._round or view.phase is Phase.STOPPED:
                await self._sign(store, received)
            if view.round != self._round:
                self._round, self._start = view.round, received
                self._signed.clear()
            await changed.wait()

    async def _sign(self, store: ReceiptStore, received: Mapping[Address, int]) -> None:
        """Sign what came in this round, as far as it is more than was signed before."""
        ctx = self._ctx
        new: list[SignedReceipt] = []
        for server, total in sorted(received.items()):
            size = total - self._start.get(server, 0)
            if size > self._signed.get(server, 0) and ctx.view.member(server) is not None:
                self._signed[server] = size
                new.append(sign_receipt(Receipt(self._round, server, size), ctx.key, ctx.domain))
        if new:
            await trio.to_thread.run_sync(store.add_all, new)
        for at in range(0, len(new), MAX_RECEIPTS):
            part = [(each.body, each.signature) for each in new[at : at + MAX_RECEIPTS]]
            self._delivery.send(TOPIC, encode_receipts(part))

    # ---- taken

    def _hear(self, author: Address, data: bytes) -> bool:
        """What a member says directly is looked at as gossip is."""
        receipts = self._looked_at(author, data)
        if receipts is None:
            return False
        try:
            self._send.send_nowait(receipts)
        except trio.WouldBlock:
            return False
        return True

    async def _take_told(self, store: ReceiptStore) -> None:
        async for receipts in self._told:
            members = self._members()
            still = [each for each in receipts if {each.client, each.body.server} <= members]
            await trio.to_thread.run_sync(store.add_all, still)

    def _valid(self, author: Address, data: bytes) -> bool:
        """Whether to pass it on."""
        return self._looked_at(author, data) is not None

    def _looked_at(self, author: Address, data: bytes) -> list[SignedReceipt] | None:
        """The receipts, if their author signed all of them, about other members and rounds of now, and they are plausible.

        What costs little is looked at first: up to 200 signatures are recovered only of what is good apart from them.
        """
        try:
            bodies = [body for body, _ in decode_receipts(data)]
            receipts = self._checked(data) if self._plausible(author, bodies) else []
        except MessageRefused as refusal:
            _log.info("refused receipts of 0x%s: %s", author.hex(), refusal)
            return None
        return receipts if receipts and all(each.client == author for each in receipts) else None

    def _plausible(self, author: Address, bodies: Sequence[Receipt]) -> bool:
        """Of one round of now, about other members and each once, not too large, and not too many."""
        view, config = self._ctx.view, self._ctx.config
        round_, servers = bodies[0].round, {body.server for body in bodies}
        if not view.round - LATE <= round_ <= view.round + 1 or any(body.round != round_ for body in bodies):
            return False
        if len(servers) < len(bodies) or author in servers or not servers | {author} <= self._members():
            return False
        most = PLAUSIBLE * (len(view.members) + 2) * max(config.size, config.update_size)
        if any(body.size > most for body in bodies):
            return False
        heard = self._heard.get(author, _Heard(0))
        if round_ > heard.round:
            heard = _Heard(round_)
        self._heard[author] = _Heard(heard.round, heard.messages + 1, heard.receipts + len(bodies))
        return heard.messages < MOST_MESSAGES and heard.receipts + len(bodies) <= MOST_RECEIPTS

    def _members(self) -> set[Address]:
        return {member.address for member in self._ctx.view.members if member.status.enrolled}

    def _checked(self, data: bytes) -> list[SignedReceipt]:
        members = self._members()
        received = decode_receipts(data)
        return [verify_receipt(body, signature, self._ctx.domain, members) for body, signature in received]

    async def _take(self, store: ReceiptStore, data: bytes) -> None:
        try:
            receipts = self._checked(data)
        except MessageRefused:  # its author or its server has left meanwhile
            return
        await trio.to_thread.run_sync(store.add_all, receipts)
