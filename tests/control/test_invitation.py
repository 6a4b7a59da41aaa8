"""Invitations: files that cannot be bent, and reasons for each refusal."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.control.invitation import Invitation, new_invite, verify
from swarmp2p.core.errors import InvitationRefused
from swarmp2p.core.messages import Invite
from swarmp2p.core.types import Status, bitmap_of
from swarmp2p.core.view import Member, View
from swarmp2p.identity import Key
from tests.control.swarm_on_chain import config

NOW = 1_800_000_000.0
DOMAIN = b"\x0d" * 32
CONTRACT = b"\x0c" * 20
KEYS = [Key.from_seed(f"invitation {number}") for number in range(6)]
ME = KEYS[5]
CONFIG = config([key.address for key in KEYS[:3]], k_invite=2)


def _view(*members: Key) -> View:
    from swarmp2p.control.abi_codec import decode_state
    from tests.control.test_contract import empty_state

    entries = tuple(
        Member(i, key.address, Status.ACTIVE, 0, 100, 2**40 - 1, 0, 0, 1, bytes(32)) for i, key in enumerate(members)
    )
    voters = bitmap_of(entry.index for entry in entries)
    return replace(decode_state(empty_state()), members=entries, voters=voters)


def _invitation(*signers: Key, **changes: Any) -> Invitation:
    invite = Invite(ME.address, 0, 100, int(NOW) + 1000, 0, CONFIG.purpose, int(NOW) + 100)
    invitation = Invitation(31415, CONTRACT, replace(invite, **changes))
    for signer in signers:
        invitation = invitation.signed(signer, DOMAIN)
    return invitation


def entry(status: Status = Status.NONE, term: int = 0) -> Member:
    """What the contract says of ME."""
    return Member(0, ME.address, status, 0, 0, 0, 0, 0, term, bytes(32))


def _verify(invitation: Invitation, view: View | None = None, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "chain_id": 31415, "contract": CONTRACT, "domain": DOMAIN, "config": CONFIG, "view": view or _view(),
        "me": entry(), "now": NOW, **changes,
    }  # fmt: skip
    return verify(invitation, **arguments)


def test_enough_founders_or_more_than_half_of_the_members() -> None:
    assert len(_verify(_invitation(KEYS[0], KEYS[2]))) == 2
    # Twice the same is once.
    with pytest.raises(InvitationRefused, match="1 founders"):
        _verify(_invitation(KEYS[0], KEYS[0]))
    with pytest.raises(InvitationRefused, match="0 founders"):
        _verify(_invitation())
    members = _view(KEYS[0], KEYS[3], KEYS[4])
    assert len(_verify(_invitation(KEYS[3], KEYS[4]), members)) == 2
    with pytest.raises(InvitationRefused, match="more than half of 4"):
        _verify(_invitation(KEYS[3], KEYS[4]), _view(KEYS[0], KEYS[1], KEYS[3], KEYS[4]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"invitee": KEYS[1].address}, "is for 0x"),
        ({"purpose": b"\x99" * 32}, "another purpose"),
        ({"deadline": int(NOW) - 1}, "deadline"),
        ({"expires": int(NOW) - 1}, "expired"),
        ({"term": 1}, "used already"),
    ],
)
def test_refusals_of_the_invite(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvitationRefused, match=says) as caught:
        _verify(_invitation(KEYS[0], KEYS[1], **changes))
    assert caught.value.mend


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"chain_id": 1}, "on chain 31415"),
        ({"contract": b"\x01" * 20}, "is for the swarm"),
        ({"domain": bytes(32)}, "founders"),
    ],
)
def test_refusals_of_the_place(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InvitationRefused, match=says):
        _verify(_invitation(KEYS[0], KEYS[1]), **arguments)


def test_a_changed_invite_has_other_signers() -> None:
    signed = _invitation(KEYS[0], KEYS[1])
    with pytest.raises(InvitationRefused):
        _verify(replace(signed, body=replace(signed.invite, max_weight=10**9)))
    damaged = replace(signed, signatures=(signed.signatures[0][:-1] + b"\x00", signed.signatures[1]))
    with pytest.raises(InvitationRefused, match="forged or damaged"):
        _verify(damaged)


def test_new_invites_name_the_next_term_also_of_who_has_left() -> None:
    again = new_invite(entry(term=3), CONFIG.purpose, 5, 10, 10, stake=7)
    assert (again.term, again.invitee, again.max_weight, again.stake) == (3, ME.address, 5, 7)


def test_nobody_invites_who_was_expelled() -> None:
    with pytest.raises(InvitationRefused, match="expelled"):
        _verify(_invitation(KEYS[0], KEYS[1]), me=entry(Status.BARRED))


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "invitation.json"
    invitation = _invitation(KEYS[0], KEYS[1])
    invitation.save(path)
    assert Invitation.load(path) == invitation
    with pytest.raises(InvitationRefused, match="cannot be read"):
        Invitation.load(tmp_path / "none.json")


_values: st.SearchStrategy[Any] = st.none() | st.text() | st.booleans() | st.just([1]) | st.just({})


@given(st.sampled_from(["version", "chain_id", "contract", "invite", "signatures", "more"]), _values)
def test_bent_files_are_refused(key: str, value: Any) -> None:
    body = json.loads(_invitation(KEYS[0]).to_json())
    body[key] = value
    with pytest.raises(InvitationRefused):
        Invitation.from_json(json.dumps(body))


_fields = st.sampled_from(["invitee", "purpose", "term", "max_weight", "expires", "stake", "deadline"])


@given(_fields, st.sampled_from([None, -1, 2**200, "0x", 1.5, True, []]))
def test_bent_invites_are_refused(key: str, value: Any) -> None:
    body = json.loads(_invitation(KEYS[0]).to_json())
    body["invite"][key] = value
    with pytest.raises(InvitationRefused, match="is not an invitation"):
        Invitation.from_json(json.dumps(body))


@given(st.binary(max_size=100))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(InvitationRefused):
        Invitation.from_json(data)
