"""The checks of one round's events against the protocol (docs/protocol.md, sections 4, 5 and 7)."""

from swarmp2p.audit.evidence import Evidence, RoundEvidence
from swarmp2p.audit.report import Input, RoundReport, expect, misfit, shown
from swarmp2p.audit.roll import Roll, indexes
from swarmp2p.content.unixfs import cid
from swarmp2p.core.coverage import coverage
from swarmp2p.core.election import round_seed
from swarmp2p.core.history import FinalizeCall, Merged, Sealed, Updated
from swarmp2p.core.messages import Attestation
from swarmp2p.core.slices import leaders_in_force
from swarmp2p.core.threshold import inclusion_floor
from swarmp2p.core.typed import first_inputs, next_inputs, signing_digest
from swarmp2p.core.types import NO_ADDRESS, NO_DIGEST, Address, Digest, bitmap_of, bits
from swarmp2p.identity import keccak256, recover


class RoundChecks:
    """The checks of updates and merges, each when it comes: members are those of then."""

    def __init__(self, evidence: Evidence, roll: Roll) -> None:
        self._evidence = evidence
        self._config = evidence.config
        self._roll = roll

    def _cid(self, digest: Digest) -> str:
        return str(cid(digest, self._config.size))

    def _update_cid(self, digest: Digest) -> str:
        return str(cid(digest, self._config.update_size))

    def update(self, round_: int, update: Updated) -> None:
        """An update is a member's own, its only one in the round, with a weight that it may declare."""
        what = f"sender of the update {self._update_cid(update.digest)}"
        term = self._roll.member(round_, what, "a member", update.address, update.block_timestamp)
        who = shown(update.address)
        expect(round_, f"round of the update of {who}", round_, update.round)
        expect(round_, f"index of {who}", term.index, update.index)
        if term.submitted_in == round_:
            misfit(round_, f"updates of {who}", 1, 2)
        call = update.call
        if call is not None:
            expect(round_, f"sender of the update of {who}", who, shown(call.sender))
            expect(round_, f"round in the transaction of {who}", round_, call.round)
            said = f"update of {who}, as its transaction says"
            expect(round_, said, self._update_cid(call.digest), self._update_cid(update.digest))
            expect(round_, f"weight of {who}, as its transaction says", call.weight, update.weight)
        if not 0 < update.weight <= term.max_weight:
            misfit(round_, f"weight of {who}", f"1 to {term.max_weight}", update.weight)

    def merge(self, events: RoundEvidence, merged: Merged, parent_round: int, parent: Digest) -> RoundReport:
        """A merged round on top of its parent, which is the head until now."""
        sealed = self._check_sealed(events, parent)
        self._check_merged(events, merged, parent_round)
        call = self._check_call(sealed, merged)
        signers = self._check_signatures(sealed, merged, call)
        self._check_kept_for_pay(sealed, signers)
        inputs = tuple(
            Input(
                each.address,
                each.index,
                each.digest,
                each.weight,
                bool(merged.included >> each.index & 1),
                bool(events.banned >> each.index & 1),
            )
            for each in events.updates
        )
        return RoundReport(
            events.round, parent_round, parent, merged.merged, inputs, sealed.k, call.slices, signers,
            merged.block_number,
        )  # fmt: skip

    def _check_sealed(self, events: RoundEvidence, parent: Digest) -> Sealed:
        """The seal fixed exactly these updates, in this order, on top of this parent; its roster is without banned ones."""
        sealed, round_ = events.sealed, events.round
        if sealed is None:
            misfit(round_, "event Sealed", "one", "none")
        for index in bits(sealed.roster & ~events.submitted):
            misfit(round_, f"update of {self._roll.named(index)}", "one, since it is on the roster", "none")
        for index in bits(sealed.roster & events.banned):
            misfit(round_, f"roster at {self._roll.named(index)}", "without it, since a vote forced it out", "on it")
        for index in bits(events.roster & ~sealed.roster):
            misfit(round_, f"update of {self._roll.named(index)}", "none, since it is not on the roster", 1)
        inputs = first_inputs(round_seed(self._evidence.view.salt, round_, parent, keccak256))
        for update in events.updates:
            inputs = next_inputs(inputs, update.address, update.index, update.digest, update.weight, keccak256)
        expect(round_, "hash over the inputs", inputs, sealed.inputs)
        k = leaders_in_force(self._config.k_max, sealed.roster.bit_count(), self._config.chunks)
        expect(round_, "number of slices", k, sealed.k)
        return sealed

    def _check_merged(self, events: RoundEvidence, merged: Merged, parent_round: int) -> None:
        """The Merged event agrees with the contract's storage; it leaves out what it must, and no more than it may."""
        round_ = events.round
        kept = self._evidence.results.get(round_)
        if kept is None:
            misfit(round_, "result in the contract", self._cid(merged.merged), "none")
        expect(round_, "merged model in the event", self._cid(kept.merged), self._cid(merged.merged))
        expect(round_, "parent round in the event", parent_round, merged.parent_round)
        expect(round_, "parent round in the contract", parent_round, kept.parent_round)
        expect(round_, "block of the merge", kept.block_number, merged.block_number)
        expect(round_, "time of the merge", kept.timestamp, merged.block_timestamp)
        if merged.excluded & ~events.submitted:
            misfit(round_, "excluded members", "some that submitted", indexes(merged.excluded))
        for index in bits(events.banned & ~merged.excluded):
            misfit(round_, f"merge of the update of {self._roll.named(index)}", "none, since a vote forced it out", 1)
        included = events.submitted & ~merged.excluded
        expect(round_, "included members in the event", indexes(included), indexes(merged.included))
        expect(round_, "included members in the contract", indexes(included), indexes(kept.included))
        floor = inclusion_floor(events.roster.bit_count())
        if included.bit_count() < floor:
            misfit(round_, "included updates", f"{floor} or more", included.bit_count())

    def _check_call(self, sealed: Sealed, merged: Merged) -> FinalizeCall:
        """The finalize transaction asked for what the event says."""
        call, round_ = merged.call, merged.round
        if call is None:
            misfit(round_, "finalize transaction", "one to the contract, with its signatures", "another call")
        expect(round_, "round in the finalize transaction", round_, call.round)
        expect(round_, "merged model in the finalize transaction", self._cid(merged.merged), self._cid(call.merged))
        what = "excluded members in the finalize transaction"
        expect(round_, what, indexes(merged.excluded), indexes(call.excluded))
        expect(round_, "slices in the finalize transaction", sealed.k, len(call.slices))
        return call

    def _check_signatures(self, sealed: Sealed, merged: Merged, call: FinalizeCall) -> tuple[Address, ...]:
        """Different members signed, and every slice often enough."""
        round_, signers = merged.round, list[Address]()
        for number, (mask, signature) in enumerate(call.signatures, 1):
            what = f"signature {number} of the finalize transaction"
            body = Attestation(round_, sealed.inputs, call.excluded, call.merged, call.slices, mask)
            signer = recover(signing_digest(body, self._evidence.domain, keccak256), signature)
            if signer is None:
                misfit(round_, what, "a member's", "one that nobody can have made")
            self._roll.member(round_, what, "a member's", signer, merged.block_timestamp)
            if signer in signers:
                misfit(round_, what, "another member's", f"a second one of {shown(signer)}")
            signers.append(signer)
        for slice_, count in enumerate(coverage((mask for mask, _ in call.signatures), sealed.k)):
            if count < self._config.q:
                misfit(round_, f"signers of slice {slice_}", f"{self._config.q} or more", count)
        return tuple(signers)

    def _check_kept_for_pay(self, sealed: Sealed, signers: tuple[Address, ...]) -> None:
        """What the treasury pays by is what was sealed and who signed; without one nothing is kept."""
        kept, paid = self._evidence.results[sealed.round], self._config.treasury != NO_ADDRESS
        inputs = sealed.inputs if paid else NO_DIGEST
        expect(sealed.round, "hash over the inputs that the contract keeps for pay", inputs, kept.inputs)
        attesters = bitmap_of(self._roll.entries[signer].index for signer in signers) if paid else 0
        what = "attesters that the contract keeps for pay"
        expect(sealed.round, what, indexes(attesters), indexes(kept.attesters))
