"""The loop: read the chain, ask `decide` what is wanted, keep that running. Level-triggered (protocol, section 1)."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from swarmp2p.core import actions as act
from swarmp2p.core.decide import decide, observe
from swarmp2p.core.errors import LearnerFailed, NotAMember, SchemaMismatch, SwarmError
from swarmp2p.core.types import Address, Phase
from swarmp2p.core.view import View
from swarmp2p.failures import unwrapped
from swarmp2p.identity import keccak256
from swarmp2p.peer.context import Context
from swarmp2p.peer.decisions import Decisions
from swarmp2p.peer.delivery import Delivery
from swarmp2p.peer.following import Following
from swarmp2p.peer.merging import Merging
from swarmp2p.peer.metering import Metering
from swarmp2p.peer.prefetch import Prefetch
from swarmp2p.peer.reconcile import Reconciler
from swarmp2p.peer.talk import Talk
from swarmp2p.peer.training import Training
from swarmp2p.peer.transactions import Transactions

_log = logging.getLogger(__name__)

FATAL: tuple[type[SwarmError], ...] = (NotAMember, SchemaMismatch, LearnerFailed)
"""Errors that end the peer; all others are tried again, with a pause that grows."""
CHAIN_RETRY = 1.0
"""Seconds between two tries to reach a chain that does not answer."""
LOOK_INTERVAL = 30.0
"""Seconds after which the state is taken again although nothing seems to have changed."""
MISSING_PATIENCE = 60.0
"""Seconds for which a view without this member is borne: the block with its enrolment may have been reorganised away, and
the transaction come into another one."""
EXPIRY_MARGIN = 0.01
BOOTSTRAP_INTERVAL = 10.0
"""Seconds between two looks at the contract's addresses while members are missing."""


