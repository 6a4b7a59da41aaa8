"""Two signed messages of one member of which one must be false: the only misconduct that can be proven (section 7)."""

from collections.abc import Iterable

from swarmp2p.core.messages import Attestation, Claim, RoundMessage, Signed
from swarmp2p.core.money import Statement
from swarmp2p.core.types import NO_DIGEST, Digest, bits


def contradicted_slice(one: RoundMessage, other: RoundMessage) -> int | None:
    """The slice about which two messages of one signer say different things; None if both can be true.

    Two attestations of the same slices with different merged models contradict each other in every slice: the first is given.
    """
    if (one.round, one.inputs) != (other.round, other.inputs) or not _comparable(one, other):
        return None
    said, heard = _said(one), _said(other)
    for slice_ in sorted(said.keys() & heard.keys()):
        if said[slice_] != heard[slice_]:
            return slice_
    if (
        isinstance(one, Attestation)
        and isinstance(other, Attestation)
        and one.slices == other.slices
        and one.merged != other.merged
    ):
        return 0
    return None


def find_contradiction(known: Iterable[Signed], message: Signed) -> tuple[Signed, int] | None:
    """A known message of the same signer that this one contradicts, and the slice."""
    for earlier in known:
        slice_ = contradicted_slice(earlier.body, message.body)
        if slice_ is not None:
            return earlier, slice_
    return None


def statement_of(message: Signed) -> Statement:
    """A claim or an attestation as the treasury takes it."""
    body = message.body
    if isinstance(body, Claim):
        return Statement(
            False, body.round, body.inputs, body.excluded, body.slice, body.digest, NO_DIGEST, (), 0, message.signature
        )
    if isinstance(body, Attestation):
        return Statement(
            True, body.round, body.inputs, body.excluded, 0, NO_DIGEST, body.merged, body.slices, body.mask,
            message.signature,
        )  # fmt: skip
    raise TypeError("an objection states nothing of a slice")


def _comparable(one: RoundMessage, other: RoundMessage) -> bool:
    """Claims and attestations under the same exclusions; an attestation for an abort says nothing of a slice."""
    for each in (one, other):
        if not isinstance(each, Claim | Attestation) or (isinstance(each, Attestation) and each.merged == NO_DIGEST):
            return False
    assert isinstance(one, Claim | Attestation)
    assert isinstance(other, Claim | Attestation)
    return one.excluded == other.excluded


def _said(body: RoundMessage) -> dict[int, Digest]:
    if isinstance(body, Claim):
        return {body.slice: body.digest}
    assert isinstance(body, Attestation)
    return {slice_: body.slices[slice_] for slice_ in bits(body.mask) if slice_ < len(body.slices)}
