"""What a peer holds of its own: the third of `decide`'s arguments is the time, the second is this.

Facts are written by whoever carries out the actions (the trio driver, the simulator); `decide` only reads. What must
survive a crash is in the journal: own signatures, the own update, evaluated reports (docs/protocol.md, section 10).
"""

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from swarmp2p.core.messages import Attestation, Claim, Objection, RoundMessage, Signed
from swarmp2p.core.types import NO_DIGEST, Address, Bitmap, Digest, Reason, ReportFlag
from swarmp2p.core.view import Member

MOST_OF_ONE = 512
"""Messages of one signer about one round: claims for 16 slices under some thirty different exclusions."""


@dataclass(frozen=True, slots=True)
class Update:
    """An own update that is flushed to disk: weights trained from the head `base`."""

    base: Digest
    digest: Digest
    weight: int


@dataclass(frozen=True, slots=True)
class Report:
    """Own validation of a head. `metric` is fixed-point with 6 decimals."""

    head: Digest
    metric: int
    flags: ReportFlag


@dataclass(frozen=True, slots=True)
class Cover:
    """Attestations with equal content that cover every slice q times: what `finalize` needs."""

    merged: Digest
    """NO_DIGEST: q members want to abort the round."""
    slices: tuple[Digest, ...]
    signatures: tuple[Signed, ...]


