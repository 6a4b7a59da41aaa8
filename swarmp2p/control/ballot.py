"""Ballots: what members decide together, signed by each that agrees, carried out in one transaction (section 4, execute)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from swarmp2p.control.paper import Paper, Read, hexadecimal, number
from swarmp2p.core.errors import BallotRefused
from swarmp2p.core.messages import Vote
from swarmp2p.core.types import NO_ADDRESS, Address, Phase, VoteKind, bitmap_of
from swarmp2p.core.view import View

_NEW = "Propose it again: `swarmp2p vote`."


def _kind(value: object) -> VoteKind:
    return VoteKind(number(8)(value))


@dataclass(frozen=True, slots=True)
class Ballot(Paper[Vote]):
    """A vote with its signatures, for one contract on one chain. What is no ballot raises BallotRefused."""

    NAME: ClassVar[str] = "a ballot"
    KIND: ClassVar[str] = "vote"
    FIELDS: ClassVar[Mapping[str, Read]] = {
        "kind": _kind,
        "target": hexadecimal(20),
        "arg": number(32),
        "ballot": number(32),
        "deadline": number(40),
    }
    MAKE = Vote
    REFUSED = BallotRefused
    MEND = _NEW

    @property
    def vote(self) -> Vote:
        """The body."""
        return self.body


def new_vote(view: View, kind: VoteKind, deadline: int, target: Address = NO_ADDRESS, arg: int = 0) -> Vote:
    """A vote as the contract will want it now.

    Args:
        deadline: until when it may be carried out, Unix time.
        target: whom to expel.
        arg: ROLLBACK: the round whose model is the head again. REOPEN: the new maxRounds.

    Raises:
        BallotRefused: the swarm could not do it.
    """
    expels = kind in (VoteKind.EXPEL, VoteKind.EXPEL_AND_SLASH)
    if expels != (target != NO_ADDRESS):
        raise BallotRefused("An expulsion has a target, and nothing else has one.", "Name whom to expel.")
    if kind is VoteKind.REOPEN and view.phase is not Phase.STOPPED:
        raise BallotRefused("The swarm has not stopped.", "It can be reopened when it has.")
    if kind in (VoteKind.ROLLBACK, VoteKind.STOP) and view.phase is Phase.STOPPED:
        raise BallotRefused("The swarm has stopped.", "Reopen it first.")
    if kind is VoteKind.REOPEN and arg <= view.merged_rounds:
        raise BallotRefused(
            f"{view.merged_rounds} rounds are merged: a swarm reopened for {arg} would stop at once.",
            "Give more rounds.",
        )
    if kind is VoteKind.ROLLBACK and arg >= view.head_round:
        raise BallotRefused(
            f"The head is of round {view.head_round}; round {arg} is not before it.",
            "Name an earlier merged round, or 0.",
        )
    return Vote(kind, target, arg, view.ballot, deadline)


def described(vote: Vote) -> str:
    """What it would do, in words."""
    target = f"0x{vote.target.hex()}"
    return {
        VoteKind.EXPEL: f"expel {target}",
        VoteKind.EXPEL_AND_SLASH: f"expel {target} and take its stake",
        VoteKind.ROLLBACK: f"go back to the model of round {vote.arg}" if vote.arg else "go back to the genesis",
        VoteKind.STOP: "stop the swarm",
        VoteKind.REOPEN: f"train on from the best model, up to {vote.arg} merged rounds",
    }[vote.kind]


def without_expired(view: View, now: float) -> View:
    """The view as it is after an `advance` that takes the vote from those whose time has passed: they count no more."""
    late = bitmap_of(member.index for member in view.members if member.expires < now) & view.voters
    return replace(view, active=view.active & ~late, voters=view.voters & ~late)


def voters(ballot: Ballot, signers: Sequence[Address | None], view: View, now: float) -> dict[Address, bytes]:
    """Signatures that the contract counts: of voters whose time has not passed, without the target."""
    counted = {
        member.address
        for member in view.members
        if view.voters >> member.index & 1 and member.expires >= now and member.address != ballot.vote.target
    }
    signed = zip(signers, ballot.signatures, strict=True)
    return {signer: signature for signer, signature in signed if signer in counted and signer is not None}


def votes_needed(view: View) -> int:
    """More than half of the voters."""
    return view.voters.bit_count() // 2 + 1


def check_ballot(
    ballot: Ballot,
    *,
    chain_id: int,
    contract: Address,
    domain: bytes,
    view: View,
    now: float,
    signers: Sequence[Address | None] | None = None,
) -> Sequence[bytes]:
    """Check a ballot before a transaction is spent on it; returns the signatures to carry it out with.

    Args:
        signers: who made each of the signatures, if that is known already.

    Raises:
        BallotRefused: for another swarm, overtaken by another ballot, too late, or signed by too few.
    """
    vote = ballot.vote
    if (ballot.chain_id, ballot.contract) != (chain_id, contract):
        raise BallotRefused(
            f"The ballot is of the swarm 0x{ballot.contract.hex()} on chain {ballot.chain_id}.",
            "Use the swarm.toml of that swarm.",
        )
    if vote.ballot != view.ballot:
        raise BallotRefused(
            f"The ballot has number {vote.ballot}, and the swarm is at {view.ballot}: another one was carried out.",
            _NEW,
        )
    if now > vote.deadline:
        raise BallotRefused("The ballot is past its deadline.", _NEW)
    counted = voters(ballot, ballot.signers(domain) if signers is None else signers, view, now)
    needed = votes_needed(view)
    if len(counted) < needed:
        raise BallotRefused(
            f"The ballot is signed by {len(counted)} members that count; it needs {needed} of"
            f" {view.voters.bit_count()} voters.",
            "Have it signed by more of them: `swarmp2p vote sign`.",
        )
    return [counted[signer] for signer in sorted(counted)]
