"""Holds what the chain tells against the protocol (docs/protocol.md, sections 1 to 5 and 7). Pure.

Nothing is believed because the contract said so: its rules are applied again, event by event, to the transactions' own
words and to the members' signatures, which bind the inputs, the exclusions, the slices and the merged model of each round.
"""

from dataclasses import fields

from swarmp2p.audit.evidence import Evidence
from swarmp2p.audit.replay import Replay
from swarmp2p.audit.report import Report, expect, misfit, shown
from swarmp2p.content.unixfs import cid
from swarmp2p.control.manifest import Manifest
from swarmp2p.core.history import Merged, Opened
from swarmp2p.core.typed import Domain, domain_separator
from swarmp2p.identity import keccak256


def check_chain(evidence: Evidence, manifest: Manifest) -> Report:
    """Whether the chain's head follows from the manifest's genesis by merges and votes that enough members signed.

    The swarm's identity comes first, then the links from the head back to the genesis, then all events from the first to
    the last, then whether the contract's state is what follows from them; the first thing that does not fit ends it.
    """
    report = Report(
        evidence.chain_id,
        evidence.contract,
        manifest.digest,
        manifest.genesis,
        evidence.view.head,
        manifest.size,
        evidence.config.update_size,
    )
    with report.catching():
        _check_identity(evidence, manifest)
        _check_links(evidence)
        replay = Replay(evidence, report)
        for record in evidence.records:
            replay.tell(record)
        replay.check_view()
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


def _check_links(evidence: Evidence) -> None:
    """Following the parents that the contract keeps, from the head, leads to the genesis."""
    view, size = evidence.view, evidence.config.size
    opened = {record.round: record.head for record in evidence.records if isinstance(record, Opened)}
    round_, digest = view.head_round, view.head
    while round_:
        result = evidence.results.get(round_)
        if result is None:
            misfit(round_, "result in the contract", str(cid(digest, size)), "none")
        expect(round_, "merged model in the contract", str(cid(digest, size)), str(cid(result.merged, size)))
        if result.parent_round >= round_:
            misfit(round_, "parent round", f"an earlier one than {round_}", result.parent_round)
        if round_ not in opened:
            misfit(round_, "event Opened", "one", "none")
        round_, digest = result.parent_round, opened[round_]
    expect(0, "model at the root of the lineage", str(cid(evidence.config.genesis, size)), str(cid(digest, size)))
    merged = {record.round for record in evidence.records if isinstance(record, Merged)}
    for round_ in sorted(evidence.results.keys() - merged):
        misfit(round_, "event Merged", "one", "none")
