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
from swarmp2p.core.stopping import majority
from swarmp2p.core.typed import next_inputs
from swarmp2p.core.types import (
    NO_ADDRESS,
    NO_DIGEST,
    Address,
    Bitmap,
    Digest,
    Keccak,
    Phase,
    ReportFlag,
    Status,
    StopReason,
    bitmap_of,
)
from swarmp2p.testing.contract_state import Block, Enrolled, Event, Result, Reverted
from swarmp2p.testing.contract_votes import ContractVotes

MAX_MEMBERS = 256
MAX_ADDRESS_BYTES = 256

__all__ = ["Block", "ContractModel", "Enrolled", "Event", "Result", "Reverted"]


@dataclass(slots=True)
class ContractModel(ContractVotes):
    """One swarm's contract. Every call takes the transaction's sender first; a refused one raises `Reverted`.

    Time is `block`, which the caller moves. `events` grows with every call, for checkers. Methods with a name of their
    own for a rule (`threshold_for`, `sealable`, `floor_of_included`, `extend`) are where tests plant faults.
    """

    @classmethod
    def deploy(cls, config: Config, salt: Digest, keccak: Keccak, block: Block) -> ContractModel:
        """A fresh contract, round 1 open on the genesis."""
        model = cls(
            config, salt, keccak, block, head=config.genesis, best=config.genesis, max_rounds=config.max_rounds,
            quiet_since=block.timestamp,
        )  # fmt: skip
        model._open(config.initial_members)
        return model

    # Members

    def enrol(self, sender: Address, invite: Invite, signers: Sequence[Address], addresses: bytes) -> None:
        """Join, or renew a membership, with an invitation that `signers` signed."""
        member = self.members.get(sender)
        self._refuse(member is not None and member.standing == Status.BARRED, "MemberBarred")
        self._check_invite(sender, invite, member.term if member else 0)
        self._check_inviters(signers)
        self._check_stake(sender, invite.stake)
        left = member is not None and member.standing == Status.NONE
        back = left and member is not None and self.freed >> member.index & 1 and self.at[member.index] == sender
        new = (member is None or left) and not back
        self._refuse(new and self.held == (1 << MAX_MEMBERS) - 1, "SwarmFull")
        self._refuse(len(addresses) > MAX_ADDRESS_BYTES, "AddressesTooLong")
        if member is None:
            member = self.members[sender] = Enrolled(0)
        if new:
            member.index = (~self.held & (self.held + 1)).bit_length() - 1
            self.held |= 1 << member.index
            self.at[member.index] = sender
        self.freed &= ~(1 << member.index)
        member.standing = Status.IDLE
        member.term = invite.term + 1
        member.max_weight = invite.max_weight
        member.expires = invite.expires
        member.seq = self._counted_from()
        self.active |= 1 << member.index
        self.voters |= 1 << member.index
        if self.round == 1 and self.phase == Phase.COLLECTING:
            self.wait_for |= 1 << member.index
        self._emit("Enrolled", sender, member.index, invite.term, invite.max_weight, invite.expires)
        self._record(sender, addresses)
        self.version += 1

    def set_addresses(self, sender: Address, addresses: bytes) -> None:
        """Record the sender's multiaddrs."""
        self._enrolled(sender)
        self._refuse(len(addresses) > MAX_ADDRESS_BYTES, "AddressesTooLong")
        self._record(sender, addresses)
        self.version += 1

    def ready(self, sender: Address) -> None:
        """IDLE to ACTIVE."""
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
        self.inputs = next_inputs(self.inputs, sender, member.index, digest, weight, self.keccak)
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
        self._refuse(bool(self.banned & ~excluded), "BannedIncluded")
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
            self._accept(excluded, merged, [signer for _, signer in signatures])
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
        order = permutation(self.roster, round_seed(self.salt, self.round, self.head, self.keccak), self.keccak)
        return tuple(self.at[worker(order, slice_, 0, self.k)] for slice_ in range(self.k))

    # Inner steps

    def _record(self, sender: Address, addresses: bytes) -> None:
        self.addresses[sender] = addresses
        self._emit("Addressed", sender, addresses)

    def _check_invite(self, sender: Address, invite: Invite, term: int) -> None:
        self._refuse(invite.invitee != sender, "NotInvitee")
        self._refuse(invite.term != term, "WrongTerm")
        self._refuse(self.block.timestamp > min(invite.deadline, invite.expires), "InvitationExpired")
        self._refuse(invite.purpose != self.config.purpose, "WrongPurpose")
        self._refuse(invite.max_weight == 0, "BadWeight")

    def _check_inviters(self, signers: Sequence[Address]) -> None:
        expelled = {each for each in signers if each in self.members and self.members[each].standing == Status.BARRED}
        founders = set(signers) & set(self.config.founders) - expelled
        members = self._voters_among(signers)
        enough = len(founders) >= self.config.k_invite or majority(members.bit_count(), self.voters.bit_count())
        self._refuse(not enough, "TooFewInviters")

    def _check_signers(self, signers: Sequence[Address]) -> None:
        seen: set[Address] = set()
        for signer in signers:
            member = self.members.get(signer)
            gone = member is None or member.standing != Status.IDLE or self.block.timestamp > member.expires
            self._refuse(gone, "NotAuthorised")
            self._refuse(signer in seen, "DuplicateSigner")
            seen.add(signer)

    def _check_flags(self, flags: int) -> None:
        self._refuse(flags != 0 and (flags & 4 == 0 or flags > 7), "BadFlags")

    def _idle(self, indexes: Sequence[int]) -> bool:
        changed = False
        for index in indexes:
            if not self.voters >> index & 1:
                continue
            member = self.members[self.at[index]]
            missed = self.sealed_rounds >= member.seq + self.config.max_missed
            if not missed and self.block.timestamp <= member.expires:
                continue
            self.active &= ~(1 << index)
            self.voters &= ~(1 << index)
            self._emit("Idled", self.at[index], self.round)
            changed = True
        return changed

    def _check_stake(self, sender: Address, needed: int) -> None:
        self._refuse(needed != 0 and self.config.treasury == NO_ADDRESS, "StakeNotAccepted")
        self._refuse(self.stakes.get(sender, 0) < needed, "StakeMissing")

    def _accept(self, excluded: Bitmap, merged: Digest, signers: Sequence[Address]) -> None:
        included = self.submitted & ~excluded
        paid = self.config.treasury != NO_ADDRESS
        attesters = bitmap_of(self.members[signer].index for signer in signers)
        self.results[self.round] = Result(
            merged, included, self.head_round, self.block.number, self.block.timestamp,
            self.inputs if paid else NO_DIGEST, attesters if paid else 0,
        )  # fmt: skip
        self._emit("Merged", self.round, merged, included, excluded, self.head_round)
        self.head = merged
        self.head_round = self.round
        self.merged_rounds += 1
        self.quiet_since = self.block.timestamp
        self.active &= ~excluded
        if self.merged_rounds < self.max_rounds:
            self._open_next()
        else:
            # The reports were on the old head.
            self._clear_reports()
            self._stop(StopReason.MAX_ROUNDS)
