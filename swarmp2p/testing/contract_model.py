"""The contract in Python: twin of contracts/src/Swarm.sol for simulator and tests (docs/protocol.md, sections 3 to 5).

It holds the same state and refuses the same calls with the same custom errors; tests/testing/test_contract_agreement.py
runs random sequences of calls on both. Signatures are the one thing it does not check: a caller passes, in place of
signature bytes, the address that the contract would recover from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swarmp2p.core.config import Config
from swarmp2p.core.coverage import coverage
from swarmp2p.core.election import permutation, round_seed, worker
from swarmp2p.core.messages import Invite
from swarmp2p.core.slices import leaders_in_force
from swarmp2p.core.stopping import majority
from swarmp2p.core.types import (
    NO_DIGEST,
    Address,
    Bitmap,
    Digest,
    Keccak,
    Phase,
    ReportFlag,
    StopReason,
    word,
)
from swarmp2p.testing.contract_state import Block, ContractState, Enrolled, Event, Result, Reverted

MAX_MEMBERS = 256
MAX_ADDRESS_BYTES = 256

__all__ = ["Block", "ContractModel", "Enrolled", "Event", "Result", "Reverted"]


@dataclass(slots=True)
class ContractModel(ContractState):
    """One swarm's contract. Every call takes the transaction's sender first; a refused one raises `Reverted`.

    Time is `block`, which the caller moves. `events` grows with every call, for checkers. Methods with a name of their
    own for a rule (`threshold_for`, `sealable`, `floor_of_included`, `extend`) are where tests plant faults.
    """

    @classmethod
    def deploy(cls, config: Config, salt: Digest, keccak: Keccak, block: Block) -> ContractModel:
        """A fresh contract, round 1 open on the genesis."""
        model = cls(config, salt, keccak, block, head=config.genesis, best=config.genesis)
        model._open(config.initial_members)
        return model

    # Rules, one method each

    def threshold_for(self, waited_for: int) -> int:
        """T of a round after the first: max(minUpdates, ceil(frac * waited_for))."""
        return max(self.config.min_updates, -(-self.config.frac_bps * waited_for // 10_000))

    def sealable(self) -> bool:
        """Everybody who is waited for is in, or T is reached and the grace is over."""
        if self.count >= self.threshold and self.seal_at and self.block.timestamp >= self.seal_at:
            return True
        needed = self.threshold if self.round == 1 else self.config.min_updates
        return self.wait_for & ~self.submitted == 0 and self.count >= needed

    def floor_of_included(self) -> int:
        """Updates that a merge must include."""
        return max(1, -(-self.count // 2))

    def extend(self) -> None:
        """Be content with the updates that are there; the waiting set stays."""
        self.threshold = self.count
        self.seal_at = self.block.timestamp + self.config.grace
        self.extend_at = 0
        self._emit("Extended", self.round, self.threshold)

    # Members

    def enrol(self, sender: Address, invite: Invite, signers: Sequence[Address], addresses: bytes) -> None:
        """Join, or renew a membership, with an invitation that `signers` signed."""
        self._refuse(self.phase == Phase.STOPPED, "WrongPhase")
        member = self.members.get(sender)
        self._check_invite(sender, invite, member.term if member else 0)
        self._check_inviters(signers)
        self._refuse(member is None and self.held == (1 << MAX_MEMBERS) - 1, "SwarmFull")
        self._refuse(len(addresses) > MAX_ADDRESS_BYTES, "AddressesTooLong")
        if member is None:
            member = Enrolled((~self.held & (self.held + 1)).bit_length() - 1)
            self.held |= 1 << member.index
            self.at[member.index] = sender
            self.members[sender] = member
        member.term = invite.term + 1
        member.max_weight = invite.max_weight
        member.expires = invite.expires
        member.seq = self._counted_from()
        self.active |= 1 << member.index
        if self.round == 1 and self.phase == Phase.COLLECTING:
            self.wait_for |= 1 << member.index
        self._emit("Enrolled", sender, member.index, invite.term, invite.max_weight, invite.expires)
        self._record(sender, addresses)
        self.version += 1

    def set_addresses(self, sender: Address, addresses: bytes) -> None:
        """Record the sender's multiaddrs."""
        self._refuse(sender not in self.members, "NotAMember")
        self._refuse(len(addresses) > MAX_ADDRESS_BYTES, "AddressesTooLong")
        self._record(sender, addresses)
        self.version += 1

    def ready(self, sender: Address) -> None:
        """IDLE to ACTIVE."""
        self._refuse(self.phase == Phase.STOPPED, "WrongPhase")
        member = self._authorised(sender)
        self._refuse(bool(self.active >> member.index & 1), "AlreadyActive")
        self._activate(sender, member)
        member.seq = self._counted_from()
        self.version += 1

    # Rounds

    def submit_update(
        self, sender: Address, round_: int, digest: Digest, weight: int, metric: int, flags: ReportFlag | int
    ) -> None:
        """An update, with the report on the head; the one that completes the round seals it."""
        self._refuse(self.phase != Phase.COLLECTING, "WrongPhase")
        self._refuse(round_ != self.round, "WrongRound")
        member = self._authorised(sender)
        self._refuse(member.last_round == round_, "AlreadySubmitted")
        self._refuse(weight == 0 or weight > member.max_weight, "BadWeight")
        self._refuse(digest == NO_DIGEST, "NoDigest")
        self._check_flags(flags)
        if not self.active >> member.index & 1:
            self._activate(sender, member)
        member.last_round = round_
        member.seq = self._counted_from()
        member.weight = weight
        member.digest = digest
        if flags:
            self._tally(member, metric, flags)
            member.reported = self._report_key(merged=False)
        self.inputs = self.keccak(self.inputs + word(member.index) + digest + word(weight))
        self.submitted |= 1 << member.index
        self.count += 1
        self._schedule()
        self._emit("Updated", round_, sender, member.index, digest, weight, metric, int(flags))
        self._try_seal()
        self.version += 1

    def advance(self, sender: Address, idle: Sequence[int]) -> None:
        """The due transition, by anyone; before it, members in `idle` that deserve it become IDLE."""
        changed = self._idle(idle)
        now = self.block.timestamp
        if self.phase == Phase.COLLECTING:
            if self._try_seal():
                changed = True
            elif self.extend_at and now >= self.extend_at:
                self.extend()
                changed = True
        elif self.phase == Phase.MERGING and now >= self.sealed_at + self.config.merge_timeout:
            self._abort()
            changed = True
        self._refuse(not changed, "NothingDue")
        self.version += 1

    def finalize(
        self,
        sender: Address,
        round_: int,
        excluded: Bitmap,
        merged: Digest,
        slices: Sequence[Digest],
        signatures: Sequence[tuple[int, Address]],
    ) -> None:
        """The merged model, by anyone. `signatures`: mask and signer of each attestation."""
        self._refuse(self.phase != Phase.MERGING, "WrongPhase")
        self._refuse(round_ != self.round, "WrongRound")
        self._refuse(bool(excluded & ~self.submitted), "NotOnRoster")
        self._refuse(len(slices) != (0 if merged == NO_DIGEST else self.k), "WrongSliceCount")
        self._check_signers([signer for _, signer in signatures])
        if merged == NO_DIGEST:
            self._refuse(len(signatures) < self.config.q, "TooFewSigners")
            self._abort()
        else:
            counts = coverage((mask for mask, _ in signatures), self.k)
            self._refuse(min(counts) < self.config.q, "NotCovered")
            included = self.submitted & ~excluded
            self._refuse(included.bit_count() < self.floor_of_included(), "TooFewIncluded")
            self._accept(excluded, merged)
        self.version += 1

    def report(self, sender: Address, metric: int, flags: ReportFlag | int) -> None:
        """A report on the last head, after STOPPED."""
        self._refuse(self.phase != Phase.STOPPED, "WrongPhase")
        member = self._authorised(sender)
        key = self._report_key(merged=self.head_round == self.round)
        self._refuse(member.reported == key, "AlreadyReported")
        self._check_flags(flags)
        self._refuse(flags == 0, "BadFlags")
        self._tally(member, metric, flags)
        member.reported = key
        self._emit("Reported", self.head, sender, metric, int(flags))
        self._judge()
        self.version += 1

    def leaders(self, round_: int) -> tuple[Address, ...]:
        """The workers of rank 0 for the slices of a round that is MERGING."""
        self._refuse(self.phase != Phase.MERGING, "WrongPhase")
        self._refuse(round_ != self.round, "WrongRound")
        order = permutation(self.submitted, round_seed(self.salt, self.round, self.head, self.keccak), self.keccak)
        return tuple(self.at[worker(order, slice_, 0, self.k)] for slice_ in range(self.k))

    # Inner steps

    def _refuse(self, wrong: bool, name: str) -> None:
        if wrong:
            raise Reverted(name)

    def _emit(self, name: str, *args: object) -> None:
        self.events.append(Event(name, args))

    def _record(self, sender: Address, addresses: bytes) -> None:
        self.addresses[sender] = addresses
        self._emit("Addressed", sender, addresses)

    def _authorised(self, account: Address) -> Enrolled:
        member = self.members.get(account)
        if member is None:
            raise Reverted("NotAMember")
        self._refuse(self.block.timestamp > member.expires, "MemberExpired")
        return member

    def _activate(self, sender: Address, member: Enrolled) -> None:
        self.active |= 1 << member.index
        self._emit("Activated", sender, self.round)

    def _counted_from(self) -> int:
        # A round that is still collecting is no miss.
        return self.sealed_rounds + (self.phase == Phase.COLLECTING)

    def _check_flags(self, flags: int) -> None:
        self._refuse(flags != 0 and (flags & 4 == 0 or flags > 7), "BadFlags")

    def _check_invite(self, sender: Address, invite: Invite, term: int) -> None:
        self._refuse(invite.invitee != sender, "NotInvitee")
        self._refuse(invite.term != term, "WrongTerm")
        self._refuse(self.block.timestamp > min(invite.deadline, invite.expires), "InvitationExpired")
        self._refuse(invite.purpose != self.config.purpose, "WrongPurpose")
        self._refuse(invite.max_weight == 0, "BadWeight")
        self._refuse(invite.stake != 0, "StakeNotAccepted")

    def _check_inviters(self, signers: Sequence[Address]) -> None:
        founders = set(signers) & set(self.config.founders)
        members = {
            signer
            for signer in signers
            if (member := self.members.get(signer)) is not None
            and self.block.timestamp <= member.expires
            and self.active >> member.index & 1
        }
        enough = len(founders) >= self.config.k_invite or majority(len(members), self.active.bit_count())
        self._refuse(not enough, "TooFewInviters")

    def _check_signers(self, signers: Sequence[Address]) -> None:
        seen: set[Address] = set()
        for signer in signers:
            member = self.members.get(signer)
            self._refuse(member is None or self.block.timestamp > member.expires, "NotAuthorised")
            self._refuse(signer in seen, "DuplicateSigner")
            seen.add(signer)

    def _tally(self, member: Enrolled, metric: int, flags: int) -> None:
        self.reports += 1
        self.reached += bool(flags & ReportFlag.REACHED)
        self.improved += bool(flags & ReportFlag.IMPROVED)
        self.metric_sum += metric * member.weight
        self.metric_weight += member.weight

    def _schedule(self) -> None:
        if self.seal_at:
            return
        now = self.block.timestamp
        if self.count >= self.threshold:
            self.seal_at = now + self.config.grace
            self.extend_at = 0
        elif self.count == self.config.min_updates:
            passed = (now - self.opened_at) // self.config.collect_timeout
            self.extend_at = self.opened_at + (passed + 1) * self.config.collect_timeout

    def _try_seal(self) -> bool:
        if not self.sealable():
            return False
        reason = self._judge()
        if reason != StopReason.NONE:
            self._stop(reason)
            return True
        self.phase = Phase.MERGING
        self.sealed_at = self.block.timestamp
        self.k = leaders_in_force(self.config.k_max, self.count, self.config.chunks)
        self.sealed_rounds += 1
        self._emit("Sealed", self.round, self.inputs, self.submitted, self.k)
        return True

    def _judge(self) -> StopReason:
        if self.reports < self.threshold or self.judged_round == self.head_round:
            return StopReason.NONE
        self.judged_round = self.head_round
        reached = majority(self.reached, self.reports)
        if reached or majority(self.improved, self.reports):
            self.best = self.head
            self.best_round = self.head_round
            self.stale = 0
        else:
            self.stale += 1
        if reached:
            return StopReason.TARGET
        if self.config.patience and self.stale >= self.config.patience:
            return StopReason.PATIENCE
        return StopReason.NONE

    def _idle(self, indexes: Sequence[int]) -> bool:
        changed = False
        for index in indexes:
            if not self.active >> index & 1:
                continue
            member = self.members[self.at[index]]
            missed = self.sealed_rounds >= member.seq + self.config.max_missed
            if not missed and self.block.timestamp <= member.expires:
                continue
            self.active &= ~(1 << index)
            self._emit("Idled", self.at[index], self.round)
            changed = True
        return changed

    def _open(self, threshold: int) -> None:
        self.round += 1
        self.phase = Phase.COLLECTING
        self.opened_at = self.block.timestamp
        self.seal_at = self.sealed_at = self.extend_at = 0
        self.count = self.k = 0
        self.threshold = threshold
        self._clear_reports()
        self.inputs = round_seed(self.salt, self.round, self.head, self.keccak)
        self.submitted = 0
        self.wait_for = self.active
        self._emit("Opened", self.round, self.head, self.wait_for, threshold)

    def _clear_reports(self) -> None:
        self.reports = self.reached = self.improved = self.metric_sum = self.metric_weight = 0

    def _open_next(self) -> None:
        self._open(self.threshold_for(self.active.bit_count()))

    def _abort(self) -> None:
        self._emit("Aborted", self.round)
        self._open_next()

    def _stop(self, reason: StopReason) -> None:
        self.phase = Phase.STOPPED
        self.stop_reason = reason
        self._emit("Stopped", self.round, reason, self.head, self.best)

    def _accept(self, excluded: Bitmap, merged: Digest) -> None:
        included = self.submitted & ~excluded
        self.results[self.round] = Result(merged, included, self.head_round, self.block.number)
        self._emit("Merged", self.round, merged, included, excluded, self.head_round)
        self.head = merged
        self.head_round = self.round
        self.merged_rounds += 1
        self.active &= ~excluded
        if self.merged_rounds < self.config.max_rounds:
            self._open_next()
        else:
            # The reports were on the old head.
            self._clear_reports()
            self._stop(StopReason.MAX_ROUNDS)
