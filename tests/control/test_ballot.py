"""Ballots are checked here as the contract does, so that no transaction is spent in vain."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swarmp2p.control.ballot import Ballot, check_ballot, described, new_vote, votes_needed, without_expired
from swarmp2p.control.invitation import Invitation, described_invite
from swarmp2p.control.paper import MAX_SIGNATURES, moment
from swarmp2p.control.paper_box import PaperBox, paper_id, told
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


def test_a_box_takes_no_more_than_it_can_read_back(tmp_path: Path) -> None:
    box, paper = PaperBox(tmp_path / "papers"), ballot(0)
    many = replace(paper, signatures=tuple(bytes([1]) + number.to_bytes(64, "big") for number in range(MAX_SIGNATURES)))
    box.add(many)
    with pytest.raises(BallotRefused, match="257 signatures are more"):
        box.add(paper)
    assert PaperBox(tmp_path / "papers").papers() == {paper_id(paper): many}


def test_what_is_in_the_way_in_a_box(tmp_path: Path) -> None:
    folder, paper = tmp_path / "papers", ballot(0)
    box, path = PaperBox(folder), folder / f"{paper_id(paper)}.json"
    assert len(paper_id(paper)) == len("vote-") + 32
    folder.mkdir()
    for garbage in ("", "{}", paper.to_json()[:-5], "x" * 70_000):
        path.write_text(garbage)
        assert box.papers() == {}
        assert box.add(paper) == paper
        assert box.papers() == {paper_id(paper): paper}
    ballot(0, arg=7).save(path)
    assert box.papers() == {}, "it is not of this name"
    with pytest.raises(BallotRefused, match="of another name"):
        box.add(paper)
    path.unlink()
    path.mkdir()
    with pytest.raises(BallotRefused, match="cannot be read"):
        box.add(paper)
    with pytest.raises(ConfigError, match="cannot be removed"):
        box.remove(paper_id(paper))


def test_what_is_to_be_signed_is_told_in_words() -> None:
    invite = Invite(b"\xab" * 20, 0, 70, 1_900_000_000, 40, bytes(32), 1_800_000_000)
    words = f"invite 0x{'ab' * 20} with a weight of at most 70, a member until 2030-03-17 17:46 UTC, for a stake of 40"
    assert described_invite(invite, 40) == words
    assert described_invite(invite, 50) == f"{words} - LESS than the 50 of the manifest"
    assert told(Invitation(1, CONTRACT, invite), 40) == f"{words}; good until 2027-01-15 08:00 UTC"
    assert told(ballot(deadline=1_800_000_000)) == f"{described(ballot().vote)}; good until 2027-01-15 08:00 UTC"
    assert moment(2**40 - 1) == "the end of time"


def test_the_view_without_those_whose_time_has_passed() -> None:
    late = replace(
        view(), members=tuple(replace(each, expires=int(NOW) - 1) for each in view().members[:2]) + view().members[2:]
    )
    counting = without_expired(late, NOW)
    assert counting.active == counting.voters == bitmap_of((2, 3))
    assert votes_needed(counting) == 2
    assert without_expired(view(), NOW) == view()
