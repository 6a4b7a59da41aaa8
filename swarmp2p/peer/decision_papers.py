"""The papers that a peer knows of: who has signed them, which are open, how many a member may bring, and when one goes.

No files and no network: peer/decisions.py does what this says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmp2p.control.ballot import Ballot
from swarmp2p.control.manifest import DAY
from swarmp2p.control.paper_box import AnyPaper, is_past, paper_id
from swarmp2p.core.messages import Invite, Vote
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import Address, Digest
from swarmp2p.core.view import View
from swarmp2p.identity import keccak256, recover

MOST_OF_ONE = 4
"""Papers that one member may bring; a further one takes the place of its oldest. Who has more to decide sends files."""
MOST_PAPERS = 256
"""Papers that all others may bring. Those that this home's own key has signed count in neither."""
LONGEST = 60 * DAY
"""Seconds that a deadline may be ahead, of what others bring."""
PATIENCE = 60.0
"""Seconds for which a paper that the chain has done with is kept: a reorganisation may bring it back."""
_MOST_REMEMBERED = 1024


@dataclass(frozen=True)
class SwarmOf:
    """What a paper has to be about, and who besides members signs invitations."""

    chain_id: int
    contract: Address
    domain: bytes
    purpose: Digest
    founders: frozenset[Address]


@dataclass
class Papers:
    """Papers of one swarm, in the order in which they came."""

    me: Address
    swarm: SwarmOf
    _papers: dict[str, AnyPaper] = field(default_factory=dict)
    _signers: dict[str, dict[bytes, Address | None]] = field(default_factory=dict)
    """Of each paper: who made a signature. None is recovered twice."""
    _useless_since: dict[str, float] = field(default_factory=dict)
    _dropped: dict[str, Address] = field(default_factory=dict)
    """Papers that went for another one of the same member, and which: they do not come and go for ever."""

    def get(self, id_: str) -> AnyPaper | None:
        """The paper of this id, if it is known."""
        return self._papers.get(id_)

    def refresh(self, found: Mapping[str, AnyPaper]) -> None:
        """Take what the folder holds now for what there is. Papers of another swarm are none of ours."""
        about = (self.swarm.chain_id, self.swarm.contract)
        ours = {id_: paper for id_, paper in found.items() if (paper.chain_id, paper.contract) == about}
        self._papers = {id_: ours[id_] for id_ in dict.fromkeys((*self._papers, *ours)) if id_ in ours}
        self._signers = {
            id_: {signature: known[signature] for signature in ours[id_].signatures if signature in known}
            for id_, known in self._signers.items()
            if id_ in ours
        }
        self._useless_since = {id_: since for id_, since in self._useless_since.items() if id_ in ours}

    def put(self, id_: str, paper: AnyPaper) -> None:
        """There is this one now, or with these signatures."""
        self._papers[id_] = paper
        self._dropped.pop(id_, None)

    def remove(self, id_: str) -> None:
        """There is this one no more."""
        self._papers.pop(id_, None)
        self._signers.pop(id_, None)
        self._useless_since.pop(id_, None)

    # ---- who signed

    def signer(self, id_: str, body: Invite | Vote, signature: bytes) -> Address | None:
        """Who made a signature."""
        known = self._signers.setdefault(id_, {})
        if signature not in known:
            known[signature] = recover(signing_digest(body, self.swarm.domain, keccak256), signature)
        return known[signature]

    def signers(self, id_: str) -> list[Address | None]:
        """Who made each of a known paper's signatures, in order."""
        paper = self._papers[id_]
        return [self.signer(id_, paper.body, signature) for signature in paper.signatures]

    def takes(self, author: Address, paper: AnyPaper) -> bool:
        """Whether a paper with one signature says something new, or again what is known: its author made the signature,
        and no other one before. Whoever has a key can make as many signatures of one text as it likes."""
        id_, (signature,) = paper_id(paper), paper.signatures
        known = self._papers.get(id_)
        if known is not None and signature not in known.signatures and author in self.signers(id_):
            return False
        return self.signer(id_, paper.body, signature) == author

    # ---- what is open

    def is_open(self, body: Invite | Vote, view: View, now: float) -> bool:
        """Whether it can be carried out in the view, if enough sign it."""
        if body.deadline < now:
            return False
        if isinstance(body, Vote):
            return body.ballot == view.ballot
        member = view.member(body.invitee)
        return body.purpose == self.swarm.purpose and (member is None or member.term == body.term)

    def may_come(self, author: Address, body: Invite | Vote, view: View, now: float) -> bool:
        """Whether this member may bring such a paper now."""
        if not self.is_open(body, view, now) or body.deadline > now + LONGEST:
            return False
        member = view.member(author)
        votes = member is not None and bool(view.voters >> member.index & 1)
        return votes or (isinstance(body, Invite) and author in self.swarm.founders)

    def open(self, view: View, now: float) -> dict[str, AnyPaper]:
        """What waits for signatures or for being carried out."""
        return {id_: paper for id_, paper in self._papers.items() if self.is_open(paper.body, view, now)}

    def overdue(self, view: View, now: float) -> list[str]:
        """What is to be thrown away: past its deadline, or of no use for a while. What the node may not know of yet, a
        ballot of a higher number, is kept."""
        gone: list[str] = []
        for id_, paper in self._papers.items():
            if not self._is_useless(id_, paper, view):
                self._useless_since.pop(id_, None)
            elif now >= self._useless_since.setdefault(id_, now) + PATIENCE:
                gone.append(id_)
                continue
            if paper.body.deadline < now:
                gone.append(id_)
        return gone

    def _is_useless(self, id_: str, paper: AnyPaper, view: View) -> bool:
        """The chain is past it, or none of those who signed it is a member any more."""
        member = None if isinstance(paper, Ballot) else view.member(paper.invite.invitee)
        if is_past(paper, view, 0 if member is None else member.term):
            return True
        signers = {signer for signer in self.signers(id_) if signer is not None}
        if not signers or self.me in signers:
            return False
        may = {member.address for member in view.members if member.status.enrolled}
        return not signers & (may if isinstance(paper, Ballot) else may | self.swarm.founders)

    # ---- room

    def room_for(self, id_: str, author: Address) -> list[str] | None:
        """Papers that have to go so that the author can bring this new one; None: there is no room.

        Nobody takes the others' room: its own oldest goes first, and if all is full, the oldest of whoever brought most.
        """
        brought = self._brought()
        own = brought.get(author, [])
        if len(own) >= MOST_OF_ONE:
            return None if self._dropped.get(id_) == author else own[: len(own) - MOST_OF_ONE + 1]
        if sum(map(len, brought.values())) < MOST_PAPERS:
            return []
        most = max(brought.values(), key=len)
        return most[:1] if len(most) > len(own) + 1 else None

    def drop(self, id_: str, author: Address) -> None:
        """It went for another paper that this member brought."""
        self.remove(id_)
        self._dropped[id_] = author
        if len(self._dropped) > _MOST_REMEMBERED:
            self._dropped.pop(next(iter(self._dropped)))

    def _brought(self) -> dict[Address, list[str]]:
        """Papers that this home's key has not signed, by their first signer, the oldest first."""
        found: dict[Address, list[str]] = {}
        for id_ in self._papers:
            signers = [signer for signer in self.signers(id_) if signer is not None]
            if signers and self.me not in signers:
                found.setdefault(signers[0], []).append(id_)
        return found
