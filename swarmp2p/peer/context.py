"""What the parts of one peer share: its layers, its store, the last view, and how they tell of changes."""

import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import trio

from swarmp2p.content.exchange import Fetcher, Live
from swarmp2p.content.interface import ContentStore
from swarmp2p.content.unixfs import cid_text
from swarmp2p.control.interface import Control
from swarmp2p.control.manifest import Manifest
from swarmp2p.core.config import Config, Knobs
from swarmp2p.core.election import leaders, permutation
from swarmp2p.core.errors import ConfigError, SchemaMismatch, SwarmError
from swarmp2p.core.messages import Hint
from swarmp2p.core.schema import Schema, require_aligned
from swarmp2p.core.store import Store
from swarmp2p.core.types import NO_DIGEST, Address, Bitmap, Digest, Phase
from swarmp2p.core.view import View
from swarmp2p.home import Home
from swarmp2p.identity import Key, keccak256
from swarmp2p.merge.rule import Rule
from swarmp2p.merge.tensors import read_schema
from swarmp2p.network.interface import Host
from swarmp2p.peer.events import Broadcast, Event, StepHook
from swarmp2p.peer.ipfs import IpfsLink
from swarmp2p.peer.learner import LearnerThread
from swarmp2p.peer.tls_exchange import TlsExchange
from swarmp2p.peer.turns import Turns, place_after

_log = logging.getLogger(__name__)


TURN_PATIENCE = 0.5
"""Seconds without a chunk after which the next member's turn is come."""
VIEW_PATIENCE = 5.0
"""Seconds for the view to show a transaction of which there is a receipt."""


class Clock:
    """Unix time that follows trio's clock, so that it neither jumps nor, in tests, runs on its own."""

    def __init__(self) -> None:
        self._offset = time.time() - trio.current_time()

    def __call__(self) -> float:
        return self._offset + trio.current_time()