class Driver:
    """Drives one peer until it is cancelled."""

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self._delivery = Delivery(context)
        self.talk = Talk(context, self._delivery)
        self.decisions = Decisions(context)
        self._prefetch = Prefetch(context, self._delivery)
        self._training = training = Training(context, self._prefetch.announce)
        transactions = Transactions(context, self.talk.hint, self._prefetch.announce)
        self._following = Following(context)
        self._merging = merging = Merging(context, self._following)
        self._handlers: dict[type, Callable[[Any], Awaitable[None]]] = {
            act.FetchFile: merging.fetch_file,
            act.FetchLeafList: merging.fetch_leaf_list,
            act.Verify: merging.verify,
            act.Merge: merging.merge,
            act.FetchSlice: merging.fetch_slice,
            act.BuildRoot: merging.build_root,
            act.Keep: merging.keep,
            act.Apply: training.apply,
            act.Train: training.train,
            act.Sign: self.talk.sign,
            act.Announce: self.talk.announce,
            act.Sync: self.talk.sync,
            act.SendReady: transactions.ready,
            act.SendUpdate: transactions.submit,
            act.SendAdvance: transactions.advance,
            act.SendFinalize: transactions.finalize,
            act.SendReport: transactions.report,
            act.Finish: self._finish,
        }
        self.finished = trio.Event()
        self.reconciler: Reconciler | None = None
        self._missing_since = math.inf

    async def run(self) -> None:
        """Until cancelled, or an error that only a person can mend."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_chain)
            nursery.start_soon(self._bootstrap)
            nursery.start_soon(self._expel_expired)
            nursery.start_soon(self._delivery.run)
            nursery.start_soon(self.talk.run)
            nursery.start_soon(self.decisions.run)
            nursery.start_soon(self._prefetch.run)
            nursery.start_soon(self._following.run)
            nursery.start_soon(Metering(self._ctx, self._delivery).run)
            self.reconciler = Reconciler(nursery, self._carry_out, self._ctx.wake, FATAL)
            try:
                while True:
                    await self._once(self.reconciler)
            finally:
                self._training.close()

    async def _once(self, reconciler: Reconciler) -> None:
        ctx = self._ctx
        changed = ctx.change()
        now = ctx.clock()
        observe(ctx.view, ctx.store, ctx.config, now)
        self._merging.look_up_leaf_lists()
        self.talk.view_changed()
        observe(ctx.view, ctx.store, ctx.config, now)
        wanted = decide(ctx.view, ctx.store, ctx.config, ctx.knobs, now, keccak256)
        come_again = reconciler.want(wanted)
        for action in wanted:
            if isinstance(action, act.Wake):
                come_again = min(come_again, trio.current_time() + max(0.0, action.at - now))
        with trio.move_on_at(come_again):
            await changed.wait()

    async def _carry_out(self, action: act.Action) -> None:
        try:
            with unwrapped():
                await self._handlers[type(action)](action)
        except SwarmError as error:
            self._ctx.emit("trouble", self._ctx.view.round, action=type(action).__name__, error=str(error))
            raise

    async def _finish(self, action: act.Finish) -> None:
        self.finished.set()
        await trio.sleep_forever()

    async def _watch_chain(self) -> None:
        """Keep the view fresh; an unreachable chain is waited for."""
        ctx = self._ctx
        while True:
            try:
                view = await ctx.contract.wait_for_change(ctx.view, LOOK_INTERVAL)
                gone = await self._was_removed(view)
            except SwarmError as error:
                # Not only silence: a node that is behind or ill says that there is no contract, and other things.
                _log.warning("%s (trying again)", error)
                ctx.emit("chain_unreachable", ctx.view.round, error=str(error))
                await trio.sleep(CHAIN_RETRY)
            else:
                if gone:
                    raise _no_member(ctx.store.me)
                if view != ctx.view:
                    self._take_view(view)

    async def _was_removed(self, view: View) -> bool:
        """Whether this member left or was expelled. A view that tells nothing of it proves neither: its enrolment itself
        may have been reorganised away."""
        account = self._ctx.store.me
        me = view.member(account) or await self._ctx.contract.member(account)
        return me.term > 0 and not me.status.enrolled

    def _take_view(self, view: View) -> None:
        ctx = self._ctx
        if view.member(ctx.store.me) is not None:
            self._missing_since = math.inf
        else:
            self._missing_since = min(self._missing_since, trio.current_time())
        if trio.current_time() >= self._missing_since + MISSING_PATIENCE:
            raise _no_member(ctx.store.me)
        before, ctx.view = ctx.view, view
        if before.members != view.members:
            ctx.admit()
        if (before.round, before.phase) != (view.round, view.phase):
            data: dict[str, Any] = {"phase": view.phase.name.lower(), "head": ctx.cid(view.head)}
            if view.phase is Phase.MERGING:
                ctx.leaders_of = {view.round: ctx.leaders()}
                data |= {"k": view.k, "leaders": [f"0x{a.hex()}" for a in ctx.leaders_of[view.round]]}
            ctx.emit("phase", view.round, **data)
        ctx.wake()

    async def _expel_expired(self) -> None:
        """No block tells that a member's time is over: the gate is closed to it by the clock."""
        ctx = self._ctx
        while True:
            members = ctx.view.members
            with trio.move_on_at(ctx.next_expiry() + EXPIRY_MARGIN):
                while members == ctx.view.members:
                    await ctx.changed()
                continue
            ctx.admit()

    async def _bootstrap(self) -> None:
        """Learn where the others are, from the contract's records, whenever some are missing."""
        ctx = self._ctx
        while True:
            others = {m.address for m in ctx.view.members} - {ctx.store.me}
            if others - ctx.host.connected():
                try:
                    for multiaddrs in (await ctx.contract.addresses()).values():
                        ctx.know(multiaddrs)
                except SwarmError as error:
                    _log.info("no bootstrap records: %s", error)
            with trio.move_on_after(BOOTSTRAP_INTERVAL):
                members = ctx.view.members
                while [m.address for m in members] == [m.address for m in ctx.view.members]:
                    await ctx.changed()


def _no_member(me: Address) -> NotAMember:
    return NotAMember(f"0x{me.hex()} is no longer a member of this swarm.", "Ask its members for an invitation.")
