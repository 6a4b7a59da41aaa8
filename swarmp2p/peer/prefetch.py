"""Fetches updates while others still train, so that little is left to move once the round is sealed.

The roster is known only at the seal; until then it is guessed from those waited for (docs/protocol.md, section 5). A wrong
guess costs a transfer, nothing else: `decide` neither knows nor needs to know of it.
"""

import logging
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial

import trio

from swarmp2p.content.interface import Target
from swarmp2p.content.unixfs import chunk_count
from swarmp2p.core.election import duties
from swarmp2p.core.errors import MessageRefused, SwarmError
from swarmp2p.core.messages import Hint
from swarmp2p.core.slices import chunk_range, stretches
from swarmp2p.core.types import CHUNK_SIZE, NO_DIGEST, Address, Bitmap, Digest, Phase, bits
from swarmp2p.failures import unwrapped
from swarmp2p.network.wire import decode_message, encode_hint
from swarmp2p.peer.context import Context
from swarmp2p.peer.delivery import Delivery
from swarmp2p.peer.following import PATIENCE
from swarmp2p.peer.writing import Room, Taking, guessed_order, writing_name

TOPIC = "updates"
"""Of what is on its way to the chain."""

_log = logging.getLogger(__name__)


class Allowance:
    """Chunks that may be fetched before a round is sealed, shared out to whose updates come first."""

    def __init__(self) -> None:
        self._granted: dict[Address, int] = {}

    def grant(self, member: Address, chunks: Iterable[int], most: int) -> list[int]:
        """Of a member's update, the chunks that may be fetched: the first ones, of `most` in all. Asking again, with the same
        chunks, gives no more and no fewer than before if `most` is the same."""
        left = most - sum(count for other, count in self._granted.items() if other != member)
        granted = sorted(chunks)[: max(0, left)]
        self._granted[member] = len(granted)
        return granted

    def clear(self) -> None:
        """Another round."""
        self._granted.clear()


