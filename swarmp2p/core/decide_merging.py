"""What a peer does while a round merges (docs/protocol.md, sections 5 to 7)."""

from swarmp2p.core.actions import (
    Action,
    Announce,
    BuildRoot,
    FetchLeafList,
    FetchSlice,
    Merge,
    SendFinalize,
    Sign,
    Sync,
    Verify,
    Wake,
)
from swarmp2p.core.config import Config, Knobs
from swarmp2p.core.coverage import coverage
from swarmp2p.core.election import duty_width, permutation, rank_of
from swarmp2p.core.messages import Attestation, Claim, Objection
from swarmp2p.core.observe import attested, claimed, excluded_mask
from swarmp2p.core.store import RoundStore, Store
from swarmp2p.core.threshold import inclusion_floor
from swarmp2p.core.timers import ticks
from swarmp2p.core.types import NO_DIGEST, Bitmap, Digest, Keccak, Reason, bits
from swarmp2p.core.view import Member, View

SETTLING = 5.0
"""Seconds after its start in which a peer may not hear everybody yet."""
SYNC_EVERY = 4
"""Announcements after which the others are asked: a round that takes that long may hang on what nobody sends again."""


def merging(
    view: View, store: Store, config: Config, knobs: Knobs, me: Member, now: float, keccak: Keccak
) -> list[Action]:
    """Everything a member wants of a sealed round; those outside its roster only help to end it."""
    current = store.round
    if current is None or (current.round, current.inputs) != (view.round, view.inputs):
        return []
    order = permutation(view.roster, view.seed, keccak)
    plan = _Merging(view, store, config, knobs, me, now, order, current)
    return plan.actions()


