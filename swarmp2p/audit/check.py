"""Holds what the chain tells against the protocol (docs/protocol.md, sections 1 to 5 and 7). Pure.

Nothing is believed because the contract said so: its rules are applied again to the transactions' own words and to the
members' signatures, which bind the inputs, the exclusions, the slices and the merged model of each round.
"""

from dataclasses import fields

from swarmp2p.audit.evidence import Evidence, RoundEvidence, by_round
from swarmp2p.audit.report import Input, Report, RoundReport, expect, misfit, shown
from swarmp2p.content.unixfs import cid
from swarmp2p.control.manifest import Manifest
from swarmp2p.core.coverage import coverage
from swarmp2p.core.election import round_seed
from swarmp2p.core.history import FinalizeCall, Merged, Opened, Sealed
from swarmp2p.core.messages import Attestation
from swarmp2p.core.slices import leaders_in_force
from swarmp2p.core.threshold import inclusion_floor
from swarmp2p.core.typed import Domain, domain_separator, first_inputs, next_inputs, signing_digest
from swarmp2p.core.types import Address, Bitmap, Digest, bits
from swarmp2p.identity import keccak256, recover


def check_chain(evidence: Evidence, manifest: Manifest) -> Report:
    """Whether the chain's head follows from the manifest's genesis by merges that enough members signed.

    The swarm's identity comes first, then the links from the head back to the genesis, then the rounds from the first
    to the last; the first thing that does not fit ends it.
    """
    report = Report(
        evidence.chain_id,
        evidence.contract,
        manifest.digest,
        manifest.genesis,
        evidence.view.head,
        manifest.size,
    )
    with report.catching():
        _check_identity(evidence, manifest)
        checks = _Checks(evidence)
        parent_round, parent = 0, evidence.config.genesis
        for round_ in checks.lineage():
            checked = checks.round(round_, parent_round, parent)
            report.rounds.append(checked)
            parent_round, parent = checked.round, checked.merged
        checks.best(report)
    return report


def _check_identity(evidence: Evidence, manifest: Manifest) -> None:
    config = evidence.config
    expect(0, "chain", manifest.chain_id, evidence.chain_id)
    expect(0, "contract", manifest.contract, evidence.contract)
    expect(0, "manifest's digest in the contract", manifest.digest, config.manifest)
    expect(0, "genesis in the contract", str(manifest.genesis_cid), str(cid(config.genesis, config.size)))
    agreed = manifest.config()
    for field in fields(agreed):
        wanted, got = getattr(agreed, field.name), getattr(config, field.name)
        if field.name == "founders":
            wanted, got = [shown(each) for each in wanted], [shown(each) for each in got]
        expect(0, f"{field.name} in the contract's configuration", wanted, got)
    domain = Domain(evidence.chain_id, evidence.contract, evidence.view.salt)
    expect(0, "domain separator", domain_separator(domain, keccak256), evidence.domain)


