"""Deep audits: merges made again from kept updates, and content that was tampered with."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from swarmp2p.audit.check import check_chain
from swarmp2p.audit.evidence import Evidence
from swarmp2p.audit.recompute import recompute
from swarmp2p.audit.report import Finding, Report, RoundReport, as_json
from swarmp2p.content.archive import ContentArchive
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.unixfs import HASH_SIZE, cid, hash_bytes, slice_digest
from swarmp2p.control.interface import RoundResult
from swarmp2p.core.election import round_seed
from swarmp2p.core.errors import ContentCorrupt
from swarmp2p.core.history import Enrolled, FinalizeCall, Merged, Opened, Record, Sealed, SubmitCall, Updated
from swarmp2p.core.messages import Attestation
from swarmp2p.core.slices import chunk_range
from swarmp2p.core.typed import next_inputs, signing_digest
from swarmp2p.core.types import CHUNK_SIZE, Digest, Phase
from swarmp2p.identity import keccak256
from swarmp2p.merge.registry import rule_from_id
from tests.audit.honest_run import CHUNKS, Chunks, Run, honest_run


@pytest.fixture(scope="module")
def run() -> Run:
    return honest_run("alice", "bob")


def text(run: Run, digest: bytes) -> str:
    return str(cid(digest, run.manifest.size))


def tampered(chunks: Chunks, name: Digest, index: int, data: bytes) -> Chunks:
    return Chunks(chunks.leaf_lists, {**chunks.chunks, (name, index): data})


def finding_of(report: Report) -> Finding:
    assert report.finding is not None
    return report.finding


def test_an_honest_run_is_merged_again_to_the_same_cids(run: Run) -> None:
    report = run.audit(source=run.content["bob"])
    assert report.finding is None
    for each in report.rounds:
        assert each.content is not None
        assert each.recomputed
        assert each.content.merged_held
        assert each.content.missing == []
    assert [each["content"]["recomputed"] for each in as_json(report)["rounds"]] == [True, True, True]


def test_the_same_from_the_folder_of_a_peer(run: Run, tmp_path: Path) -> None:
    fill(tmp_path, run.content["bob"])
    report = run.audit(source=ContentArchive(tmp_path))
    assert report.finding is None
    assert all(each.recomputed for each in report.rounds)


def fill(folder: Path, chunks: Chunks) -> None:
    """A content folder with these files."""
    store = EmbeddedStore(folder)
    for name in chunks.leaf_lists:
        assert store.put(b"".join(chunks.chunks[name, index] for index in range(CHUNKS))).digest == name
    store.close()


def test_a_member_that_merged_one_slice_checks_that_one() -> None:
    run = honest_run("alice", "bob", "carol", "dave")
    for content in run.content.values():
        report = run.audit(source=content)
        assert report.finding is None
        for each in report.rounds:
            assert each.content is not None
            assert each.content.merged_held
            assert bool(each.content.missing) != each.recomputed
    together = run.audit(source=run.everything())
    assert all(each.recomputed for each in together.rounds)


def test_updates_that_were_left_out_are_no_part_of_the_merge() -> None:
    run = honest_run("alice", "bob", "carol", "dave", rotten="dave")
    report = run.audit(source=run.everything())
    assert report.finding is None
    left_out = [update.address for each in report.rounds for update in each.inputs if not update.included]
    assert set(left_out) == {run.address("dave")}
    assert all(each.recomputed for each in report.rounds)


def test_what_is_dropped_as_the_protocol_lets_it_be_is_no_fault() -> None:
    run = honest_run("alice", "bob", keep_rounds=0)
    first = run.audit(source=run.everything())
    assert first.finding is None
    content = first.rounds[0].content
    assert content is not None
    assert content.slices == []
    assert set(content.missing) == {run.address("alice"), run.address("bob")}
    assert not first.rounds[0].recomputed


def test_an_update_that_is_not_held_any_more_is_named(run: Run) -> None:
    update = run.audit().rounds[1].included[0]
    report = run.audit(source=run.content["bob"].without(update.digest))
    assert report.finding is None
    assert [each.recomputed for each in report.rounds] == [True, False, True]
    content = report.rounds[1].content
    assert content is not None
    assert content.missing == [update.address]
    assert f"0 of 2 slices merged again, not held are updates of 0x{update.address.hex()}" in "\n".join(report.lines())


def test_nothing_held_at_all(run: Run) -> None:
    report = run.audit(source=Chunks({}, {}))
    assert report.finding is None
    assert not any(each.recomputed for each in report.rounds)


def test_a_swapped_block_of_an_update(run: Run) -> None:
    update = run.audit().rounds[1].included[1]
    good = run.content["bob"]
    other = bytes(CHUNK_SIZE)
    report = run.audit(source=tampered(good, update.digest, 2, other))
    leaf = good.leaf_lists[update.digest][2 * HASH_SIZE : 3 * HASH_SIZE]
    what = f"chunk 2 of the update of 0x{update.address.hex()} {text(run, update.digest)}"
    assert report.finding == Finding(2, what, f"0x{leaf.hex()}", f"0x{hashlib.sha256(other).hexdigest()}")


def test_a_swapped_block_of_a_merged_model_and_of_the_genesis(run: Run) -> None:
    good = run.content["bob"]
    merged = run.audit().rounds[0].merged
    finding = finding_of(run.audit(source=tampered(good, merged, 3, b"short")))
    assert (finding.round, finding.what) == (1, f"chunk 3 of the merged model {text(run, merged)}")
    genesis = run.manifest.genesis
    finding = finding_of(run.audit(source=tampered(run.everything(), genesis, 0, bytes(CHUNK_SIZE))))
    assert (finding.round, finding.what) == (0, f"chunk 0 of the genesis {text(run, genesis)}")


def test_another_file_under_a_models_name(run: Run) -> None:
    good = run.content["bob"]
    first, second = (run.audit().rounds[place].merged for place in (0, 1))
    lists = {**good.leaf_lists, first: good.leaf_lists[second]}
    finding = finding_of(run.audit(source=Chunks(lists, good.chunks)))
    assert finding == Finding(1, "content of the merged model", text(run, first), text(run, second))
    finding = finding_of(run.audit(source=Chunks({**lists, first: b"odd"}, good.chunks)))
    assert finding.what == "content of the merged model"


def test_a_store_that_notices_rot_itself(run: Run) -> None:
    update = run.audit().rounds[1].included[0]

    class Rotten(Chunks):
        def read_chunk(self, name: Digest, index: int) -> bytes:
            if (name, index) == (update.digest, 1):
                raise ContentCorrupt("rotten on disk")
            return super().read_chunk(name, index)

    good = run.content["bob"]
    finding = finding_of(run.audit(source=Rotten(good.leaf_lists, good.chunks)))
    assert (finding.round, finding.found) == (2, "rotten on disk")


def test_an_earlier_misfit_of_content_comes_before_a_later_one_of_the_chain(run: Run) -> None:
    records = [
        replace(each, weight=11) if isinstance(each, Updated) and each.round == 3 else each
        for each in run.evidence.records
    ]
    evidence = replace(run.evidence, records=tuple(records))
    assert finding_of(run.audit(evidence, run.content["bob"])).round == 3
    update = run.audit().rounds[1].included[0]
    bad = tampered(run.content["bob"], update.digest, 0, bytes(CHUNK_SIZE))
    assert finding_of(run.audit(evidence, bad)).round == 2


@dataclass(frozen=True)
class Cheated:
    """Evidence of f + 1 colluders: all of it is signed and fits, but for the merge itself."""

    evidence: Evidence
    source: Chunks


def collude(run: Run, content: Chunks, models: Sequence[bytes], *, weights: Sequence[int] = (10, 10)) -> Cheated:
    """The first round of a run with other updates (index 0 and 1) and another merged model (the last)."""
    config, evidence = run.evidence.config, run.evidence
    indexes = {each.address: each.index for each in run.audit().rounds[0].inputs}
    names = sorted(run.keys, key=lambda name: indexes[run.address(name)])
    seed = round_seed(evidence.view.salt, 1, config.genesis, keccak256)
    hashed = [hash_bytes(model) for model in models]
    chunks = dict(content.chunks)
    for each, model in zip(hashed, models, strict=True):
        chunks |= {(each.digest, i): model[i * CHUNK_SIZE : (i + 1) * CHUNK_SIZE] for i in range(CHUNKS)}
    source = Chunks({**content.leaf_lists, **{each.digest: each.leaf_list for each in hashed}}, chunks)
    *updates, merged = hashed
    inputs, submitted = seed, list[Record]()
    for index, (name, update, weight) in enumerate(zip(names, updates, weights, strict=True)):
        inputs = next_inputs(inputs, run.address(name), index, update.digest, weight, keccak256)
        call = SubmitCall(run.address(name), 1, update.digest, weight)
        submitted.append(Updated(1, run.address(name), index, update.digest, weight, call))
    ranges = [chunk_range(slice_, 2, CHUNKS) for slice_ in range(2)]
    slices = tuple(slice_digest(merged.leaf_list[HASH_SIZE * r.start : HASH_SIZE * r.stop]) for r in ranges)
    body = Attestation(1, inputs, 0, merged.digest, slices, 3)
    digest = signing_digest(body, evidence.domain, keccak256)
    signed = tuple((3, run.keys[name].sign(digest)) for name in names)
    finalized = FinalizeCall(1, 0, merged.digest, slices, signed)
    records = (
        *(each for each in evidence.records if isinstance(each, Enrolled | Opened) and getattr(each, "round", 1) == 1),
        *submitted,
        Sealed(1, inputs, 3, 2),
        Merged(1, merged.digest, 3, 0, 0, 9, evidence.view.block_timestamp, finalized),
        Opened(2, merged.digest, 3, 2),
    )
    view = replace(
        evidence.view, round=2, phase=Phase.COLLECTING, head=merged.digest, head_round=1, merged_rounds=1,
        best=config.genesis, best_round=0,
    )  # fmt: skip
    results = {1: RoundResult(merged.digest, 3, 0, 9, evidence.view.block_timestamp, bytes(32), 0)}
    return Cheated(replace(evidence, view=view, results=results, records=records), source)


def audit(run: Run, cheated: Cheated) -> Report:
    report = check_chain(cheated.evidence, run.manifest)
    assert report.finding is None
    recompute(report, cheated.source, run.evidence.config, rule_from_id(run.manifest.rule), run.manifest.max_abs)
    return report


def first_round(run: Run) -> tuple[RoundReport, list[bytes]]:
    """The first round, its updates by index, and the merged model."""
    each, content = run.audit().rounds[0], run.everything()
    digests = [update.digest for update in sorted(each.inputs, key=lambda update: update.index)] + [each.merged]
    return each, [b"".join(content.chunks[digest, i] for i in range(CHUNKS)) for digest in digests]


def test_made_up_evidence_of_an_honest_merge_fits(run: Run) -> None:
    _, models = first_round(run)
    report = audit(run, collude(run, run.everything(), models))
    assert report.finding is None
    assert report.rounds[0].recomputed


def test_a_wrong_merged_cid_that_colluders_signed(run: Run) -> None:
    each, models = first_round(run)
    wrong = models[2][:-4] + np.float32(5.0).tobytes()
    cheated = collude(run, run.everything(), [*models[:2], wrong])
    finding = finding_of(audit(run, cheated))
    what = "merged model, made again from its 2 updates"
    assert finding == Finding(1, what, text(run, each.merged), text(run, hash_bytes(wrong).digest))


def test_a_wrong_slice_shows_even_if_the_other_one_cannot_be_made_again(run: Run) -> None:
    _, models = first_round(run)
    wrong = models[2][:-4] + np.float32(5.0).tobytes()
    cheated = collude(run, run.everything(), [*models[:2], wrong])
    partly = {
        place: data for place, data in cheated.source.chunks.items() if place != (hash_bytes(models[0]).digest, 1)
    }
    finding = finding_of(audit(run, Cheated(cheated.evidence, Chunks(cheated.source.leaf_lists, partly))))
    assert finding.what == "slice 1 as attested, made again from 2 updates"


def test_a_weight_that_was_not_the_one_merged_with(run: Run) -> None:
    _, models = first_round(run)
    finding = finding_of(audit(run, collude(run, run.everything(), models, weights=(10, 11))))
    assert finding.what == "merged model, made again from its 2 updates"


def test_an_update_that_must_not_be_merged(run: Run) -> None:
    _, models = first_round(run)
    bad = models[0][:-4] + np.float32(np.nan).tobytes()
    finding = finding_of(audit(run, collude(run, run.everything(), [bad, *models[1:]])))
    assert finding.what.startswith("update of 0x")
    assert "NaN" in finding.found


def test_slices_that_are_not_the_models(run: Run) -> None:
    """Attested slices and merged model of two different merges; shows from the model alone."""
    _, models = first_round(run)
    cheated = collude(run, Chunks({}, {}), models)
    report = check_chain(cheated.evidence, run.manifest)
    report.rounds[0].slices = report.rounds[0].slices[::-1]
    kept = cheated.source
    recompute(report, kept, run.evidence.config, rule_from_id(run.manifest.rule), run.manifest.max_abs)
    assert finding_of(report).what == "slice 0 of the merged model, as attested"


@pytest.mark.parametrize("text", ["fedavgm", "norm_clipping;wire=int8", "fedyogi;wire=bf16", "geometric_median"])
def test_an_audit_makes_the_merges_of_any_rule_again(text: str) -> None:
    """From what the members hold together; without an earlier model that the rule reads, that is said and is no fault."""
    run = honest_run("alice", "bob", "carol", "dave", "erin", rule=text)
    report = run.audit(source=run.everything())
    assert report.finding is None
    assert [each.recomputed for each in report.rounds] == [True] * len(report.rounds)
    rule = rule_from_id(run.manifest.rule)
    before = report.rounds[0].merged
    partly = run.audit(source=run.everything().without(before))
    assert partly.finding is None
    second = partly.rounds[1].content
    assert second is not None
    if rule.heads:
        assert second.earlier_missing == [before]
        assert not partly.rounds[1].recomputed
        assert "not held are models before it" in "\n".join(partly.lines())
    else:
        assert partly.rounds[1].recomputed
