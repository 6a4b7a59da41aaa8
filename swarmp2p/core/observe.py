"""Facts that follow from view and store: what is excluded, what is agreed; and the timers that they start."""

from swarmp2p.core.config import Config
from swarmp2p.core.coverage import choose_cover
from swarmp2p.core.messages import Attestation
from swarmp2p.core.store import Cover, RoundStore, Store
from swarmp2p.core.threshold import inclusion_floor
from swarmp2p.core.types import NO_DIGEST, Address, Bitmap, Digest, Phase, Reason, bitmap_of, bits
from swarmp2p.core.view import View


def observe(view: View, store: Store, config: Config, now: float) -> None:
    """Bring the store's derived facts up to date; call before `decide`. Calling it again changes nothing."""
    if view.phase is Phase.STOPPED and store.stopped_seen is None:
        store.stopped_seen = now
    if view.phase is not Phase.STOPPED:
        store.stopped_seen = None
    _take_head_round(view, store)
    if view.head in store.held or view.head == store.applied:
        store.head_missing = None
    elif store.head_missing is None or store.head_missing[0] != view.head:
        store.head_missing = (view.head, now)
    if view.phase is not Phase.MERGING:
        return
    current = store.round
    if current is None or (current.round, current.inputs) != (view.round, view.inputs):
        roster = tuple(member for member in view.members if view.roster >> member.index & 1)
        current = store.round = RoundStore(
            view.round, view.inputs, seal_seen=now, members=roster, k=view.k, submitted=view.submitted
        )
    excluded = excluded_mask(view, current, config)
    if view.k and all(claimed(current, excluded, slice_, config.q) for slice_ in range(view.k)):
        current.claimed_at.setdefault(excluded, now)
    _take_covers(view, current, config, now)


def _take_head_round(view: View, store: Store) -> None:
    """A merge may come out as the model that it began from. It is applied and trained from all the same: else all would offer
    their old updates again, and the swarm run through its rounds without training."""
    if store.head_round is not None and store.head_round != view.head_round and store.applied == view.head:
        store.applied = None
        if store.update is not None and store.update.base == view.head:
            store.update = None
    store.head_round = view.head_round


def _take_covers(view: View, current: RoundStore, config: Config, now: float) -> None:
    """Find the attestations that `finalize` would accept, under whatever exclusions they were given.

    Views of what is excluded may differ for a while; the first finalize wins (section 6). But nobody helps an update
    that it found wrong itself.
    """
    masks = {
        message.body.excluded
        for by_key in current.signed.values()
        for message in by_key.values()
        if isinstance(message.body, Attestation)
    }
    needed = bitmap_of(current.invalid) & view.roster
    for excluded in sorted(masks):
        cover = current.covers.get(excluded)
        if cover is not None and all(may_sign(view, message.signer, now) for message in cover.signatures):
            continue
        if excluded & ~view.submitted or (needed | view.banned & view.submitted) & ~excluded:
            cover = None
        else:
            cover = _cover(view, current, config, excluded, now)
        if cover is not None:
            current.covers[excluded] = cover
            current.covered_at.setdefault(excluded, now)
        else:
            current.covers.pop(excluded, None)
            current.covered_at.pop(excluded, None)


def _cover(view: View, current: RoundStore, config: Config, excluded: Bitmap, now: float) -> Cover | None:
    included = view.submitted & ~excluded
    for merged, slices, masks in attested(view, current, excluded, now):
        chosen: tuple[Address, ...] | None = None
        if merged == NO_DIGEST:
            if len(masks) >= config.q and not slices:
                chosen = tuple(sorted(masks)[: config.q])
        elif len(slices) == view.k and included.bit_count() >= inclusion_floor(view.roster.bit_count()):
            chosen = choose_cover(masks, view.k, config.q)
        if chosen is not None:
            signed = current.attestations(excluded)[merged, slices]
            return Cover(merged, slices, tuple(signed[signer] for signer in chosen))
    return None


def may_sign(view: View, signer: Address, now: float) -> bool:
    """Whether the contract counts this member's signature, by the own clock (section 4, finalize)."""
    member = view.member(signer)
    return member is not None and member.status.enrolled and member.expires >= now


def excluded_mask(view: View, current: RoundStore, config: Config) -> Bitmap:
    """Updates that are not merged, as this member sees it (section 6). Within a round it only grows."""
    excluded = view.banned & view.submitted
    for index in bits(view.roster):
        if index in current.invalid or len(current.objectors(index, Reason.UNAVAILABLE)) >= config.q:
            excluded |= 1 << index
    return excluded


def claimed(current: RoundStore, excluded: Bitmap, slice_: int, q: int) -> Digest | None:
    """The digest of a slice that at least q members claim *equally*; claims that differ do not add up."""
    by_digest = current.claims(excluded, slice_)
    enough = [digest for digest, signers in by_digest.items() if len(signers) >= q]
    return max(enough, key=lambda digest: (len(by_digest[digest]), digest)) if enough else None


def attested(
    view: View, current: RoundStore, excluded: Bitmap, now: float
) -> list[tuple[Digest, tuple[Digest, ...], dict[Address, int]]]:
    """Per group of equal attestations: the merged digest, the slices, and by signer the masks that the contract counts.

    Whoever was expelled or left after it signed has to be replaced, so it must not look as if it had attested.
    """
    return [
        (
            merged,
            slices,
            {
                signer: message.body.mask
                for signer, message in signed.items()
                if isinstance(message.body, Attestation) and may_sign(view, signer, now)
            },
        )
        for (merged, slices), signed in sorted(current.attestations(excluded).items())
    ]
