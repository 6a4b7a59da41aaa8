"""Facts that follow from view and store: what is excluded, what is agreed; and the timers that they start."""

from swarmp2p.core.config import Config
from swarmp2p.core.coverage import covers
from swarmp2p.core.messages import Attestation
from swarmp2p.core.store import RoundStore, Store
from swarmp2p.core.types import NO_DIGEST, Address, Bitmap, Digest, Phase, Reason, bits
from swarmp2p.core.view import View


def observe(view: View, store: Store, config: Config, now: float) -> None:
    """Bring the store's derived facts up to date; call before `decide`. Calling it again changes nothing."""
    if view.phase is Phase.STOPPED and store.stopped_seen is None:
        store.stopped_seen = now
    if view.phase is not Phase.STOPPED:
        store.stopped_seen = None
    if view.head in store.held or view.head == store.applied:
        store.head_missing = None
    elif store.head_missing is None or store.head_missing[0] != view.head:
        store.head_missing = (view.head, now)
    if view.phase is not Phase.MERGING:
        return
    current = store.round
    if current is None or (current.round, current.inputs) != (view.round, view.inputs):
        roster = tuple(member for member in view.members if view.roster >> member.index & 1)
        current = store.round = RoundStore(view.round, view.inputs, seal_seen=now, members=roster, k=view.k)
    excluded = excluded_mask(view, current, config)
    if all(claimed(current, excluded, slice_, config.q) for slice_ in range(view.k)):
        current.claimed_at.setdefault(excluded, now)
    if any(
        covers(masks.values(), view.k, config.q) if merged != NO_DIGEST else len(masks) >= config.q
        for merged, masks in attested(view, current, excluded)
    ):
        current.covered_at.setdefault(excluded, now)


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


def attested(view: View, current: RoundStore, excluded: Bitmap) -> list[tuple[Digest, dict[Address, int]]]:
    """Per group of equal attestations: the merged digest, and the masks by signer."""
    return [
        (merged, {signer: m.body.mask for signer, m in signed.items() if isinstance(m.body, Attestation)})
        for (merged, _), signed in sorted(current.attestations(excluded).items())
    ]
