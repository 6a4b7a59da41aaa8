"""What a peer does next: `decide(view, store, now) -> actions` (docs/protocol.md, sections 1, 4 and 9).

Level-triggered and pure. The actions named are those wanted *now*: the driver starts what is new, cancels what is not
named any more, and calls again when anything has changed.
"""

from swarmp2p.core.actions import (
    Action,
    Apply,
    FetchFile,
    Finish,
    Keep,
    SendAdvance,
    SendReady,
    SendReport,
    SendUpdate,
    Train,
    Wake,
)
from swarmp2p.core.config import Config, Knobs
from swarmp2p.core.decide_merging import merging
from swarmp2p.core.election import permutation
from swarmp2p.core.observe import observe
from swarmp2p.core.recovery import recompute_head
from swarmp2p.core.store import Store
from swarmp2p.core.threshold import due_at, missed
from swarmp2p.core.types import Keccak, Phase, Reason, ReportFlag, Status, bits
from swarmp2p.core.view import Member, View

__all__ = ["decide", "observe"]


def decide(view: View, store: Store, config: Config, knobs: Knobs, now: float, keccak: Keccak) -> tuple[Action, ...]:
    """The actions wanted now, `observe` having been called with the same arguments.

    Args:
        now: Unix seconds on the peer's own clock. Deadlines of the contract are taken to be past only `knobs.slack`
            later, and never by the time of the latest chain block (section 4).
    """
    me = view.member(store.me)
    if me is None or me.status not in (Status.IDLE, Status.ACTIVE):
        return ()
    actions = [_keep(view, store), *_take_over_head(view, store, config, now)]
    if view.phase is Phase.STOPPED:
        return (*actions, *_stopped(view, store, knobs, now))
    if me.expires >= now:
        if view.phase is Phase.COLLECTING:
            actions += _collecting(view, store, config, me)
        else:
            actions += merging(view, store, config, knobs, me, now, keccak)
    actions += _advance(view, config, knobs, me, now, keccak)
    return tuple(actions)


def _keep(view: View, store: Store) -> Keep:
    """Heads and the updates of the latest round, which the next round's replace one by one (section 6)."""
    digests = {view.head, view.best}
    digests |= {member.digest for member in view.members if member.last_round}
    if store.update is not None:
        digests.add(store.update.digest)
    return Keep(frozenset(digests))


def _take_over_head(view: View, store: Store, config: Config, now: float) -> list[Action]:
    if store.applied == view.head:
        return []
    if view.head in store.held:
        return [Apply(view.head, view.head_round)]
    return [FetchFile(view.head, view.head_round), *recompute_head(view, store, config, now)]


def _collecting(view: View, store: Store, config: Config, me: Member) -> list[Action]:
    if view.submitted >> me.index & 1:
        return []
    update = store.update
    if update is not None and update.base == view.head and not _objected(store, config, me):
        metric, flags = 0, ReportFlag(0)
        if view.head_round and store.report is not None and store.report.head == view.head:
            metric, flags = store.report.metric, store.report.flags
        return [SendUpdate(view.round, update.digest, min(update.weight, me.max_weight), metric, flags)]
    if store.applied != view.head:
        return []
    ready: list[Action] = [SendReady(view.round)] if me.status is Status.IDLE else []
    return [*ready, Train(view.head)]


def _objected(store: Store, config: Config, me: Member) -> bool:
    """Enough members called the last update of this peer INVALID that one of them is honest: do not offer it again."""
    last = store.round
    return last is not None and len(last.objectors(me.index, Reason.INVALID)) >= config.q


def _advance(view: View, config: Config, knobs: Knobs, me: Member, now: float, keccak: Keccak) -> list[Action]:
    due = due_at(view, config)
    if due is None:
        return []
    order = permutation(view.roster or view.active, view.seed, keccak)
    position = order.index(me.index) if me.index in order else len(order)
    start = due + knobs.slack + position * knobs.stagger
    if now < start:
        return [Wake(start)]
    attempt = int((now - start) / max(knobs.slack, knobs.stagger, 0.1) + 1).bit_length()
    idle = tuple(
        member.index
        for member in view.members
        if member.status is Status.ACTIVE
        and (missed(view, member) >= config.max_missed or member.expires < now - knobs.slack)
    )
    unit = max(knobs.slack, knobs.stagger, 0.1)
    return [SendAdvance(view.round, idle, attempt), Wake(start + ((1 << attempt) - 1) * unit)]


def _stopped(view: View, store: Store, knobs: Knobs, now: float) -> list[Action]:
    if store.applied != view.head:
        return []
    me = view.member(store.me)
    report = store.report
    if (
        me is not None
        and report is not None
        and report.head == view.head
        and report.flags & ReportFlag.HAS_REPORT
        and not view.reported >> me.index & 1
    ):
        return [SendReport(view.head, report.metric, report.flags)]
    ends = (store.stopped_seen if store.stopped_seen is not None else now) + knobs.linger
    waiting = [index for index in bits(view.included & ~view.reported) if view.member_at(index) is not None]
    if not waiting or now >= ends:
        return [Finish()]
    return [Wake(ends)]
