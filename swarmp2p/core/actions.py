"""What `decide` may ask for. Actions are values: the driver starts the wanted ones that do not run yet and cancels what
is no longer wanted. Each is idempotent and can be derived again after a crash (docs/protocol.md, section 1)."""

from dataclasses import dataclass
from typing import TypeAlias

from swarmp2p.core.messages import Attestation, Claim, Objection, Signed
from swarmp2p.core.types import Bitmap, Digest, ReportFlag


@dataclass(frozen=True, slots=True)
class FetchFile:
    """Get a whole model (the head). Ends by adding it to `store.held`."""

    digest: Digest
    round: int
    """Round that merged it; 0: genesis."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Load a held model into the learner and validate it. Ends by setting `store.applied` and `store.report`."""

    digest: Digest
    round: int


@dataclass(frozen=True, slots=True)
class Train:
    """One sync interval of local batches from the applied head, then publish. Ends by setting `store.update`."""

    base: Digest


@dataclass(frozen=True, slots=True)
class SendReady:
    """Transaction: IDLE to ACTIVE."""

    round: int


@dataclass(frozen=True, slots=True)
class SendUpdate:
    """Transaction: submitUpdate, with the report on the head riding along."""

    round: int
    digest: Digest
    weight: int
    metric: int
    flags: ReportFlag


@dataclass(frozen=True, slots=True)
class SendAdvance:
    """Transaction: advance."""

    round: int
    idle: tuple[int, ...]
    attempt: int
    """Grows with time, so that a lost or premature one is sent again."""


@dataclass(frozen=True, slots=True)
class SendFinalize:
    """Transaction: finalize, or abort when `merged` is NO_DIGEST."""

    round: int
    excluded: Bitmap
    merged: Digest
    slices: tuple[Digest, ...]
    signatures: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class SendReport:
    """Transaction: report on the last head, after STOPPED."""

    digest: Digest
    metric: int
    flags: ReportFlag


@dataclass(frozen=True, slots=True)
class FetchLeafList:
    """Get the leaf list of a member's update, from its origin or anyone. Ends in `leaf_lists` or `failing`."""

    round: int
    index: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Verify:
    """Check the chunk that somebody calls INVALID. Ends in `invalid` or `refuted`."""

    round: int
    index: int
    digest: Digest
    chunk: int


@dataclass(frozen=True, slots=True)
class Merge:
    """Fetch this slice of every included update, check it, merge it, flush it. Ends in `computed` (and `slice_lists`,
    `slices_held`), or in `invalid` / `failing`."""

    round: int
    inputs: Digest
    excluded: Bitmap
    slice: int


@dataclass(frozen=True, slots=True)
class FetchSlice:
    """Get a merged slice that >= q members claim: leaf list first (`slice_lists`), then chunks (`slices_held`)."""

    round: int
    excluded: Bitmap
    slice: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class BuildRoot:
    """Build the merged model's root from the held leaf lists of all slices. Ends in `roots`."""

    round: int
    excluded: Bitmap
    slices: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Sign:
    """Journal, sign and gossip a message of this peer. Ends in `signed`. The journal refuses a contradiction."""

    body: Claim | Attestation | Objection


@dataclass(frozen=True, slots=True)
class Announce:
    """Gossip all own messages of the round again: gossip loses some."""

    round: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Sync:
    """Ask the connected members for the messages that they hold of this round (anti-entropy)."""

    round: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Keep:
    """The files worth keeping; the store may drop all others once `confirmations` have passed."""

    digests: frozenset[Digest]


@dataclass(frozen=True, slots=True)
class Finish:
    """STOPPED, the last head applied, reported and lingered for: the peer may end."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Nothing to do before this time, unless something arrives."""

    at: float


Action: TypeAlias = (
    FetchFile | Apply | Train | SendReady | SendUpdate | SendAdvance | SendFinalize | SendReport | FetchLeafList
    | Verify | Merge | FetchSlice | BuildRoot | Sign | Announce | Sync | Keep | Finish | Wake
)  # fmt: skip
