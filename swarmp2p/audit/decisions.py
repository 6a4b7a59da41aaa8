"""Whether enough members signed what they decide together: votes, and invitations (docs/protocol.md, section 4)."""

from collections.abc import Iterable

from swarmp2p.audit.report import VoteReport, expect, misfit, shown
from swarmp2p.audit.roll import Roll
from swarmp2p.core.config import Config
from swarmp2p.core.history import Decision, EnrolCall, Enrolled, ExecuteCall, Expelled, Reopened, RolledBack
from swarmp2p.core.messages import Invite, Vote
from swarmp2p.core.stopping import majority
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import NO_ADDRESS, Address, Digest, Status, VoteKind
from swarmp2p.identity import keccak256, recover


class Decisions:
    """The checks of signatures under votes and invitations, at the time when each had its effect."""

    def __init__(self, config: Config, domain: Digest, roll: Roll) -> None:
        self._config, self._domain, self._roll = config, domain, roll
        self.ballots = 0
        """Votes so far: the number that the next one must have."""

    def _signers(self, body: Invite | Vote, signatures: Iterable[bytes]) -> list[Address | None]:
        digest = signing_digest(body, self._domain, keccak256)
        return [recover(digest, signature) for signature in signatures]

    # ---- votes

    def vote(self, record: Decision, round_: int) -> VoteReport:
        """Before the roll is told of it: the vote is for what happened, comes next, and more than half of the voters
        signed it, its target not among them."""
        kind, target, arg = _decided(record)
        name = f"vote {self.ballots}"
        call = record.call
        if call is None:
            misfit(round_, f"execute transaction of {name}", "one to the contract, with its signatures", "another call")
        self._check_vote(call, round_, kind, target, arg)
        if record.block_timestamp > call.vote.deadline:
            misfit(round_, f"time of {name}", f"{call.vote.deadline} or before", record.block_timestamp)
        signers = self._roll.voters(self._signers(call.vote, call.signatures), record.block_timestamp, call.vote.target)
        voters = self._roll.electorate.bit_count()
        if not majority(len(signers), voters):
            needed = f"{voters // 2 + 1} or more of {voters} voters, without its target"
            misfit(round_, f"signers of {name}", needed, len(signers))
        self.ballots += 1
        return VoteReport(round_, call.vote, signers, voters, record.block_timestamp)

    def _check_vote(self, call: ExecuteCall, round_: int, kind: VoteKind, target: Address | None, arg: int) -> None:
        name, vote = f"vote {self.ballots}", call.vote
        expect(round_, f"number of {name}", self.ballots, vote.ballot)
        expect(round_, f"kind of {name}", kind.name, vote.kind.name)
        expect(round_, f"argument of {name}", arg, vote.arg)
        if target is not None:
            expect(round_, f"target of {name}", shown(target), shown(vote.target))

    # ---- invitations

    def enrolment(self, record: Enrolled, round_: int) -> None:
        """Before the roll is told of it: the invitation is for this address and these terms, and kInvite founders or more
        than half of the voters signed it."""
        who, call = shown(record.address), record.call
        if call is None:
            misfit(round_, f"enrol transaction of {who}", "one to the contract, with its signatures", "another call")
        self._check_invite(record, call, round_)
        signers = self._signers(call.invite, call.signatures)
        founders = len({each for each in signers if each in self._config.founders and not self._roll.expelled(each)})
        members = len(self._roll.voters(signers, record.block_timestamp))
        voters = self._roll.electorate.bit_count()
        if founders < self._config.k_invite and not majority(members, voters):
            needed = f"{self._config.k_invite} founders, or {voters // 2 + 1} of {voters} voters"
            misfit(round_, f"signers of the invitation of {who}", needed, f"{founders} founders, {members} members")

    def _check_invite(self, record: Enrolled, call: EnrolCall, round_: int) -> None:
        who, invite = shown(record.address), call.invite
        entry = self._roll.entries.get(record.address)
        if entry is not None and entry.standing == Status.BARRED:
            misfit(round_, "member that enrols", "one that was not expelled", f"{who}, who was")
        expect(round_, f"sender of the enrolment of {who}", who, shown(call.sender))
        expect(round_, f"invitee of the invitation of {who}", who, shown(invite.invitee))
        expect(round_, f"term of the invitation of {who}", entry.term if entry else 0, invite.term)
        for field in ("term", "max_weight", "expires"):
            what = f"{field} of {who}, as its invitation says"
            expect(round_, what, getattr(invite, field), getattr(record, field))
        expect(round_, f"purpose in the invitation of {who}", self._config.purpose, invite.purpose)
        if record.max_weight == 0:
            misfit(round_, f"max_weight of {who}", "1 or more", 0)
        until = min(invite.deadline, invite.expires)
        if record.block_timestamp > until:
            misfit(round_, f"time of the enrolment of {who}", f"{until} or before", record.block_timestamp)
        if invite.stake and self._config.treasury == NO_ADDRESS:
            misfit(round_, f"stake in the invitation of {who}", "0, since there is no treasury", invite.stake)


def _decided(record: Decision) -> tuple[VoteKind, Address | None, int]:
    """What a vote must have been for: kind, target (None: any) and argument."""
    if isinstance(record, Expelled):
        return (VoteKind.EXPEL_AND_SLASH if record.slash else VoteKind.EXPEL), record.address, 0
    if isinstance(record, RolledBack):
        return VoteKind.ROLLBACK, None, record.to_round
    if isinstance(record, Reopened):
        return VoteKind.REOPEN, None, record.max_rounds
    return VoteKind.STOP, None, 0
