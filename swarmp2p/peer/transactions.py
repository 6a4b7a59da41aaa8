"""Carries out the actions that are transactions."""

from collections.abc import Awaitable, Callable

import trio

from swarmp2p.control.interface import Receipt
from swarmp2p.core.actions import SendAdvance, SendFinalize, SendReady, SendReport, SendUpdate
from swarmp2p.core.errors import TransactionFailed
from swarmp2p.core.messages import Hint
from swarmp2p.core.types import NO_DIGEST
from swarmp2p.peer.context import Context


class Transactions:
    """Sends, waits until the view shows it, and takes "somebody else was first" for success."""

    def __init__(self, context: Context, hint: Callable[[Hint], None], announce: Callable[[Hint], None]) -> None:
        self._ctx = context
        self._hint = hint
        self._announce = announce

    async def ready(self, action: SendReady) -> None:
        """IDLE to ACTIVE."""
        receipt = await self._ctx.contract.ready()
        self._ctx.contract.look()
        await self._ctx.view_from(receipt.block_number)

    async def submit(self, action: SendUpdate) -> None:
        """submitUpdate, then a hint to the others if they need not wait any longer."""
        ctx = self._ctx
        ctx.step("submit", action.round)
        self._announce(Hint(action.round, action.digest))
        receipt = await ctx.contract.submit_update(
            action.round, action.digest, action.weight, action.metric, action.flags
        )
        ctx.emit("submitted", action.round, gas=receipt.gas_used)
        if receipt.sealed:
            self._changed(action.round)
        await ctx.view_from(receipt.block_number)

    def _changed(self, round_: int) -> None:
        """By a transaction of ours: everybody better looks."""
        self._ctx.contract.look()
        if not self._ctx.contract.notices_at_once:
            self._hint(Hint(round_, NO_DIGEST))

    async def advance(self, action: SendAdvance) -> None:
        """advance; that it is no longer due is as good."""
        await self._permissionless(self._ctx.contract.advance(action.idle))

    async def finalize(self, action: SendFinalize) -> None:
        """finalize or abort; that the round is over already is as good."""
        ctx = self._ctx
        ctx.step("finalize", action.round)
        await self._permissionless(
            ctx.contract.finalize(action.round, action.excluded, action.merged, action.slices, action.signatures)
        )

    async def report(self, action: SendReport) -> None:
        """report, on the last head."""
        receipt = await self._ctx.contract.report(action.metric, action.flags)
        self._ctx.contract.look()
        await self._ctx.view_from(receipt.block_number)

    async def _permissionless(self, sending: Awaitable[Receipt]) -> None:
        """A transaction that any member may send: when another one was first, the view will tell."""
        ctx = self._ctx
        before = (ctx.view.round, ctx.view.phase, ctx.view.threshold, ctx.view.active)
        try:
            receipt = await sending
        except TransactionFailed:
            ctx.contract.look()
            with trio.move_on_after(1.0):
                while before == (ctx.view.round, ctx.view.phase, ctx.view.threshold, ctx.view.active):
                    await ctx.changed()
                return
            raise
        ctx.emit("sent", before[0], gas=receipt.gas_used)
        self._changed(before[0])
        await ctx.view_from(receipt.block_number)