class _Checks:
    """The checks of one swarm's rounds."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._config = evidence.config
        self._rounds = by_round(evidence.records)

    def _cid(self, digest: Digest) -> str:
        return str(cid(digest, self._config.size))

    def lineage(self) -> list[int]:
        """The rounds that made the head, ascending; found by following the parents that the contract keeps."""
        view, results = self._evidence.view, self._evidence.results
        round_, digest, lineage = view.head_round, view.head, list[int]()
        while round_:
            result = results.get(round_)
            if result is None:
                misfit(round_, "result in the contract", self._cid(digest), "none")
            expect(round_, "merged model in the contract", self._cid(digest), self._cid(result.merged))
            if result.parent_round >= round_:
                misfit(round_, "parent round", f"an earlier one than {round_}", result.parent_round)
            lineage.append(round_)
            round_, digest = result.parent_round, self._opened(round_).head
        expect(0, "model at the root of the lineage", self._cid(self._config.genesis), self._cid(digest))
        expect(view.head_round, "merged rounds up to here", view.merged_rounds, len(lineage))
        return lineage[::-1]

    def best(self, report: Report) -> None:
        """The best model by vote is one of the lineage."""
        view = self._evidence.view
        models = {0: self._config.genesis} | {each.round: each.merged for each in report.rounds}
        if view.best_round not in models:
            misfit(view.best_round, "round of the best model", "one of the lineage", view.best_round)
        expect(view.best_round, "best model", self._cid(models[view.best_round]), self._cid(view.best))

    def _opened(self, round_: int) -> Opened:
        opened = self._events(round_).opened
        if opened is None:
            misfit(round_, "event Opened", "one", "none")
        return opened

    def _events(self, round_: int) -> RoundEvidence:
        return self._rounds.get(round_) or RoundEvidence(round_)

    def round(self, round_: int, parent_round: int, parent: Digest) -> RoundReport:
        """One merged round on top of its parent."""
        events = self._events(round_)
        expect(
            round_,
            "parent, from which its updates were trained",
            self._cid(parent),
            self._cid(self._opened(round_).head),
        )
        submitted = self._check_updates(events)
        sealed = self._check_sealed(events, submitted, parent)
        merged = self._check_merged(events, sealed, parent_round)
        call = self._check_call(events, sealed, merged)
        signers = self._check_signatures(events, sealed, merged, call)
        inputs = tuple(
            Input(each.address, each.index, each.digest, each.weight, bool(merged.included >> each.index & 1))
            for each in events.updates
        )
        return RoundReport(
            round_,
            parent_round,
            parent,
            merged.merged,
            inputs,
            sealed.k,
            call.slices,
            signers,
            merged.block_number,
        )

    def _check_updates(self, events: RoundEvidence) -> Bitmap:
        """Each update is a member's own, its only one, with a weight that it may declare. Returns who submitted."""
        submitted = 0
        for update, term in zip(events.updates, events.terms, strict=True):
            who = shown(update.address)
            if term is None:
                misfit(
                    events.round, f"sender of the update {self._cid(update.digest)}", "a member", f"{who}, who is none"
                )
            expect(events.round, f"index of {who}", term.index, update.index)
            if submitted >> update.index & 1:
                misfit(events.round, f"updates of {who}", 1, 2)
            submitted |= 1 << update.index
            call = update.call
            if call is not None:
                expect(events.round, f"sender of the update of {who}", who, shown(call.sender))
                expect(events.round, f"round in the transaction of {who}", events.round, call.round)
                expect(
                    events.round,
                    f"update of {who}, as its transaction says",
                    self._cid(call.digest),
                    self._cid(update.digest),
                )
                expect(events.round, f"weight of {who}, as its transaction says", call.weight, update.weight)
            if not 0 < update.weight <= term.max_weight:
                misfit(events.round, f"weight of {who}", f"1 to {term.max_weight}", update.weight)
        return submitted

    def _check_sealed(self, events: RoundEvidence, submitted: Bitmap, parent: Digest) -> Sealed:
        """The seal fixed exactly these updates, in this order, on top of this parent."""
        sealed, round_ = events.sealed, events.round
        if sealed is None:
            misfit(round_, "event Sealed", "one", "none")
        addresses = {member.index: shown(address) for address, member in events.members.items()}
        for index in bits(sealed.roster & ~submitted):
            misfit(
                round_, f"update of {addresses.get(index, f'member {index}')}", "one, since it is on the roster", "none"
            )
        for index in bits(submitted & ~sealed.roster):
            misfit(
                round_, f"update of {addresses.get(index, f'member {index}')}", "none, since it is not on the roster", 1
            )
        salt = self._evidence.view.salt
        inputs = first_inputs(round_seed(salt, round_, parent, keccak256))
        for update in events.updates:
            inputs = next_inputs(inputs, update.address, update.index, update.digest, update.weight, keccak256)
        expect(round_, "hash over the inputs", inputs, sealed.inputs)
        k = leaders_in_force(self._config.k_max, submitted.bit_count(), self._config.chunks)
        expect(round_, "number of slices", k, sealed.k)
        return sealed

    def _check_merged(self, events: RoundEvidence, sealed: Sealed, parent_round: int) -> Merged:
        """The Merged event agrees with the contract's storage and leaves out no more than it may."""
        merged, round_ = events.merged, events.round
        if merged is None:
            misfit(round_, "event Merged", "one", "none")
        kept = self._evidence.results[round_]
        expect(round_, "merged model in the event", self._cid(kept.merged), self._cid(merged.merged))
        expect(round_, "parent round in the event", parent_round, merged.parent_round)
        expect(round_, "parent round in the contract", parent_round, kept.parent_round)
        expect(round_, "block of the merge", kept.block_number, merged.block_number)
        if merged.excluded & ~sealed.roster:
            misfit(round_, "excluded members", "some of the roster", _members(merged.excluded))
        included = sealed.roster & ~merged.excluded
        expect(round_, "included members in the event", _members(included), _members(merged.included))
        expect(round_, "included members in the contract", _members(included), _members(kept.included))
        floor = inclusion_floor(sealed.roster.bit_count())
        if included.bit_count() < floor:
            misfit(round_, "included updates", f"{floor} or more", included.bit_count())
        return merged

    def _check_call(self, events: RoundEvidence, sealed: Sealed, merged: Merged) -> FinalizeCall:
        """The finalize transaction asked for what the event says."""
        call, round_ = merged.call, events.round
        if call is None:
            misfit(round_, "finalize transaction", "one to the contract, with its signatures", "another call")
        expect(round_, "round in the finalize transaction", round_, call.round)
        expect(round_, "merged model in the finalize transaction", self._cid(merged.merged), self._cid(call.merged))
        expect(
            round_, "excluded members in the finalize transaction", _members(merged.excluded), _members(call.excluded)
        )
        expect(round_, "slices in the finalize transaction", sealed.k, len(call.slices))
        return call

    def _check_signatures(
        self, events: RoundEvidence, sealed: Sealed, merged: Merged, call: FinalizeCall
    ) -> tuple[Address, ...]:
        """Different members signed, and every slice often enough."""
        round_, signers = events.round, list[Address]()
        for number, (mask, signature) in enumerate(call.signatures, 1):
            what = f"signature {number} of the finalize transaction"
            body = Attestation(round_, sealed.inputs, call.excluded, call.merged, call.slices, mask)
            signer = recover(signing_digest(body, self._evidence.domain, keccak256), signature)
            if signer is None:
                misfit(round_, what, "a member's", "one that nobody can have made")
            member = events.members.get(signer)
            if member is None:
                misfit(round_, what, "a member's", f"that of {shown(signer)}, who is none")
            if merged.block_timestamp > member.expires:
                misfit(
                    round_, what, f"a member's at {merged.block_timestamp}", f"{shown(signer)}, until {member.expires}"
                )
            if signer in signers:
                misfit(round_, what, "another member's", f"a second one of {shown(signer)}")
            signers.append(signer)
        for slice_, count in enumerate(coverage((mask for mask, _ in call.signatures), sealed.k)):
            if count < self._config.q:
                misfit(round_, f"signers of slice {slice_}", f"{self._config.q} or more", count)
        return tuple(signers)


def _members(bitmap: Bitmap) -> list[int]:
    return list(bits(bitmap))
