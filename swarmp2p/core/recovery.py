"""A head that nobody can serve is merged again (docs/protocol.md, section 6).

Those who attested a model held it; when all of them die right after the contract accepted it, the model is gone, but the
updates that it was made of are kept. Any member that saw the round sealed knows them, and the merge has one result.
"""

from swarmp2p.core.actions import Action, BuildRoot, Merge, Wake
from swarmp2p.core.config import Config
from swarmp2p.core.store import Store
from swarmp2p.core.types import bitmap_of
from swarmp2p.core.view import View


def recompute_head(view: View, store: Store, config: Config, now: float) -> list[Action]:
    """What to do about a head that is missing, beside asking for it: nothing for mergeTimeout, then merge it."""
    current, missing = store.round, store.head_missing
    if missing is None or current is None or current.round != view.head_round or not current.members:
        return []
    due = missing[1] + config.merge_timeout
    if now < due:
        return [Wake(due)]
    excluded = bitmap_of(member.index for member in current.members) & ~view.included
    digests = [current.computed.get((excluded, slice_)) for slice_ in range(current.k)]
    todo = [slice_ for slice_, digest in enumerate(digests) if digest is None]
    if todo:
        return [Merge(current.round, current.inputs, excluded, slice_) for slice_ in todo]
    slices = tuple(digest for digest in digests if digest is not None)
    if (excluded, slices) in current.roots:
        return []
    return [BuildRoot(current.round, excluded, slices)]
