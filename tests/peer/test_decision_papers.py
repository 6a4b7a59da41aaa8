"""Which papers a peer takes, keeps, and throws away; nobody's papers take the room of another's."""

from dataclasses import replace
from typing import Any

from coincurve import PrivateKey

from swarmp2p.control.ballot import Ballot
from swarmp2p.control.invitation import Invitation
from swarmp2p.control.paper_box import paper_id
from swarmp2p.core.messages import Invite, Vote
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import NO_ADDRESS, Status, VoteKind
from swarmp2p.core.view import Member, View
from swarmp2p.identity import Key, keccak256
from swarmp2p.peer import decision_papers
from swarmp2p.peer.decision_papers import LONGEST, MOST_OF_ONE, MOST_PAPERS, PATIENCE, Papers, SwarmOf
from tests.core.builders import collecting

NOW = 1_800_000_000.0
FAR = int(NOW) + 1000
CONTRACT, DOMAIN, PURPOSE = b"\xcc" * 20, b"\xdd" * 32, b"\x04" * 32
ME, ALICE, BOB, MALLORY = (Key.from_seed(f"papers {n}") for n in range(4))
FOUNDER = Key.from_seed("founder")
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def members(*keys: Key, **changes: Any) -> View:
    entries = tuple(Member(i, key.address, Status.ACTIVE, 0, 1, FAR, 0, 0, 1, bytes(32)) for i, key in enumerate(keys))
    return collecting(members=entries, **{"ballot": 3, **changes})


ALL = members(ME, ALICE, BOB, MALLORY)


def papers() -> Papers:
    return Papers(ME.address, SwarmOf(31415, CONTRACT, DOMAIN, PURPOSE, frozenset({FOUNDER.address})))


def ballot(number: int, *signers: Key, **changes: Any) -> Ballot:
    """The number tells one from another."""
    paper = Ballot(31415, CONTRACT, replace(Vote(VoteKind.STOP, NO_ADDRESS, number, 3, FAR), **changes))
    for signer in signers:
        paper = paper.signed(signer, DOMAIN)
    return paper


def invitation(*signers: Key, **changes: Any) -> Invitation:
    paper = Invitation(31415, CONTRACT, replace(Invite(b"\1" * 20, 0, 5, FAR, 0, PURPOSE, FAR), **changes))
    for signer in signers:
        paper = paper.signed(signer, DOMAIN)
    return paper


def bring(known: Papers, author: Key, paper: Ballot) -> bool:
    """As peer/decisions.py does."""
    id_ = paper_id(paper)
    going = known.room_for(id_, author.address)
    if going is None:
        return False
    for old in going:
        known.drop(old, known.signers(old)[0] or b"")
    known.put(id_, paper)
    return True


def another_signature(key: Key, digest: bytes, nonce: int) -> bytes:
    """ECDSA with a chosen nonce: whoever has the key can make any number of signatures of one text."""
    secret, about = int.from_bytes(key.secret, "big"), int.from_bytes(digest, "big")
    point = PrivateKey(nonce.to_bytes(32, "big")).public_key.format(compressed=False)
    r, v = int.from_bytes(point[1:33], "big") % ORDER, point[64] & 1
    s = pow(nonce, -1, ORDER) * (about + r * secret) % ORDER
    if s > ORDER // 2:
        s, v = ORDER - s, v ^ 1
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + v])


def test_one_signature_of_each_signer(monkeypatch: Any) -> None:
    known, paper = papers(), ballot(1, MALLORY)
    known.put(paper_id(paper), paper)
    digest = signing_digest(paper.body, DOMAIN, keccak256)
    other = replace(paper, signatures=(another_signature(MALLORY, digest, 7),))
    assert other.signers(DOMAIN) == [MALLORY.address]
    assert not known.takes(MALLORY.address, other)
    assert known.takes(MALLORY.address, paper), "the same one goes on to those who were not there"
    assert known.takes(ALICE.address, ballot(1, ALICE))
    assert not known.takes(BOB.address, ballot(1, ALICE))
    assert papers().takes(MALLORY.address, other), "the first one is as good as any"

    def never(*_: object) -> None:
        raise AssertionError("recovered twice")

    monkeypatch.setattr(decision_papers, "recover", never)
    assert known.takes(MALLORY.address, paper)
    assert known.signers(paper_id(paper)) == [MALLORY.address]


