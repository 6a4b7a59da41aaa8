"""Takes merged chunks from those who merge them while they are at it, so that little is left to move once a slice is claimed.

`decide` neither knows nor needs to know of it: what comes is in the assembly, unproven. Once enough members claim the
slice, its leaf list is compared with the one they claim, and what differs is fetched again (docs/protocol.md, section 5).
"""

import hashlib
import logging
from dataclasses import dataclass, field

import trio

from swarmp2p.content.interface import Part
from swarmp2p.core.election import duties, leaders, permutation
from swarmp2p.core.errors import SwarmError
from swarmp2p.core.observe import excluded_mask
from swarmp2p.core.slices import chunk_range
from swarmp2p.core.store import RoundStore
from swarmp2p.core.types import Address, Bitmap, Digest, Phase
from swarmp2p.failures import unwrapped
from swarmp2p.identity import keccak256
from swarmp2p.peer.context import Context

_log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds without a chunk after which a slice that is claimed is fetched from others."""

Key = tuple[Digest, Bitmap, int]
"""Inputs of the round, excluded members, slice."""


def assembly_name(current: RoundStore, excluded: Bitmap) -> str:
    """The content store's name for the merged model of these inputs in the making."""
    key = hashlib.sha256(current.inputs + excluded.to_bytes(32, "big")).hexdigest()[:32]
    return f"round-{current.round}-{key}"


def live_name(inputs: Digest, excluded: Bitmap, slice_: int) -> Digest:
    """The name by which a slice goes while it is merged (docs/protocol.md, section 5)."""
    return hashlib.sha256(
        b"swarmp2p slice in the making" + inputs + excluded.to_bytes(32, "big") + bytes([slice_])
    ).digest()


@dataclass(eq=False)
class _Follow:
    """One slice that is taken from its leader."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    came: int = 0


class Following:
    """A task beside the driver's."""

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self._follows: dict[Key, _Follow] = {}

    async def run(self) -> None:
        """Follow the leaders of each sealed round until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                changed = self._ctx.change()
                wanted, current = (self._wanted() if self._ctx.tls is not None else {}), self._ctx.store.round
                for key, old in list(self._follows.items()):
                    if not self._of_use(key[0]):
                        old.scope.cancel()
                        del self._follows[key]
                for key, leader in wanted.items():
                    if key not in self._follows and current is not None:
                        self._follows[key] = _Follow()
                        nursery.start_soon(self._follow, key, current, leader, self._follows[key])
                await changed.wait()

    def _of_use(self, inputs: Digest) -> bool:
        """Whether what these make is being merged, or is the head: a round may be over before all of it is here."""
        view, current = self._ctx.view, self._ctx.store.round
        if current is None or current.inputs != inputs:
            return False
        return view.inputs == inputs if view.phase is Phase.MERGING else view.head_round == current.round

    def _wanted(self) -> dict[Key, Address]:
        """The slices that this member has no duty for, and the leader of each."""
        view, config, current = self._ctx.view, self._ctx.config, self._ctx.store.round
        me = view.member(self._ctx.store.me)
        if view.phase is not Phase.MERGING or current is None or current.inputs != view.inputs or me is None:
            return {}
        order = permutation(view.roster, view.seed, keccak256)
        excluded = excluded_mask(view, current, config)
        mine = duties(order, me.index, view.k, config.q)
        found = {}
        for slice_, index in enumerate(leaders(order, view.k)):
            leader = view.member_at(index)
            if leader is not None and slice_ not in mine and leader is not me:
                found[view.inputs, excluded, slice_] = leader.address
        return found

    async def _follow(self, key: Key, current: RoundStore, leader: Address, follow: _Follow) -> None:
        ctx, (_, excluded, slice_) = self._ctx, key
        try:
            chunks = chunk_range(slice_, current.k, ctx.config.chunks)
            name = assembly_name(current, excluded)
            with follow.scope, unwrapped():

                def look() -> tuple[Part, list[int]]:
                    part = ctx.content.assemble(name, ctx.config.size)
                    return part, part.missing(chunks.start, chunks.stop)

                part, missing = await trio.to_thread.run_sync(look)
                already = missing[0] - chunks.start if missing else len(chunks)

                live = live_name(*key)

                def take(index: int, data: memoryview) -> None:
                    part.write_chunk(chunks.start + index, data)
                    ctx.fetcher.received[leader] += len(data)
                    follow.came += 1
                    ctx.fetcher.arrived.came(live, index)

                await self._own_first(current, excluded)
                member = ctx.view.member(leader)
                async with ctx.turn_of(None if member is None else member.index, len(chunks) - already, last=True):
                    await ctx.fetcher.follow(live, len(chunks), leader, take, range(already, len(chunks)))
        except SwarmError as error:
            _log.info("could not follow slice %d: %s", slice_, error)
        finally:
            follow.ended.set()

    async def _own_first(self, current: RoundStore, excluded: Bitmap) -> None:
        """Where links are fast, wait until this member has merged the slices that it has a duty for, or nothing comes for
        these any more: what others wait for has precedence."""
        arrived = self._ctx.fetcher.arrived
        while self._ctx.turns.fast and any(
            (excluded, slice_) not in current.computed for slice_ in self._duties(current)
        ):
            seen = arrived.count
            with trio.move_on_after(PATIENCE) as scope:
                await self._ctx.changed()
            if scope.cancelled_caught and arrived.count == seen:
                return

    def _duties(self, current: RoundStore) -> list[int]:
        view, config = self._ctx.view, self._ctx.config
        me, order = view.member(self._ctx.store.me), permutation(view.roster, view.seed, keccak256)
        return [] if me is None else duties(order, me.index, current.k, config.q)

    async def settled(self, key: Key) -> None:
        """Return when nothing more comes of this slice for now."""
        follow = self._follows.get(key)
        while follow is not None and not follow.ended.is_set():
            before = follow.came
            with trio.move_on_after(PATIENCE):
                await follow.ended.wait()
            if follow.came == before:
                return