@dataclass(slots=True)
class RoundStore:
    """Evidence of one round, thrown away when `(round, inputs)` of the sealed round changes."""

    round: int
    inputs: Digest
    seal_seen: float
    """When this peer first saw the round sealed, on its own clock."""
    members: tuple[Member, ...] = ()
    """The roster, ascending by index, with updates and weights as they were sealed: the view forgets them at the next
    submission."""
    k: int = 0
    """Slices of this round."""
    submitted: Bitmap = 0
    """Members whose updates are in this round: what may be excluded."""
    claimed_at: dict[Bitmap, float] = field(default_factory=dict)
    """Per excluded mask: when every slice first had q equal claims."""
    covered_at: dict[Bitmap, float] = field(default_factory=dict)
    """Per excluded mask: when the attestations first covered every slice q times."""
    covers: dict[Bitmap, Cover] = field(default_factory=dict)
    """Per excluded mask: attestations that do. Kept as first chosen, so that one that comes later does not make another
    transaction of the one that is under way."""
    leaf_lists: set[int] = field(default_factory=set)
    """Members whose update's leaf list is held and fits its digest."""
    failing: dict[int, float] = field(default_factory=dict)
    """Members whose content could not be had from anyone: time of the first failure since the last success."""
    invalid: dict[int, int] = field(default_factory=dict)
    """Members whose update this peer itself found wrong: the chunk."""
    refuted: set[tuple[Address, int, int]] = field(default_factory=set)
    """(objector, member, chunk) of INVALID objections that this peer checked and found untrue."""
    signed: dict[Address, dict[tuple[Any, ...], Signed]] = field(default_factory=dict)
    """Every verified message, by signer and by what it is about; own ones included. See `add`."""
    computed: dict[tuple[Bitmap, int], Digest] = field(default_factory=dict)
    """(excluded, slice) that this peer merged and flushed: the slice's digest."""
    slice_lists: set[Digest] = field(default_factory=set)
    """Slice digests whose leaf list is held."""
    slices_held: set[tuple[Bitmap, int, Digest]] = field(default_factory=set)
    """Merged slices whose chunks are all on disk, verified and flushed."""
    roots: dict[tuple[Bitmap, tuple[Digest, ...]], Digest] = field(default_factory=dict)
    """Merged model digests that this peer built from leaf lists."""

    def fits(self, body: RoundMessage) -> bool:
        """Whether a message can be about this round at all: its exclusions, slices and members are those that there are."""
        if (body.round, body.inputs) != (self.round, self.inputs):
            return False
        if isinstance(body, Objection):
            return any(member.index == body.member for member in self.members)
        if body.excluded & ~self.submitted:
            return False
        if isinstance(body, Claim):
            return body.slice < self.k
        return len(body.slices) == (0 if body.merged == NO_DIGEST else self.k) and not body.mask >> len(body.slices)

    def add(self, message: Signed, *, own: bool = False) -> bool:
        """Take in a verified message of this round; True if it says something new.

        Kept per signer: one claim for each (excluded, slice), the widest attestation for each (excluded, merged,
        slices), one objection for each (member, reason); no more than MOST_OF_ONE in all. The first of two contradicting
        claims wins here; reporting the contradiction is the business of the money layer.

        Args:
            own: it is this peer's own, from its journal: kept whatever there is.
        """
        body = message.body
        if (body.round, body.inputs) != (self.round, self.inputs) or not (own or self.fits(body)):
            return False
        key: tuple[Any, ...]
        if isinstance(body, Claim):
            key = ("claim", body.excluded, body.slice)
        elif isinstance(body, Attestation):
            key = ("attestation", body.excluded, body.merged, body.slices)
        else:
            key = ("objection", body.member, body.reason)
        mine = self.signed.setdefault(message.signer, {})
        known = mine.get(key)
        if known is not None:
            if not isinstance(body, Attestation) or not isinstance(known.body, Attestation):
                return False
            if body.mask | known.body.mask == known.body.mask:
                return False
        elif len(mine) >= MOST_OF_ONE and not own:
            return False
        mine[key] = message
        return True

    def said(self, signer: Address, excluded: Bitmap) -> list[Signed]:
        """Claims and attestations of one member under these exclusions."""
        return [m for key, m in self.signed.get(signer, {}).items() if key[0] != "objection" and key[1] == excluded]

    def messages(self) -> list[Signed]:
        """Every message held: one of each signer, then another one of each, so that nobody's many crowd out the others'
        where there is a limit."""
        layers = zip_longest(*(self.signed[signer].values() for signer in sorted(self.signed)))
        return [message for layer in layers for message in layer if message is not None]

    def claims(self, excluded: Bitmap, slice_: int) -> dict[Digest, set[Address]]:
        """Who claims which digest for a slice, given the exclusions."""
        found: dict[Digest, set[Address]] = {}
        for signer, by_key in self.signed.items():
            message = by_key.get(("claim", excluded, slice_))
            if message is not None and isinstance(message.body, Claim):
                found.setdefault(message.body.digest, set()).add(signer)
        return found

    def attestations(self, excluded: Bitmap) -> dict[tuple[Digest, tuple[Digest, ...]], dict[Address, Signed]]:
        """Attestations under these exclusions, grouped by (merged, slices)."""
        found: dict[tuple[Digest, tuple[Digest, ...]], dict[Address, Signed]] = {}
        for signer, by_key in self.signed.items():
            for message in by_key.values():
                body = message.body
                if isinstance(body, Attestation) and body.excluded == excluded:
                    found.setdefault((body.merged, body.slices), {})[signer] = message
        return found

    def objectors(self, member: int, reason: Reason) -> set[Address]:
        """Who objects to a member's update for this reason."""
        return {
            signer
            for signer, by_key in self.signed.items()
            if (message := by_key.get(("objection", member, reason))) is not None
            and isinstance(message.body, Objection)
        }


@dataclass(slots=True)
class Store:
    """A peer's own state."""

    me: Address
    weight: int
    """Weight that this peer declares."""
    applied: Digest | None = None
    """Head whose weights the learner has (None after a restart)."""
    held: set[Digest] = field(default_factory=set)
    """Files held whole, by digest."""
    update: Update | None = None
    report: Report | None = None
    round: RoundStore | None = None
    started_at: float = 0.0
    """When this process started, on its own clock."""
    stopped_seen: float | None = None
    head_missing: tuple[Digest, float] | None = None
    """The head that is not held, and since when it has been missing, on the own clock."""
    head_round: int | None = None
    """Round of the last head that was seen."""