def test_a_member_takes_its_own_room_only() -> None:
    known = papers()
    good, own = ballot(0, ALICE), ballot(100, MALLORY, ME)
    assert bring(known, ALICE, good)
    assert bring(known, MALLORY, own)
    flood = [ballot(number, MALLORY) for number in range(1, 20)]
    assert all(bring(known, MALLORY, each) for each in flood)
    left = known.open(ALL, NOW)
    assert set(left) == {paper_id(each) for each in (good, own, *flood[-MOST_OF_ONE:])}
    assert not bring(known, MALLORY, flood[0]), "it went already, and would come and go for ever"
    assert bring(known, BOB, replace(flood[0], signatures=ballot(1, BOB).signatures))
    known.remove(paper_id(flood[-1]))
    assert bring(known, MALLORY, flood[1]), "there is room again"


def test_when_all_is_full_those_who_brought_most_make_room() -> None:
    known = papers()
    crowd = [Key.from_seed(f"crowd {number}") for number in range(MOST_PAPERS // MOST_OF_ONE)]
    for number in range(MOST_PAPERS):
        assert bring(known, crowd[number % len(crowd)], ballot(number, crowd[number % len(crowd)]))
    for number in range(MOST_OF_ONE - 1):
        assert bring(known, ALICE, ballot(1000 + number, ALICE))
    assert len(known.open(ALL, NOW)) == MOST_PAPERS
    assert not bring(known, ALICE, ballot(2000, ALICE)), "nobody has more than one more"


def test_who_may_bring_what() -> None:
    known, now = papers(), NOW
    assert known.may_come(ALICE.address, ballot(1).body, ALL, now)
    assert not known.may_come(FOUNDER.address, ballot(1).body, ALL, now)
    assert known.may_come(FOUNDER.address, invitation().body, ALL, now)
    assert not known.may_come(ALICE.address, invitation(purpose=bytes(32)).body, ALL, now)
    assert not known.may_come(ALICE.address, ballot(1, ballot=2).body, ALL, now)
    assert not known.may_come(ALICE.address, ballot(1, deadline=int(now) - 1).body, ALL, now)
    assert known.may_come(ALICE.address, ballot(1, deadline=int(now) + LONGEST).body, ALL, now)
    assert not known.may_come(ALICE.address, ballot(1, deadline=int(now) + LONGEST + 1).body, ALL, now)


def test_what_the_chain_may_come_back_to_is_kept_a_while() -> None:
    known = papers()
    old, now_open, ahead = (ballot(number, ME, ballot=number) for number in (2, 3, 4))
    for each in (old, now_open, ahead):
        known.put(paper_id(each), each)
    assert set(known.open(ALL, NOW)) == {paper_id(now_open)}
    assert known.overdue(ALL, NOW) == []
    assert known.overdue(ALL, NOW + PATIENCE - 1) == []
    assert known.overdue(members(ME, ballot=2), NOW + PATIENCE) == [], "a reorganisation brought it back"
    assert known.overdue(ALL, NOW + PATIENCE) == []
    assert known.overdue(ALL, NOW + 2 * PATIENCE) == [paper_id(old)]
    later = members(ME, ballot=4)
    assert paper_id(ahead) in known.open(later, NOW), "the node lagged"
    assert set(known.overdue(later, FAR + 1.0)) == {paper_id(each) for each in (old, now_open, ahead)}


def test_papers_of_those_who_have_gone_go_after_a_while() -> None:
    known = papers()
    gone, both, mine = ballot(1, MALLORY), ballot(2, MALLORY, ALICE), ballot(3, MALLORY, ME)
    used, founders = invitation(ME, invitee=ALICE.address), invitation(FOUNDER)
    for each in (gone, both, mine, used, founders):
        known.put(paper_id(each), each)
    rest = members(ME, ALICE, BOB)
    assert known.overdue(rest, NOW) == []
    assert known.overdue(rest, NOW + PATIENCE) == [paper_id(gone), paper_id(used)]


def test_papers_of_another_swarm_are_left_alone() -> None:
    known = papers()
    foreign = [replace(ballot(1, ALICE, deadline=1), chain_id=1), replace(ballot(2, ALICE), contract=b"\1" * 20)]
    known.refresh({paper_id(each): each for each in (*foreign, ballot(3, ALICE))})
    assert set(known.open(ALL, NOW)) == {paper_id(ballot(3, ALICE))}
    assert known.overdue(ALL, NOW) == []
    known.refresh({})
    assert known.open(ALL, NOW) == {}
