"""What counts as saying two things: as the treasury's contract judges, and nothing that an honest member signs."""

from dataclasses import replace

import pytest

from swarmp2p.core.contradiction import contradicted_slice, find_contradiction, statement_of
from swarmp2p.core.messages import Attestation, Claim, Objection, RoundMessage, Signed
from swarmp2p.core.types import NO_DIGEST, Reason
from tests.core.builders import INPUTS, MERGED, slice_of

CLAIM = Claim(3, INPUTS, 0, 1, slice_of(1))
ATTESTATION = Attestation(3, INPUTS, 0, MERGED, (slice_of(0), slice_of(1)), 0b11)
OBJECTION = Objection(3, INPUTS, 1, Reason.INVALID, 7)


@pytest.mark.parametrize(
    ("one", "other", "slice_"),
    [
        (CLAIM, replace(CLAIM, digest=slice_of(5)), 1),
        (CLAIM, replace(ATTESTATION, slices=(slice_of(0), slice_of(5))), 1),
        (ATTESTATION, replace(ATTESTATION, slices=(slice_of(5), slice_of(1)), mask=0b01), 0),
        (ATTESTATION, replace(ATTESTATION, merged=b"x" * 32), 0),
        (replace(ATTESTATION, mask=0b01), replace(ATTESTATION, merged=b"x" * 32, mask=0b10), 0),
    ],
)
def test_one_of_two_must_be_false(one: RoundMessage, other: RoundMessage, slice_: int) -> None:
    assert contradicted_slice(one, other) == contradicted_slice(other, one) == slice_


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CLAIM, CLAIM),
        (CLAIM, replace(CLAIM, slice=0, digest=slice_of(0))),
        (CLAIM, ATTESTATION),
        (CLAIM, replace(CLAIM, round=4, digest=slice_of(5))),
        (CLAIM, replace(CLAIM, inputs=b"x" * 32, digest=slice_of(5))),
        (CLAIM, replace(CLAIM, excluded=1, digest=slice_of(5))),
        (CLAIM, replace(ATTESTATION, slices=(slice_of(0), slice_of(5)), mask=0b01)),  # not recomputed by it
        (ATTESTATION, replace(ATTESTATION, mask=0b01)),
        (ATTESTATION, replace(ATTESTATION, merged=NO_DIGEST, slices=(), mask=0)),  # an abort
        (ATTESTATION, OBJECTION),
        (OBJECTION, replace(OBJECTION, chunk=8)),
    ],
)
def test_both_can_be_true(one: RoundMessage, other: RoundMessage) -> None:
    assert contradicted_slice(one, other) is None
    assert contradicted_slice(other, one) is None


def test_the_earlier_message_is_found() -> None:
    signer, known = b"s" * 20, [Signed(body, b"s" * 20, b"1" * 65) for body in (OBJECTION, CLAIM)]
    lie = Signed(replace(CLAIM, digest=slice_of(5)), signer, b"2" * 65)
    assert find_contradiction(known, lie) == (known[1], 1)
    assert find_contradiction(known, known[1]) is None


def test_statements_are_what_was_signed() -> None:
    claim = statement_of(Signed(CLAIM, b"s" * 20, b"1" * 65))
    assert (claim.attestation, claim.slice, claim.digest, claim.slices) == (False, 1, slice_of(1), ())
    attested = statement_of(Signed(ATTESTATION, b"s" * 20, b"1" * 65))
    assert (attested.attestation, attested.merged, attested.mask) == (True, MERGED, 0b11)
    with pytest.raises(TypeError):
        statement_of(Signed(OBJECTION, b"s" * 20, b"1" * 65))
