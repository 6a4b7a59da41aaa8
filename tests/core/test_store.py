"""What a round's evidence takes in: only what can be about the round, and of nobody more than a bound."""

from dataclasses import replace

import pytest

from swarmp2p.core.decide import observe
from swarmp2p.core.messages import Attestation, Claim, Objection, RoundMessage, Signed
from swarmp2p.core.store import MOST_OF_ONE, RoundStore, Store
from swarmp2p.core.types import NO_DIGEST, Reason
from tests.core.builders import CONFIG, INPUTS, MERGED, T0, address, merging, slice_of

CLAIM = Claim(3, INPUTS, 0b1000, 1, slice_of(1))
ATTESTATION = Attestation(3, INPUTS, 0b1000, MERGED, (slice_of(0), slice_of(1)), 0b11)
OBJECTION = Objection(3, INPUTS, 3, Reason.INVALID, 7)


def evidence(size: int = 4) -> RoundStore:
    store = Store(address(0), 1)
    observe(merging(size), store, CONFIG, T0)
    assert store.round is not None
    return store.round


def signed(body: RoundMessage, signer: int = 1) -> Signed:
    return Signed(body, address(signer), bytes(65))


@pytest.mark.parametrize(
    "body",
    [
        replace(CLAIM, excluded=0b10000),
        replace(CLAIM, excluded=2**255),
        replace(CLAIM, slice=2),
        replace(CLAIM, round=4),
        replace(CLAIM, inputs=b"x" * 32),
        replace(ATTESTATION, excluded=0b10000),
        replace(ATTESTATION, slices=(slice_of(0),), mask=0b1),
        replace(ATTESTATION, slices=(slice_of(0), slice_of(1), slice_of(2))),
        replace(ATTESTATION, mask=0b100),
        replace(ATTESTATION, merged=NO_DIGEST),
        replace(ATTESTATION, slices=(), mask=0),
        replace(OBJECTION, member=4),
    ],
)
def test_what_cannot_be_about_the_round_is_not_kept(body: RoundMessage) -> None:
    current = evidence()
    assert not current.add(signed(body))
    assert current.messages() == []


def test_what_can_be_is_kept() -> None:
    current = evidence()
    abort = Attestation(3, INPUTS, 0b1000, NO_DIGEST, (), 0)
    for body in (CLAIM, ATTESTATION, abort, OBJECTION):
        assert current.add(signed(body))
        assert not current.add(signed(body))


def test_nobody_but_oneself_is_kept_without_bound() -> None:
    current = evidence(16)
    bodies = [replace(CLAIM, excluded=mask, slice=0) for mask in range(MOST_OF_ONE + 3)]
    narrow = replace(ATTESTATION, mask=0b1)
    assert current.add(signed(narrow))
    assert sum(current.add(signed(body)) for body in bodies) == MOST_OF_ONE - 1
    assert not current.add(signed(OBJECTION))
    assert current.add(signed(ATTESTATION)), "a wider mask takes the place of a narrower one"
    assert current.add(signed(OBJECTION, signer=2))
    assert all(current.add(signed(body, signer=0), own=True) for body in bodies)


def test_what_a_member_said_under_the_same_exclusions() -> None:
    current = evidence()
    for body in (CLAIM, replace(CLAIM, excluded=0), ATTESTATION, OBJECTION):
        current.add(signed(body))
    assert [each.body for each in current.said(address(1), 0b1000)] == [CLAIM, ATTESTATION]
    assert current.said(address(2), 0b1000) == []


def test_nobody_s_many_messages_come_before_the_others() -> None:
    current = evidence()
    for slice_ in (0, 1):
        current.add(signed(replace(CLAIM, slice=slice_), signer=1))
    current.add(signed(CLAIM, signer=2))
    assert [each.signer for each in current.messages()] == [address(1), address(2), address(1)]
