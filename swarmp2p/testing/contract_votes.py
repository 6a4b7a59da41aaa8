"""What the members decide together, leaving, and the end without them: twin of contracts/src/SwarmVotes.sol."""

from __future__ import annotations

from collections.abc import Sequence

from swarmp2p.core.messages import Vote
from swarmp2p.core.stopping import majority
from swarmp2p.core.types import Address, Bitmap, Phase, Status, StopReason, VoteKind
from swarmp2p.testing.contract_rounds import ContractRounds


class ContractVotes(ContractRounds):
    """The calls `leave`, `execute` and `stop_abandoned`."""

    __slots__ = ()

    def leave(self, sender: Address) -> None:
        """End the own membership; a submitted update stays."""
        member = self._enrolled(sender)
        member.standing = Status.NONE
        self._release(member.index)
        self._emit("Left", sender, self.round)
        self._seal_if_complete()
        self.version += 1

    def execute(self, sender: Address, vote: Vote, signers: Sequence[Address]) -> None:
        """What more than half of the voters signed, by anyone."""
        self._refuse(vote.ballot != self.ballot, "WrongBallot")
        self._refuse(self.block.timestamp > vote.deadline, "VoteExpired")
        self._refuse(vote.kind not in list(VoteKind), "BadVote")
        signed = self._voters_among(signers)
        target = self.members.get(vote.target)
        if target is not None and target.standing == Status.IDLE:
            signed &= ~(1 << target.index)
        self._refuse(not majority(signed.bit_count(), self.voters.bit_count()), "TooFewVotes")
        if vote.kind == VoteKind.ROLLBACK:
            self._roll_back(vote.arg)
        elif vote.kind == VoteKind.REOPEN:
            self._reopen(vote.arg)
        else:
            self._refuse(vote.arg != 0, "BadVote")
            if vote.kind == VoteKind.STOP:
                self._stop_now(StopReason.VOTE)
            else:
                self._expel(vote.target, slash=vote.kind == VoteKind.EXPEL_AND_SLASH)
        self.ballot += 1
        self.version += 1

    def stop_abandoned(self, sender: Address) -> None:
        """Stop a swarm that has merged nothing for long, by anyone."""
        self._refuse(self.block.timestamp < self.quiet_since + self.config.abandon_after, "NotAbandoned")
        self._stop_now(StopReason.ABANDONED)
        self.version += 1

    # Inner steps

    def _voters_among(self, signers: Sequence[Address]) -> Bitmap:
        found = 0
        for signer in signers:
            member = self.members.get(signer)
            if member is None or member.standing != Status.IDLE or self.block.timestamp > member.expires:
                continue
            found |= 1 << member.index
        return found & self.voters

    def _expel(self, account: Address, *, slash: bool) -> None:
        member = self.members.get(account)
        self._refuse(member is None or member.term == 0, "NotAMember")
        assert member is not None
        barred = member.standing == Status.BARRED
        self._refuse(barred and (member.slash or not slash), "MemberBarred")
        member.expelled_in = member.expelled_in or self.round + (self.phase == Phase.STOPPED)
        member.slash = slash
        banned = False
        if not barred:
            enrolled = member.standing == Status.IDLE
            member.standing = Status.BARRED
            if self.phase == Phase.COLLECTING and member.last_round == self.round:
                banned = True
                self.banned |= 1 << member.index
                self._unschedule()
            if enrolled:
                self._release(member.index)
            self._seal_if_complete()
        self._emit("Expelled", account, member.expelled_in, slash, banned)

    def _roll_back(self, to_round: int) -> None:
        self._refuse(self.phase == Phase.STOPPED, "WrongPhase")
        at = self.head_round
        self._refuse(at == to_round, "NotAnAncestor")
        while at > to_round:
            at = self.results[at].parent_round
        self._refuse(at != to_round, "NotAnAncestor")
        self.head = self.results[to_round].merged if to_round else self.config.genesis
        self.head_round = self.judged_round = to_round
        if self.best_round > to_round:
            self.best, self.best_round = self.head, to_round
        self._start_anew()
        self._emit("RolledBack", self.round, to_round, self.head)
        self._open_next()

    def _reopen(self, max_rounds: int) -> None:
        self._refuse(self.phase != Phase.STOPPED, "WrongPhase")
        self._refuse(max_rounds <= self.merged_rounds, "BadVote")
        self.head = self.best
        self.head_round = self.judged_round = self.best_round
        self.max_rounds = max_rounds
        self.stop_reason = StopReason.NONE
        self._start_anew()
        self._emit("Reopened", self.round, self.head, max_rounds)
        self._open_next()

    def _start_anew(self) -> None:
        self.stale = 0
        self.quiet_since = self.block.timestamp

    def _stop_now(self, reason: StopReason) -> None:
        self._refuse(self.phase == Phase.STOPPED, "WrongPhase")
        self.k = 0
        self._stop(reason)