class _Merging:
    """One evaluation; holds nothing beyond it."""

    def __init__(
        self,
        view: View,
        store: Store,
        config: Config,
        knobs: Knobs,
        me: Member,
        now: float,
        order: tuple[int, ...],
        current: RoundStore,
    ) -> None:
        self.view, self.store, self.config, self.knobs = view, store, config, knobs
        self.me, self.now, self.order, self.current = me, now, order, current
        self.excluded = excluded_mask(view, current, config)
        self.position = order.index(me.index) if me.index in order else len(order)
        self.mine = current.signed.get(store.me, {})

    def actions(self) -> list[Action]:
        wanted = [*self.exchange(), *self.finish()]
        if self.position < len(self.order):
            wanted += [*self.look_at_updates(), *self.object()]
            included = self.view.submitted & ~self.excluded
            if included.bit_count() < inclusion_floor(self.view.roster.bit_count()):
                wanted += self.give_up()
            else:
                wanted += [*self.work(included), *self.attest()]
        return wanted

    def exchange(self) -> list[Action]:
        """Messages get lost: announce own ones again and again, and now and then ask the others for theirs."""
        attempt, again = ticks(self.current.seal_seen, self.knobs.announce_interval, self.now)
        # Who was here when the round was sealed hears everything, and asks only when it takes long.
        late = self.current.seal_seen - self.store.started_at < min(self.knobs.leader_timeout, SETTLING)
        asking = attempt // SYNC_EVERY
        wanted: list[Action] = [Sync(self.view.round, asking)] if asking or late else []
        if attempt and self.mine:
            wanted.append(Announce(self.view.round, attempt))
        return [*wanted, Wake(again)]

    def look_at_updates(self) -> list[Action]:
        """Every roster member tries every update, on duty or not, and checks what others call INVALID."""
        wanted: list[Action] = []
        for index in bits(self.view.roster & ~self.excluded):
            member = self.view.member_at(index)
            if member is None:
                continue
            if index not in self.current.leaf_lists:
                wanted.append(FetchLeafList(self.view.round, index, member.digest))
            for objector in sorted(self.current.objectors(index, Reason.INVALID)):
                body = self.current.signed[objector][("objection", index, Reason.INVALID)].body
                if isinstance(body, Objection) and (objector, index, body.chunk) not in self.current.refuted:
                    wanted.append(Verify(self.view.round, index, member.digest, body.chunk))
        return wanted

    def object(self) -> list[Action]:
        wanted: list[Action] = []
        for index, since in sorted(self.current.failing.items()):
            if index == self.me.index or ("objection", index, Reason.UNAVAILABLE) in self.mine:
                continue
            due = since + self.knobs.fetch_timeout
            if self.now < due:
                wanted.append(Wake(due))
            else:
                wanted.append(self.sign_objection(index, Reason.UNAVAILABLE, 0))
        for index, chunk in sorted(self.current.invalid.items()):
            if ("objection", index, Reason.INVALID) not in self.mine:
                wanted.append(self.sign_objection(index, Reason.INVALID, chunk))
        return wanted

    def sign_objection(self, index: int, reason: Reason, chunk: int) -> Sign:
        return Sign(Objection(self.view.round, self.view.inputs, index, reason, chunk))

    def give_up(self) -> list[Action]:
        """Too few updates can be had: attest that the round is to be aborted."""
        if any(isinstance(m.body, Attestation) and m.body.excluded == self.excluded for m in self.mine.values()):
            return []
        return [Sign(Attestation(self.view.round, self.view.inputs, self.excluded, NO_DIGEST, (), 0))]

    def agreed(self, slice_: int) -> Digest | None:
        """What this peer computed itself, or at least q members claim equally."""
        own = self.current.computed.get((self.excluded, slice_))
        return own if own is not None else claimed(self.current, self.excluded, slice_, self.config.q)

    def work(self, included: Bitmap) -> list[Action]:
        wanted: list[Action] = []
        ready = all(index in self.current.leaf_lists for index in bits(included))
        stuck = any(included >> index & 1 for index in self.current.failing)
        covered = self.coverage()
        for slice_ in range(self.view.k):
            own = self.current.computed.get((self.excluded, slice_))
            if own is not None:
                if ("claim", self.excluded, slice_) not in self.mine:
                    body = Claim(self.view.round, self.view.inputs, self.excluded, slice_, own)
                    wanted.append(Sign(body))
                continue
            on_duty, widens_at = self.duty(slice_, covered[slice_])
            if on_duty and ready:
                wanted.append(Merge(self.view.round, self.view.inputs, self.excluded, slice_))
            elif not on_duty and widens_at is not None:
                wanted.append(Wake(widens_at))
            if on_duty and ready and not stuck:
                continue
            # Who is on duty for a slice that it cannot merge yet takes the others' result meanwhile: without its leaf
            # list it could not attest the slices that it did merge.
            digest = claimed(self.current, self.excluded, slice_, self.config.q)
            if digest is not None and (self.excluded, slice_, digest) not in self.current.slices_held:
                wanted.append(FetchSlice(self.view.round, self.excluded, slice_, digest))
        return wanted

    def coverage(self) -> tuple[int, ...]:
        """Per slice, by how many members it is attested in the best-covered group of equal attestations."""
        best = (0,) * self.view.k
        for merged, _, masks in attested(self.view, self.current, self.excluded, self.now):
            if merged != NO_DIGEST:
                best = max(best, coverage(masks.values(), self.view.k), key=sum)
        return best

    def duty(self, slice_: int, attested_by: int) -> tuple[bool, float | None]:
        """Whether this peer works on a slice, and when its duty may begin. The ranks on duty widen while q equal claims
        are missing, and again, from the time they are there, while q attestations are missing (section 5)."""
        rank = rank_of(self.position, slice_, self.view.k, len(self.order))
        q = self.config.q
        if claimed(self.current, self.excluded, slice_, q) is None:
            since: float | None = self.current.seal_seen
        elif attested_by < q:
            since = self.current.claimed_at.get(self.excluded)
        else:
            return rank < q, None
        if since is None:
            return rank < q, None
        doublings, widens_at = ticks(since, self.knobs.leader_timeout, self.now)
        if rank < duty_width(q, doublings, len(self.order)):
            return True, None
        return False, widens_at

    def attest(self) -> list[Action]:
        digests = [self.agreed(slice_) for slice_ in range(self.view.k)]
        slices = tuple(digest for digest in digests if digest is not None)
        if len(slices) < self.view.k:
            return []
        merged = self.current.roots.get((self.excluded, slices))
        if merged is None:
            if all(digest in self.current.slice_lists for digest in slices):
                return [BuildRoot(self.view.round, self.excluded, slices)]
            return []
        before = 0
        for message in self.mine.values():
            body = message.body
            if isinstance(body, Attestation) and body.excluded == self.excluded:
                if (body.merged, body.slices) != (merged, slices):
                    return []
                before = body.mask
        mask = sum(
            1 << slice_
            for slice_, digest in enumerate(slices)
            if self.current.computed.get((self.excluded, slice_)) == digest
            and (self.excluded, slice_, digest) in self.current.slices_held
        )
        mask |= before
        if mask == before:
            return []
        for slice_, digest in enumerate(slices):
            if not mask >> slice_ & 1 and claimed(self.current, self.excluded, slice_, self.config.q) != digest:
                return []
        return [Sign(Attestation(self.view.round, self.view.inputs, self.excluded, merged, slices, mask))]

    def finish(self) -> list[Action]:
        """Whoever sees enough attestations may finalize; one after the other, so that mostly one does."""
        wanted: list[Action] = []
        for excluded, cover in sorted(self.current.covers.items(), key=lambda item: item[0]):
            start = self.current.covered_at[excluded] + self.position * self.knobs.stagger
            if self.now >= start:
                return [SendFinalize(self.view.round, excluded, cover.merged, cover.slices, cover.signatures)]
            wanted.append(Wake(start))
        return wanted
