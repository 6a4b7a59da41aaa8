"""Fetches updates while others still train, so that little is left to move once the round is sealed.

The roster is known only at the seal; until then it is guessed from those waited for (docs/protocol.md, section 5). A wrong
guess costs a transfer, nothing else: `decide` neither knows nor needs to know of it.
"""

import logging

import trio

from swarmp2p.core.election import permutation, rank_of
from swarmp2p.core.errors import SwarmError
from swarmp2p.core.slices import chunk_range, leaders_in_force, stretches
from swarmp2p.core.types import Digest, Phase, bits
from swarmp2p.core.view import Member
from swarmp2p.failures import unwrapped
from swarmp2p.identity import keccak256
from swarmp2p.peer.context import Context

_log = logging.getLogger(__name__)


class Prefetch:
    """A task beside the driver's."""

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self._had: set[Digest] = set()

    async def run(self) -> None:
        """Look at each new submission until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                changed = self._ctx.change()
                view = self._ctx.view
                if view.phase is Phase.COLLECTING:
                    for index in bits(view.submitted):
                        member = view.member_at(index)
                        if member is not None and member.digest not in self._had:
                            self._had.add(member.digest)
                            nursery.start_soon(self._fetch, member)
                elif self._had:
                    self._had.clear()
                await changed.wait()

    async def _fetch(self, member: Member) -> None:
        ctx, size = self._ctx, self._ctx.config.update_size
        if member.address == ctx.store.me:
            return
        try:
            with unwrapped():
                leaf_list = await ctx.fetcher.fetch_leaf_list(member.digest, size, prefer=[member.address])
                part = await trio.to_thread.run_sync(ctx.content.begin, member.digest, size, leaf_list)
                target = await trio.to_thread.run_sync(part.target, 0, leaf_list, member.digest)
                schema = await ctx.schema()
                chunks = await trio.to_thread.run_sync(ctx.rule.update_chunks, schema, self._guess())
                for first, end in stretches(chunks):
                    await ctx.fetcher.fetch_chunks(target, first, end, prefer=[member.address])
        except SwarmError as error:
            _log.info("could not prefetch: %s", error)

    def _guess(self) -> list[int]:
        """Chunks of the merged model in the slices that this member will probably be on duty for."""
        view, config = self._ctx.view, self._ctx.config
        me = view.member(self._ctx.store.me)
        roster = view.wait_for | view.submitted
        if me is None or not roster >> me.index & 1:
            return []
        order = permutation(roster, view.seed, keccak256)
        k, position = leaders_in_force(config.k_max, len(order), config.chunks), order.index(me.index)
        mine = [slice_ for slice_ in range(k) if rank_of(position, slice_, k, len(order)) < config.q]
        return [chunk for slice_ in mine for chunk in chunk_range(slice_, k, config.chunks)]
