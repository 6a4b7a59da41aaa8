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
from swarmp2p.core.store import Store, Update
from swarmp2p.core.threshold import due_at, missed
from swarmp2p.core.timers import attempts
from swarmp2p.core.types import Keccak, Phase, Reason, ReportFlag, Status
from swarmp2p.core.view import Member, View

__all__ = ["decide", "observe"]


def decide(view: View, store: Store, config: Config, knobs: Knobs, now: float, keccak: Keccak) -> tuple[Action, ...]:
    """The actions wanted now, `observe` having been called with the same arguments.

    Args:
        now: Unix seconds on the peer's own clock. Deadlines of the contract are taken to be past only `knobs.slack`
            later, and never by the time of the latest chain block (section 4).
    """
    me = view.member(store.me)
    if me is None or not me.status.enrolled:
        return ()
    actions = [_keep(view, store), *_take_over_head(view, store, config, now)]
    if view.phase is Phase.STOPPED:
        return (*actions, *_stopped(view, store, knobs, me, now))
    if me.expires >= now:
        if view.phase is Phase.COLLECTING:
            actions += _collecting(view, store, config, me)
        else:
            actions += merging(view, store, config, knobs, me, now, keccak)
            actions += _training(view, store, config, me)
            actions += _ready(view, store, me)
    actions += _advance(view, store, config, knobs, me, now, keccak)
    return tuple(dict.fromkeys(actions))


def _keep(view: View, store: Store) -> Keep:
    """The head and the best, and the updates that a merge may still need: those of this round, and of the last sealed one
    until its merge is here, since a head that is lost is merged again from them (section 6). Who holds a head gives it to
    those who lack it; updates would help them no more."""
    holds = view.head in store.held
    digests = {view.head, view.best}
    if not holds or view.phase is not Phase.STOPPED:
        digests |= {member.digest for member in view.members if view.submitted >> member.index & 1}
    if not holds or view.head_round < view.round - 1:
        # After a round that merged nothing, members offer their updates again.
        digests |= {member.digest for member in view.members if 0 < view.round - 1 <= member.last_round}
    if store.round is not None and not (holds and store.round.round == view.head_round):
        # The view shows only the latest update of each member.
        digests |= {member.digest for member in store.round.members}
    if store.update is not None and (not holds or store.update.base == view.head):
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
    update = _usable(view, store, config, me)
    if update is not None:
        metric, flags = 0, ReportFlag(0)
        if view.head_round and store.report is not None and store.report.head == view.head:
            metric, flags = store.report.metric, store.report.flags
        return [SendUpdate(view.round, update.digest, min(update.weight, me.max_weight), metric, flags)]
    training = _training(view, store, config, me)
    return [SendReady(view.round), *training] if training and me.status is Status.IDLE else training


def _ready(view: View, store: Store, me: Member) -> list[Action]:
    """Have the next round wait for an IDLE member that came too late for this one. Without it, rounds that are aborted and
    begun again by the others, with the updates that they have, could leave it out for ever."""
    late = me.status is Status.IDLE and not view.submitted >> me.index & 1 and store.applied == view.head
    return [SendReady(view.round)] if late else []


def _training(view: View, store: Store, config: Config, me: Member) -> list[Action]:
    """Train from the head, unless this is done. While a round merges too: should it be aborted, the head stays."""
    if view.submitted >> me.index & 1 or store.applied != view.head or _usable(view, store, config, me):
        return []
    return [Train(view.head)]


def _usable(view: View, store: Store, config: Config, me: Member) -> Update | None:
    """The own update, if it may be offered: trained from this head, and not known to be INVALID (section 4)."""
    update, last = store.update, store.round
    if update is None or update.base != view.head:
        return None
    offered = last is not None and any(m.index == me.index and m.digest == update.digest for m in last.members)
    # With q objections one is honest; a single one may be a lie, which would cost an interval of training.
    if last is not None and offered:
        refused = me.index in last.invalid or len(last.objectors(me.index, Reason.INVALID)) >= config.q
        return None if refused else update
    return update


def _advance(
    view: View, store: Store, config: Config, knobs: Knobs, me: Member, now: float, keccak: Keccak
) -> list[Action]:
    due: float | None = due_at(view, config)
    if due is None:
        return []
    current = store.round
    if view.phase is Phase.MERGING and current is not None and current.inputs == view.inputs and current.covers:
        # What can be finalized is not aborted: everybody gets a turn to finalize it first.
        turns = (view.roster.bit_count() + 1) * knobs.stagger
        due = max(due, min(current.covered_at.values()) + turns + knobs.leader_timeout)
    order = permutation(view.roster or view.active, view.seed, keccak)
    position = order.index(me.index) if me.index in order else len(order)
    start = due + knobs.slack + position * knobs.stagger
    if now < start:
        return [Wake(start)]
    attempt, again = attempts(start, max(knobs.slack, knobs.stagger, 0.1), now)
    idle = tuple(
        member.index
        for member in view.members
        if view.voters >> member.index & 1
        and (missed(view, member) >= config.max_missed or member.expires < now - knobs.slack)
    )
    return [SendAdvance(view.round, idle, attempt), Wake(again)]


def _stopped(view: View, store: Store, knobs: Knobs, me: Member, now: float) -> list[Action]:
    """Report on the last head, and serve it until all ACTIVE members have reported, or for `linger`: one whose update
    is not in it, who was late or is just back from a crash, needs it most. IDLE ones are mostly away, but may be about to
    get it: for them it is a quarter of that."""
    if store.applied != view.head:
        return []
    since = store.stopped_seen if store.stopped_seen is not None else now
    ends = since + knobs.linger
    report = store.report
    if (
        report is not None
        and view.head_round
        and report.head == view.head
        and report.flags & ReportFlag.HAS_REPORT
        and not view.reported >> me.index & 1
        and me.expires >= now
    ):
        wanted: list[Action] = [SendReport(view.head, report.metric, report.flags)]
        # A report that does not get through holds a peer for another while only: nothing depends on it.
        ends += knobs.linger
    else:
        missing = [
            m for m in view.members if m.status.enrolled and m.expires >= now and not view.reported >> m.index & 1
        ]
        if view.reported and not any(m.status is Status.ACTIVE for m in missing):
            ends = since + knobs.linger / 4 if missing else now
        wanted = []
    return [*wanted, Wake(ends)] if now < ends else [Finish()]