@dataclass
class Context:
    """One peer's shared state; all of it is touched in trio's thread only."""

    home: Home
    manifest: Manifest
    config: Config
    knobs: Knobs
    rule: Rule
    domain: bytes
    """EIP-712 domain separator."""
    contract: Control
    host: Host
    content: ContentStore
    fetcher: Fetcher
    learner: LearnerThread
    store: Store
    view: View
    interval: int
    clock: Clock
    on_step: StepHook | None = None
    tls: TlsExchange | None = None
    live: Live = field(default_factory=Live)
    """Slices that this peer is merging now."""
    ipfs: IpfsLink | None = None
    """Bitswap; None: the network speaks with members alone."""
    on_applied: Callable[[int, Digest, float | None], None] = lambda *_: None
    leaders_of: dict[int, tuple[Address, ...]] = field(default_factory=dict)
    """Leaders of the last sealed round."""
    turns: Turns = field(default_factory=Turns)
    announced: dict[Address, Hint] = field(default_factory=dict)
    """What each member last said that it is about to submit."""
    broadcast: Broadcast = field(default_factory=Broadcast)
    own_update: trio.Lock = field(default_factory=trio.Lock)
    """Held from when the own update is put into the store until `store.update` names it: nothing is collected then."""
    collected_at: Digest | None = None
    """The last head that was here when the store was rid of what is not needed: what it was merged from is gone."""
    _schema: Schema | None = None
    _changed: trio.Event = field(default_factory=trio.Event)

    @property
    def key(self) -> Key:
        """This member's key."""
        return self.home.key

    def public(self) -> set[Digest]:
        """Models that are for all to see where this peer lets in visitors: merged ones, never a single member's update."""
        return {self.view.head, self.view.best, self.config.genesis}

    async def schema(self) -> Schema:
        """Names, shapes and dtypes of the swarm's model: every model has the same head, so the current head has it.

        Raises:
            ContentUnavailable: the head is not here yet.
            SchemaMismatch: the head's schema is not the one that the contract was founded with.
        """
        if self._schema is None:
            head = self.view.head
            schema = await trio.to_thread.run_sync(lambda: read_schema(self.content.path(head)))
            if schema.digest != self.config.schema:
                raise SchemaMismatch("The head has another schema than the swarm.", "This swarm's contract is unsound.")
            require_aligned(schema)
            self._schema = schema
        return self._schema

    async def update_schema(self) -> Schema:
        """Names, shapes and dtypes of updates, which the rule derives from the model's.

        Raises:
            ContentUnavailable, SchemaMismatch: as `schema`.
        """
        schema = self.rule.update_schema(await self.schema())
        if (schema.digest, schema.size) != (self.config.update_schema, self.config.update_size):
            raise SchemaMismatch(
                f"The swarm's updates have another schema than {self.rule.id} gives them.",
                "This swarm's contract is unsound.",
            )
        return schema

    async def lineage(self, round_: int, count: int) -> list[Digest]:
        """Models before the one that a round merged (0: the genesis), latest first. Before the genesis comes the genesis."""
        models = []
        for _ in range(count):
            round_ = (await self.contract.result(round_)).parent_round if round_ else 0
            models.append((await self.contract.result(round_)).merged if round_ else self.config.genesis)
        return models

    async def earlier_heads(self, round_: int) -> list[Digest]:
        """The models that the merge of a round reads: the one that it was trained from, its parent and so on."""
        count = self.rule.heads
        if not count:
            return []
        if round_ != self.view.round or round_ == self.view.head_round:  # it is over; the last one stays the view's
            if (await self.contract.result(round_)).merged == NO_DIGEST:
                raise SwarmError(f"Round {round_} merged nothing.")
            return await self.lineage(round_, count)
        return [self.view.head, *await self.lineage(self.view.head_round, count - 1)]

    def wake(self) -> None:
        """Something that `decide` looks at has changed."""
        self._changed.set()
        self._changed = trio.Event()

    def change(self) -> trio.Event:
        """Set at the next `wake`."""
        return self._changed

    async def changed(self) -> None:
        """Wait for the next `wake`."""
        await self._changed.wait()

    async def view_from(self, block: int) -> None:
        """Wait until the view is of this chain block or a later one, so that its transactions show in it. Not for ever: the
        block may be reorganised away, and a chain that makes no empty blocks never come to its number again."""
        with trio.move_on_after(VIEW_PATIENCE):
            while self.view.block_number < block:
                await self.changed()

    def cid(self, digest: Digest) -> str:
        """The CID of a model of this swarm, as text."""
        return cid_text(digest, self.config.size)

    def order(self) -> list[int]:
        """The roster of the sealed round in the order of its workers."""
        return list(permutation(self.view.roster, self.view.seed, keccak256))

    def leaders(self) -> tuple[Address, ...]:
        """Workers of rank 0 of the sealed round, slice by slice."""
        return self.addresses(leaders(self.order(), self.view.k))

    def addresses(self, indexes: Iterable[int]) -> tuple[Address, ...]:
        """Of the members with these indexes; nothing in place of one that is gone."""
        members = [self.view.member_at(index) for index in indexes]
        return tuple(b"" if member is None else member.address for member in members)

    def turn_of(
        self, index: int | None, chunks: int, roster: Bitmap | None = None, *, last: bool = False
    ) -> AbstractAsyncContextManager[None]:
        """For the time in which content comes from a member (turns.py).

        Args:
            chunks: that will come.
            roster: of the round; None: that of the sealed one.
            last: what others wait for goes first.
        """
        view, me = self.view, self.view.member(self.store.me)
        order = permutation(view.roster if roster is None else roster, view.seed, keccak256)
        own, other = (order.index(i) if i in order else None for i in (None if me is None else me.index, index))
        place = place_after(own, other, len(order))
        return self.turns.turn(place, chunks, lambda: self.fetcher.arrived.count, TURN_PATIENCE, last=last)

    def rank(self) -> int | None:
        """This member's rank for slice 0 while a round merges."""
        me = self.view.member(self.store.me)
        if self.view.phase is not Phase.MERGING or me is None or not self.view.roster >> me.index & 1:
            return None
        return self.order().index(me.index)  # worker(order, 0, r, k) is order[r]

    def admit(self) -> None:
        """Let the network admit exactly the members of the current view whose authorised time has not passed."""
        now = self.clock()
        members = frozenset(m.address for m in self.view.members if m.status.enrolled and m.expires >= now)
        self.host.set_members(members)
        if self.tls is not None:
            self.tls.set_members(members)

    def next_expiry(self) -> float:
        """When the next member's time is over, on trio's clock; infinity: of none."""
        now = self.clock()
        left = min((m.expires - now for m in self.view.members if m.expires >= now), default=math.inf)
        return trio.current_time() + left

    def know(self, multiaddrs: Iterable[str]) -> None:
        """Dial a member's recorded addresses; a useless record is that member's own loss."""
        for multiaddr in multiaddrs:
            try:
                self.host.know([multiaddr])
            except ConfigError as error:
                _log.info("passed over a recorded address: %s", error)

    def step(self, name: str, round_: int) -> None:
        """Right before a step takes effect: tell the hook, then those who watch."""
        if self.on_step is not None:
            self.on_step(name, round_, self.rank())
        self.emit(name, round_)

    def emit(self, kind: str, round_: int, **data: Any) -> None:
        """Tell those who watch."""
        self.broadcast.send(Event(kind, round_, self.clock(), data))
