"""The chain's evidence: an honest run fits, and whatever is changed in it is named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from swarmp2p.audit.evidence import Evidence
from swarmp2p.audit.report import Finding, as_json
from swarmp2p.content.unixfs import cid
from swarmp2p.core.history import Enrolled, FinalizeCall, Merged, Opened, Record, Sealed, SubmitCall, Updated
from swarmp2p.core.types import Phase, bits
from swarmp2p.identity import Key
from tests.audit.honest_run import ROUNDS, Run, honest_run

OTHER = b"\x0d" * 32


@pytest.fixture(scope="module")
def run() -> Run:
    return honest_run("alice", "bob")


def change(run: Run, kind: type[Record], changed: Callable[[Any], Record | None], round_: int = 2) -> Evidence:
    """The evidence with the first record of this kind and round changed, or left out."""
    records = list(run.evidence.records)
    place = next(i for i, each in enumerate(records) if isinstance(each, kind) and getattr(each, "round", 2) == round_)
    new = changed(records[place])
    records[place : place + 1] = [] if new is None else [new]
    return replace(run.evidence, records=tuple(records))


def change_call(run: Run, **fields: Any) -> Evidence:
    """The evidence with another finalize transaction of round 2."""
    return change(run, Merged, lambda merged: replace(merged, call=replace(merged.call, **fields)))


def found(run: Run, evidence: Evidence) -> Finding:
    """What the audit names."""
    report = run.audit(evidence)
    assert report.finding is not None
    assert len(report.rounds) <= max(0, report.finding.round - 1)
    return report.finding


def call_of(run: Run, round_: int = 2) -> FinalizeCall:
    record = next(each for each in run.evidence.records if isinstance(each, Merged) and each.round == round_)
    assert record.call is not None
    return record.call


def update_of(run: Run, round_: int = 2) -> Updated:
    return next(each for each in run.evidence.records if isinstance(each, Updated) and each.round == round_)


def text(run: Run, digest: bytes) -> str:
    return str(cid(digest, run.manifest.size))


def test_an_honest_run_fits(run: Run) -> None:
    report = run.audit()
    assert report.finding is None
    assert [each.round for each in report.rounds] == [1, 2, 3]
    members = {run.address("alice"), run.address("bob")}
    parent = run.manifest.genesis
    for each in report.rounds:
        assert {update.address for update in each.included} == members
        assert {update.weight for update in each.inputs} == {10}
        assert set(each.signers) == members
        assert each.parent == parent
        parent = each.merged
    assert parent == report.head == run.evidence.view.head


def test_the_report_names_lineage_members_weights_signers_and_cids(run: Run) -> None:
    report = as_json(run.audit())
    assert report["fits"]
    assert report["finding"] is None
    assert report["manifest"] == str(run.manifest.cid)
    assert report["contract"] == "0x" + run.manifest.contract.hex()
    assert report["genesis"] == str(run.manifest.genesis_cid) == report["rounds"][0]["parent"]
    assert report["head"] == report["rounds"][-1]["merged"]
    for before, after in zip(report["rounds"], report["rounds"][1:], strict=False):
        assert (after["parent_round"], after["parent"]) == (before["round"], before["merged"])
    names = {"0x" + run.address(name).hex() for name in ("alice", "bob")}
    for each in report["rounds"]:
        assert {update["address"] for update in each["inputs"]} == set(each["signers"]) == names
        assert all(update["weight"] == 10 and update["included"] for update in each["inputs"])
        assert each["content"] is None


def test_a_swarm_that_has_merged_nothing_yet_fits(run: Run) -> None:
    view = replace(
        run.evidence.view,
        round=1,
        phase=Phase.COLLECTING,
        head=run.manifest.genesis,
        head_round=0,
        merged_rounds=0,
        best=run.manifest.genesis,
        best_round=0,
    )
    records = run.evidence.records[:3]
    assert [type(each) for each in records] == [Opened, Enrolled, Enrolled]
    report = run.audit(replace(run.evidence, view=view, records=records, results={}))
    assert report.finding is None
    assert report.rounds == []


def test_another_contract(run: Run) -> None:
    config = replace(run.evidence.config, manifest=OTHER, genesis=OTHER)
    assert found(run, replace(run.evidence, config=config)) == Finding(
        0, "manifest's digest in the contract", "0x" + run.manifest.digest.hex(), "0x" + OTHER.hex()
    )
    config = replace(run.evidence.config, genesis=OTHER)
    finding = found(run, replace(run.evidence, config=config))
    assert finding == Finding(0, "genesis in the contract", str(run.manifest.genesis_cid), text(run, OTHER))
    config = replace(run.evidence.config, f=0)
    assert found(run, replace(run.evidence, config=config)) == Finding(0, "f in the contract's configuration", "1", "0")
    assert found(run, replace(run.evidence, domain=OTHER)).what == "domain separator"


def test_the_evidence_of_a_twin_deployment_is_another_contracts(run: Run) -> None:
    """The same manifest, members and updates, but another salt: no signature is valid there."""
    twin = replace(run.evidence, view=replace(run.evidence.view, salt=OTHER))
    assert found(run, twin).what == "domain separator"


def test_a_wrong_weight(run: Run) -> None:
    update = update_of(run)
    who = "0x" + update.address.hex()
    wrong = change(run, Updated, lambda each: replace(each, weight=11))
    assert found(run, wrong) == Finding(2, f"weight of {who}, as its transaction says", "10", "11")
    consistent = change(run, Updated, lambda each: replace(each, weight=11, call=replace(each.call, weight=11)))
    assert found(run, consistent).what == "hash over the inputs"
    huge = change(run, Updated, lambda each: replace(each, weight=2**40, call=None))
    assert found(run, huge) == Finding(2, f"weight of {who}", f"1 to {2**32 - 1}", str(2**40))


def test_a_missing_update(run: Run) -> None:
    who = "0x" + update_of(run).address.hex()
    gone = change(run, Updated, lambda _: None)
    assert found(run, gone) == Finding(2, f"update of {who}", "one, since it is on the roster", "none")


def test_an_update_that_was_put_in_another_ones_place(run: Run) -> None:
    update = update_of(run)
    wrong = change(run, Updated, lambda each: replace(each, digest=OTHER))
    assert found(run, wrong) == Finding(
        2,
        f"update of 0x{update.address.hex()}, as its transaction says",
        text(run, update.digest),
        text(run, OTHER),
    )
    call = SubmitCall(run.address("bob"), 2, OTHER, 10)
    relayed = change(run, Updated, lambda each: replace(each, digest=OTHER, call=None))
    assert found(run, relayed).what == "hash over the inputs"
    foreign = change(run, Updated, lambda each: replace(each, address=b"\x01" * 20, call=call))
    assert found(run, foreign).what.startswith("sender of the update")


def test_an_update_recorded_by_another_contract_is_bound_by_the_hash(run: Run) -> None:
    assert run.audit(change(run, Updated, lambda each: replace(each, call=None))).finding is None


def test_a_forged_signature(run: Run) -> None:
    call, stranger = call_of(run), Key.from_seed("a stranger")
    (mask, _), *rest = call.signatures
    what = "signature 1 of the finalize transaction"
    forged = change_call(run, signatures=((mask, stranger.sign(OTHER)), *rest))
    finding = found(run, forged)
    assert (finding.round, finding.what, finding.expected) == (2, what, "a member's")
    assert finding.found.endswith("who is none")
    broken = change_call(run, signatures=((mask, bytes(65)), *rest))
    assert found(run, broken) == Finding(2, what, "a member's", "one that nobody can have made")
    of_round_1 = change_call(run, signatures=((mask, call_of(run, 1).signatures[0][1]), *rest))
    assert found(run, of_round_1).what == what


def test_too_few_signatures(run: Run) -> None:
    first, second = call_of(run).signatures
    twice = change_call(run, signatures=(first, first))
    assert found(run, twice).found.startswith("a second one of 0x")
    alone = change_call(run, signatures=(second,))
    finding = found(run, alone)
    assert (finding.what, finding.expected, finding.found) == ("signers of slice 0", "2 or more", "1")


def test_a_signer_whose_time_was_over(run: Run) -> None:
    late = change(run, Merged, lambda merged: replace(merged, block_timestamp=2**40))
    assert found(run, late).what == "time of the merge"
    results = dict(run.evidence.results)
    results[2] = replace(results[2], timestamp=2**40)
    finding = found(run, replace(late, results=results))
    assert finding.what == "signature 1 of the finalize transaction"
    assert finding.expected == f"a member's at {2**40}"


def test_a_wrong_merged_cid(run: Run) -> None:
    right = text(run, call_of(run).merged)
    event = change(run, Merged, lambda merged: replace(merged, merged=OTHER))
    assert found(run, event) == Finding(2, "merged model in the event", right, text(run, OTHER))
    finding = found(run, change_call(run, merged=OTHER))
    assert finding == Finding(2, "merged model in the finalize transaction", right, text(run, OTHER))
    results = dict(run.evidence.results)
    results[2] = replace(results[2], merged=OTHER)
    finding = found(run, replace(run.evidence, results=results))
    assert finding == Finding(2, "merged model in the contract", right, text(run, OTHER))
    # All agree on it: then it is the signatures that say so.
    everywhere = change(
        run, Merged, lambda merged: replace(merged, merged=OTHER, call=replace(merged.call, merged=OTHER))
    )
    everywhere = replace(everywhere, results=results)
    records = [replace(r, head=OTHER) if isinstance(r, Opened) and r.round == 3 else r for r in everywhere.records]
    assert found(run, replace(everywhere, records=tuple(records))).what == "signature 1 of the finalize transaction"


def test_a_wrong_head(run: Run) -> None:
    view = replace(run.evidence.view, head=OTHER)
    finding = found(run, replace(run.evidence, view=view))
    assert (finding.round, finding.what, finding.expected) == (ROUNDS, "merged model in the contract", text(run, OTHER))
    view = replace(run.evidence.view, best=OTHER)
    assert run.audit(replace(run.evidence, view=view)).finding is not None


def test_a_wrong_parent(run: Run) -> None:
    results = dict(run.evidence.results)
    results[3] = replace(results[3], parent_round=1)
    finding = found(run, replace(run.evidence, results=results))
    assert (finding.round, finding.what) == (1, "merged model in the contract")
    results[3] = replace(results[3], parent_round=3)
    finding = found(run, replace(run.evidence, results=results))
    assert (finding.round, finding.what) == (3, "parent round")
    opened = change(run, Opened, lambda each: replace(each, head=OTHER), round_=1)
    assert found(run, opened) == Finding(
        0, "model at the root of the lineage", str(run.manifest.genesis_cid), text(run, OTHER)
    )


def test_exclusions_that_do_not_fit(run: Run) -> None:
    finding = found(run, change(run, Merged, lambda merged: replace(merged, excluded=1)))
    assert (finding.what, finding.found) == ("included members in the event", "[0, 1]")
    finding = found(run, change(run, Merged, lambda merged: replace(merged, excluded=1 << 9)))
    assert (finding.what, finding.found) == ("excluded members", "[9]")
    assert found(run, change_call(run, excluded=1)).what == "excluded members in the finalize transaction"


def test_a_seal_that_does_not_fit(run: Run) -> None:
    assert found(run, change(run, Sealed, lambda sealed: replace(sealed, inputs=OTHER))).what == "hash over the inputs"
    assert found(run, change(run, Sealed, lambda sealed: replace(sealed, k=1))).what == "number of slices"
    assert found(run, change(run, Sealed, lambda sealed: replace(sealed, roster=1))).what.startswith("update of 0x")
    assert found(run, change(run, Sealed, lambda _: None)) == Finding(2, "event Sealed", "one", "none")


def test_a_merge_through_another_contract_cannot_be_checked(run: Run) -> None:
    finding = found(run, change(run, Merged, lambda merged: replace(merged, call=None)))
    assert finding.what == "finalize transaction"


def test_members_that_never_enrolled(run: Run) -> None:
    records = [each for each in run.evidence.records if not isinstance(each, Enrolled)]
    finding = found(run, replace(run.evidence, records=tuple(records)))
    assert finding.round == 1
    assert finding.found.endswith("who is none")


def test_every_field_of_every_record_is_checked(run: Run) -> None:
    """Nothing in the events or transactions of a merged round can be changed without being noticed."""
    for place, record in enumerate(run.evidence.records):
        # Of what ended the swarm, or was reported, nothing follows for the lineage.
        if not isinstance(record, Opened | Updated | Sealed | Merged) or record.round > ROUNDS:
            continue
        for name in record.__dataclass_fields__:
            value = getattr(record, name)
            if name in ("call", "block_timestamp", "flags"):
                continue
            changed: dict[str, Any] = {name: OTHER[: len(value)] if isinstance(value, bytes) else value + 1}
            records = list(run.evidence.records)
            records[place] = replace(record, **changed)
            report = run.audit(replace(run.evidence, records=tuple(records)))
            assert report.finding is not None, (record, name)


def test_included_members_follow_from_roster_and_exclusions(run: Run) -> None:
    assert list(bits(run.evidence.results[2].included)) == [0, 1]
    results = dict(run.evidence.results)
    results[2] = replace(results[2], included=1)
    finding = found(run, replace(run.evidence, results=results))
    assert (finding.what, finding.expected, finding.found) == ("included members in the contract", "[0, 1]", "[0]")