class Prefetch:
    """A task beside the driver's."""

    def __init__(self, context: Context, delivery: Delivery) -> None:
        self._ctx = context
        self._delivery = delivery
        self._had: set[Digest] = set()
        self._said: Hint | None = None
        self._collecting: int | None = None
        """The round that collects updates, as last seen."""
        self._writers: dict[Address, int] = {}
        """Members that said they are writing their updates, of which round."""
        self._takings: dict[Address, Taking] = {}
        self._room = Room()
        self._nursery: trio.Nursery | None = None
        self._allowance = Allowance()

    async def run(self) -> None:
        """Look at each submission, new or announced, until cancelled."""
        self._delivery.listen(TOPIC, self._hear)
        async with trio.open_nursery() as self._nursery:
            try:
                while True:
                    changed = self._ctx.change()
                    self._look()
                    await changed.wait()
            finally:
                self._nursery = None  # it closes; something may still be heard

    def _look(self) -> None:
        """Begin to fetch what is new."""
        collecting = self._ctx.view.round if self._ctx.view.phase is Phase.COLLECTING else None
        if collecting != self._collecting:
            self._forget()
            self._collecting = collecting
        if collecting is None or self._nursery is None or not self._has_room():
            return
        for address, digest in [*self._submitted(), *self._announced()]:
            if digest not in self._had:
                self._had.add(digest)
                self._nursery.start_soon(self._fetch, address, digest)
        for address in self._writing():
            self._takings[address] = Taking(self._room, partial(self._came, address))
            self._nursery.start_soon(self._take, address, self._takings[address])

    def _has_room(self) -> bool:
        """Whether the last round's updates are gone: those of two rounds would be more than a disk is asked to hold."""
        return self._ctx.collected_at == self._ctx.view.head

    def _forget(self) -> None:
        """The round is sealed: what has no leaf list by now is fetched as any other."""
        self._had.clear()
        self._allowance.clear()
        for taking in self._takings.values():
            if not taking.proven:
                taking.drop()
        self._takings.clear()

    def announce(self, hint: Hint) -> None:
        """Tell the others of an update that this peer is about to submit, once."""
        if hint == self._said:
            return
        self._said = hint
        self._delivery.tell_directly(TOPIC, encode_hint(hint))

    def _hear(self, author: Address, data: bytes) -> bool:
        try:
            message = decode_message(data)
        except MessageRefused:
            return False
        member = self._ctx.view.member(author)
        if not isinstance(message, Hint) or message.round != self._ctx.view.round or member is None:
            return False
        if message.digest == NO_DIGEST:
            self._writers[author] = message.round
        else:
            self._ctx.announced[author] = message
        self._look()  # nobody else has to
        return True

    def _submitted(self) -> list[tuple[Address, Digest]]:
        view = self._ctx.view
        members = [view.member_at(index) for index in bits(view.submitted)]
        return [(member.address, member.digest) for member in members if member is not None]

    def _announced(self) -> list[tuple[Address, Digest]]:
        """Updates whose submission is on its way to the chain, one a member."""
        announced, round_ = self._ctx.announced, self._ctx.view.round
        hints = [(address, announced[address]) for address in self._awaited() if address in announced]
        return [(address, hint.digest) for address, hint in hints if hint.round == round_]

    def _awaited(self) -> list[Address]:
        """Members that the round waits for, and who have not submitted."""
        view = self._ctx.view
        awaited = [view.member_at(index) for index in bits(view.wait_for & ~view.submitted)]
        return [member.address for member in awaited if member is not None]

    def _writing(self) -> list[Address]:
        """Members whose updates may be had while they are written, and of which none is taken so far."""
        if self._ctx.turns.fast:
            return []
        named = {address for address, _ in self._announced()} | {self._ctx.store.me} | self._takings.keys()
        writing = [each for each in self._awaited() if self._writers.get(each) == self._ctx.view.round]
        return [address for address in writing if address not in named]

    async def _take(self, member: Address, taking: Taking) -> None:
        """Take a member's update while it is written. Where links are fast this would only cost computing."""
        ctx = self._ctx
        name = writing_name(ctx.view.round, ctx.view.head, member)
        total = chunk_count(ctx.config.update_size)
        try:
            with taking.scope, unwrapped():
                schema, guess = await ctx.schema(), self._guess()
                needed = await trio.to_thread.run_sync(ctx.rule.update_chunks, schema, guess)
                taking.wanted = self._allowance.grant(member, needed, self.most())
                async with self._turn_of(member, len(taking.wanted)):
                    for first, end in stretches(taking.wanted):
                        await ctx.fetcher.follow(name, total, member, taking.take, range(first, end))
        except SwarmError as error:
            _log.info("could not take an update while it was written: %s", error)
        finally:
            taking.ended.set()

    def _came(self, member: Address, digest: Digest, index: int, length: int) -> None:
        self._ctx.fetcher.received[member] += length
        self._ctx.fetcher.arrived.came(digest, index)

    async def _fetch(self, member: Address, digest: Digest) -> None:
        ctx, size = self._ctx, self._ctx.config.update_size
        if member == ctx.store.me:
            return
        taking = self._takings.get(member)
        try:
            with unwrapped():
                leaf_list = await ctx.fetcher.fetch_leaf_list(digest, size, prefer=[member])
                with ctx.fetcher.expecting(digest, () if taking is None else taking.wanted):
                    schema, guess = await ctx.schema(), self._guess()

                    def prepare() -> tuple[Target, set[int]]:
                        target = ctx.content.begin(digest, size, leaf_list).target(0, leaf_list, digest)
                        if taking is not None:
                            taking.prove(target)
                        return target, ctx.rule.update_chunks(schema, guess)

                    target, needed = await trio.to_thread.run_sync(prepare)
                    chunks = self._allowance.grant(member, needed, self.most())
                    if taking is not None:
                        await taking.settled(PATIENCE)
                async with self._turn_of(member, len(chunks)):
                    for first, end in stretches(chunks):
                        await ctx.fetcher.fetch_chunks(target, first, end, prefer=[member])
        except SwarmError as error:
            _log.info("could not prefetch: %s", error)

    def _turn_of(self, member: Address, chunks: int) -> AbstractAsyncContextManager[None]:
        known = self._ctx.view.member(member)
        return self._ctx.turn_of(None if known is None else known.index, chunks, self._roster())

    def _roster(self) -> Bitmap:
        return self._ctx.view.wait_for | self._ctx.view.submitted

    def most(self) -> int:
        """Chunks that may be here before the seal: beside the head, the best model and the own update, a disk is asked for no
        more than one model besides the round's inputs. (What a rule reads of earlier models comes on top.)"""
        view, config = self._ctx.view, self._ctx.config
        others = self._roster().bit_count() - 1
        return (others * config.update_size + (1 - len({view.head, view.best})) * config.size) // CHUNK_SIZE

    def _guess(self) -> list[int]:
        """Chunks of the merged model in the slices that this member will probably be on duty for."""
        config, me = self._ctx.config, self._ctx.view.member(self._ctx.store.me)
        order, k = guessed_order(self._ctx.view, config)
        if me is None or me.index not in order:
            return []
        return [
            chunk for slice_ in duties(order, me.index, k, config.q) for chunk in chunk_range(slice_, k, config.chunks)
        ]
