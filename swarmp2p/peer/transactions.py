"""Carries out the actions that are transactions."""

from collections.abc import Awaitable, Callable

import trio

from swarmp2p.control.interface import Receipt
from swarmp2p.core.actions import SendAdvance, SendFinalize, SendReady, SendReport, SendUpdate
from swarmp2p.core.errors import TransactionFailed
from swarmp2p.core.messages import Hint
from swarmp2p.peer.context import Context


class Transactions:
    """Sends, waits until the view shows it, and takes "somebody else was first" for success."""

    def __init__(self, context: Context, hint: Callable[[Hint], Awaitable[None]]) -> None:
        self._ctx = context
        self._hint = hint

    async def ready(self, action: SendReady) -> None:
        """IDLE to ACTIVE."""
        receipt = await self._ctx.contract.ready()
        await self._ctx.view_from(receipt.block_number)

    async def submit(self, action: SendUpdate) -> None:
        """submitUpdate, then a hint to the others."""
        ctx = self._ctx
        ctx.step("submit", action.round)
        receipt = await ctx.contract.submit_update(
            action.round, action.digest, action.weight, action.metric, action.flags
        )
        ctx.emit("submitted", action.round, gas=receipt.gas_used)
        ctx.wake_poll()
        if not ctx.contract.notices_at_once:
            await self._hint(Hint(action.round, action.digest))
        await ctx.view_from(receipt.block_number)

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
        await self._ctx.view_from(receipt.block_number)

    async def _permissionless(self, sending: Awaitable[Receipt]) -> None:
        """A transaction that any member may send: when another one was first, the view will tell."""
        ctx = self._ctx
        before = (ctx.view.round, ctx.view.phase, ctx.view.threshold, ctx.view.active)
        try:
            receipt = await sending
        except TransactionFailed:
            ctx.wake_poll()
            with trio.move_on_after(1.0):
                while before == (ctx.view.round, ctx.view.phase, ctx.view.threshold, ctx.view.active):
                    await ctx.changed()
                return
            raise
        ctx.emit("sent", before[0], gas=receipt.gas_used)
        ctx.wake_poll()
        await ctx.view_from(receipt.block_number)
