"""Ballots are checked here as the contract does, so that no transaction is spent in vain."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swarmp2p.control.ballot import Ballot, check_ballot, described, new_vote, votes_needed
from swarmp2p.control.invitation import Invitation
from swarmp2p.control.paper_box import PaperBox, paper_id
from swarmp2p.core.errors import BallotRefused, ConfigError
from swarmp2p.core.messages import Invite
from swarmp2p.core.types import Phase, Status, VoteKind, bitmap_of
from swarmp2p.core.view import Member, View
from swarmp2p.identity import Key
from tests.core.builders import collecting

KEYS = [Key.from_seed(f"ballot {i}") for i in range(5)]
CONTRACT, DOMAIN, NOW = b"\xcc" * 20, b"\xdd" * 32, 1_800_000_000.0
FAR = int(NOW) + 1000


def view(active: Sequence[int] = (0, 1, 2, 3), **changes: Any) -> View:
    members = tuple(
        Member(i, key.address, Status.ACTIVE if i in active else Status.IDLE, 0, 1, FAR, 0, 0, 1, bytes(32))
        for i, key in enumerate(KEYS)
    )
    return collecting(
        members=members, active=bitmap_of(active), voters=bitmap_of(active), ballot=3, head_round=5, **changes
    )


def ballot(*signers: int, **changes: object) -> Ballot:
    vote = replace(new_vote(view(), VoteKind.EXPEL, FAR, KEYS[3].address), **changes)  # type: ignore[arg-type]
    paper = Ballot(31415, CONTRACT, vote)
    for signer in signers:
        paper = paper.signed(KEYS[signer], DOMAIN)
    return paper


def check(paper: Ballot, on: View | None = None, now: float = NOW) -> Sequence[bytes]:
    return check_ballot(paper, chain_id=31415, contract=CONTRACT, domain=DOMAIN, view=on or view(), now=now)


def test_more_than_half_of_the_active_members_and_not_the_target() -> None:
    assert len(check(ballot(0, 1, 2))) == 3
    assert votes_needed(view()) == 3
    for signers in ((0, 1), (0, 1, 3), (0, 1, 4), (0, 1, 1)):
        with pytest.raises(BallotRefused, match="signed by 2 members that count; it needs 3 of 4"):
            check(ballot(*signers))
    with pytest.raises(BallotRefused, match="signed by 1 "):
        check(ballot(0), view((0, 3)))


def test_members_whose_time_has_passed_do_not_count() -> None:
    late = replace(view(), members=(replace(view().members[0], expires=int(NOW) - 1), *view().members[1:]))
    with pytest.raises(BallotRefused, match="signed by 2 "):
        check(ballot(0, 1, 2), late)


def test_another_swarm_number_or_time() -> None:
    good = ballot(0, 1, 2)
    with pytest.raises(BallotRefused, match="of the swarm"):
        check(replace(good, chain_id=1))
    with pytest.raises(BallotRefused, match="number 3, and the swarm is at 4"):
        check(good, replace(view(), ballot=4))
    with pytest.raises(BallotRefused, match="deadline"):
        check(good, now=FAR + 1)
    with pytest.raises(BallotRefused, match="signed by 0 "):
        check(replace(good, body=replace(good.vote, deadline=FAR + 5)))


@pytest.mark.parametrize(
    ("kind", "target", "arg", "phase", "says"),
    [
        (VoteKind.EXPEL, bytes(20), 0, Phase.COLLECTING, "has a target"),
        (VoteKind.STOP, b"\x01" * 20, 0, Phase.COLLECTING, "nothing else has one"),
        (VoteKind.REOPEN, bytes(20), 9, Phase.COLLECTING, "has not stopped"),
        (VoteKind.STOP, bytes(20), 0, Phase.STOPPED, "has stopped"),
        (VoteKind.ROLLBACK, bytes(20), 0, Phase.STOPPED, "has stopped"),
        (VoteKind.REOPEN, bytes(20), 0, Phase.STOPPED, "would stop at once"),
        (VoteKind.ROLLBACK, bytes(20), 5, Phase.COLLECTING, "not before it"),
    ],
)
def test_what_the_swarm_could_not_do_is_not_proposed(
    kind: VoteKind, target: bytes, arg: int, phase: Phase, says: str
) -> None:
    with pytest.raises(BallotRefused, match=says) as caught:
        new_vote(view(phase=phase), kind, FAR, target, arg)
    assert caught.value.mend


def test_every_kind_is_told_in_words() -> None:
    vote = ballot().vote
    assert len({described(replace(vote, kind=kind, arg=7)) for kind in VoteKind}) == len(VoteKind)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "ballot.json"
    ballot(0, 1).save(path)
    assert Ballot.load(path) == ballot(0, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["ballot.json"]
    for old, new in (('"kind": 1', '"kind": 6'), ('"version": 1', '"version": true'), ('"arg": 0', '"arg": -1')):
        assert old in ballot(0).to_json()
        with pytest.raises(BallotRefused, match="is not a ballot"):
            Ballot.from_json(ballot(0).to_json().replace(old, new))
    with pytest.raises(BallotRefused, match="is not a ballot"):
        Ballot.from_json(Invitation(1, CONTRACT, Invite(bytes(20), 0, 1, 1, 0, bytes(32), 1)).to_json())
    with pytest.raises(BallotRefused, match="cannot be written"):
        ballot(0).save(tmp_path / "none" / "ballot.json")


def test_a_box_loses_no_signature(tmp_path: Path) -> None:
    here, there = PaperBox(tmp_path / "papers"), PaperBox(tmp_path / "papers")
    assert here.papers() == {}
    here.add(ballot(0))
    there.add(ballot(1))
    joined = here.add(ballot(0))
    assert joined == ballot(0, 1)
    invitation = Invitation(31415, CONTRACT, Invite(bytes(20), 0, 1, FAR, 2**127, bytes(32), FAR)).signed(
        KEYS[0], DOMAIN
    )
    there.add(invitation)
    assert here.papers() == {paper_id(joined): joined, paper_id(invitation): invitation}
    assert here.get(paper_id(joined)) == joined
    (tmp_path / "papers" / "vote-0123.json").write_text("garbage")
    (tmp_path / "papers" / "other.json").write_text("garbage")
    here.remove(paper_id(joined))
    assert there.papers() == {paper_id(invitation): invitation}
    with pytest.raises(ConfigError, match="There is no paper vote-"):
        here.get(paper_id(joined))
