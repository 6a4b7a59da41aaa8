"""An honest run with an expulsion, a leave, a rollback and a reopening is accepted; whatever is changed in it is named."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from swarmp2p.audit.evidence import Evidence
from swarmp2p.audit.report import Finding, RoundReport, as_json
from swarmp2p.core.history import (
    Enrolled,
    Expelled,
    Idled,
    Merged,
    Opened,
    Record,
    Reopened,
    Reported,
    RolledBack,
    Sealed,
    Stopped,
    Updated,
)
from swarmp2p.core.types import CHUNK_SIZE, StopReason, VoteKind
from swarmp2p.identity import Key
from tests.audit.eventful_run import LEFT, LEFT_BEHIND, LINEAGE, NAMES, eventful_run
from tests.audit.honest_run import Chunks, Run

OTHER = b"\x0d" * 32
MERGED_ROUNDS = sorted([*LINEAGE, *LEFT_BEHIND])


@pytest.fixture(scope="module")
def run() -> Run:
    return eventful_run()


def change(run: Run, kind: type[Record], changed: Callable[[Any], Record | None], round_: int = 0) -> Evidence:
    """The evidence with the first record of this kind (and round) changed, or left out."""
    records = list(run.evidence.records)
    fitting = (
        place
        for place, each in enumerate(records)
        if isinstance(each, kind) and round_ in (0, getattr(each, "round", 0))
    )
    place = next(fitting)
    new = changed(records[place])
    records[place : place + 1] = [] if new is None else [new]
    return replace(run.evidence, records=tuple(records))


def found(run: Run, evidence: Evidence | None = None, source: Chunks | None = None) -> Finding:
    report = run.audit(evidence, source)
    assert report.finding is not None
    return report.finding


def report_of(run: Run, round_: int) -> RoundReport:
    return next(each for each in run.audit().rounds if each.round == round_)


def with_call(each: Any, **words: Any) -> Any:
    return replace(each, call=replace(each.call, **words))


def with_vote(each: Any, **words: Any) -> Any:
    return with_call(each, vote=replace(each.call.vote, **words))


# ---- the honest run


def test_it_is_accepted_and_every_merge_is_made_again(run: Run) -> None:
    report = run.audit(source=run.everything())
    assert report.finding is None
    assert [each.round for each in report.rounds] == MERGED_ROUNDS
    assert [each.round for each in report.lineage] == LINEAGE
    assert {each.round: each.left_by for each in report.rounds if each.left_by is not None} == LEFT_BEHIND
    assert all(each.recomputed for each in report.rounds)
    parents = {each.round: each.parent_round for each in report.rounds}
    assert parents == {1: 0, 2: 1, 3: 2, 4: 3, 6: 2, 7: 6, 9: 2}
    last = list(report.lines())[-1]
    assert "is 3 merges from the genesis" in last
    assert last.endswith("; 4 more were left behind.")


def test_the_votes_are_told_with_their_signers(run: Run) -> None:
    votes = run.audit().votes
    kinds = [VoteKind.EXPEL, VoteKind.ROLLBACK, VoteKind.STOP, VoteKind.REOPEN]
    assert [each.vote.kind for each in votes] == kinds
    assert [each.vote.ballot for each in votes] == [0, 1, 2, 3]
    assert [(each.round, len(each.signers), each.voters) for each in votes] == [
        (3, 3, 5),
        (5, 2, 3),
        (8, 2, 3),
        (8, 2, 3),
    ]
    assert votes[0].vote.target == run.address("dave")
    assert set(votes[0].signers) == {run.address(name) for name in ("alice", "bob", "erin")}
    told = as_json(run.audit())
    assert [each["kind"] for each in told["votes"]] == [kind.name for kind in kinds]
    assert told["votes"][0]["target"] == "0x" + run.address("dave").hex()
    assert told["votes"][1]["target"] is None
    assert [each["left_by"] for each in told["rounds"]] == [LEFT_BEHIND.get(round_) for round_ in MERGED_ROUNDS]
    lines = list(run.audit().lines())
    assert lines[2].startswith("vote 0 in round 3: expel 0x")
    assert "; left behind by vote 1" in lines[3]


def test_an_update_that_was_forced_out_is_no_part_of_the_merge(run: Run) -> None:
    each = report_of(run, 3)
    assert {update.address for update in each.inputs} == {run.address(name) for name in NAMES}
    (banned,) = [update for update in each.inputs if update.banned]
    assert (banned.address, banned.included) == (run.address("dave"), False)
    assert {update.address for update in report_of(run, 4).inputs} == {run.address(name) for name in LEFT}


def test_what_was_left_behind_may_be_held_no_more(run: Run) -> None:
    source = run.everything()
    for update in report_of(run, 7).inputs:
        source = source.without(update.digest)
    report = run.audit(source=source)
    assert report.finding is None
    left = next(each for each in report.rounds if each.round == 7)
    assert left.content is not None
    assert not left.recomputed
    assert set(left.content.missing) == {run.address(name) for name in LEFT}


# ---- the six tampered cases, in the lineage and in what was left behind


@pytest.mark.parametrize("round_", [2, 3, 6, 9])
def test_a_swapped_block(run: Run, round_: int) -> None:
    good, update = run.everything(), report_of(run, round_).included[0]
    tampered = Chunks(good.leaf_lists, {**good.chunks, (update.digest, 1): bytes(CHUNK_SIZE)})
    finding = found(run, source=tampered)
    assert finding.round == round_
    assert finding.what.startswith(f"chunk 1 of the update of 0x{update.address.hex()} ")


@pytest.mark.parametrize("round_", [2, 3, 6, 9])
def test_a_forged_signature(run: Run, round_: int) -> None:
    forged = Key.from_seed("a stranger").sign(OTHER)

    def change_it(merged: Any) -> Any:
        return with_call(merged, signatures=((merged.call.signatures[0][0], forged), *merged.call.signatures[1:]))

    finding = found(run, change(run, Merged, change_it, round_))
    assert (finding.round, finding.what) == (round_, "signature 1 of the finalize transaction")


@pytest.mark.parametrize("round_", [2, 3, 6, 9])
def test_a_wrong_weight(run: Run, round_: int) -> None:
    wrong = change(run, Updated, lambda each: with_call(replace(each, weight=11), weight=11), round_)
    sealed = next(each for each in run.evidence.records if isinstance(each, Sealed) and each.round == round_)
    finding = found(run, wrong)
    assert (finding.round, finding.what, finding.found) == (round_, "hash over the inputs", "0x" + sealed.inputs.hex())
    said = found(run, change(run, Updated, lambda each: replace(each, weight=11), round_))
    assert (said.round, said.expected, said.found) == (round_, "10", "11")
    assert said.what.endswith(", as its transaction says")


@pytest.mark.parametrize("round_", [2, 3, 6, 9])
def test_a_missing_update(run: Run, round_: int) -> None:
    updates = [each for each in run.evidence.records if isinstance(each, Updated) and each.round == round_]
    missing = next(each for each in updates if each.address != run.address("dave"))
    records = tuple(each for each in run.evidence.records if each is not missing)
    finding = found(run, replace(run.evidence, records=records))
    assert finding == Finding(round_, f"update of 0x{missing.address.hex()}", "one, since it is on the roster", "none")


@pytest.mark.parametrize("round_", [2, 3, 6, 9])
def test_a_wrong_merged_cid(run: Run, round_: int) -> None:
    finding = found(run, change(run, Merged, lambda each: with_call(replace(each, merged=OTHER), merged=OTHER), round_))
    assert (finding.round, finding.what) == (round_, "merged model in the event")
    finding = found(run, change(run, Merged, lambda each: with_call(each, merged=OTHER), round_))
    assert (finding.round, finding.what) == (round_, "merged model in the finalize transaction")


def test_another_contract(run: Run) -> None:
    other = replace(run.evidence, config=replace(run.evidence.config, manifest=OTHER))
    assert found(run, other).what == "manifest's digest in the contract"
    twin = replace(run.evidence, view=replace(run.evidence.view, salt=OTHER))
    assert found(run, twin) == replace(found(run, twin), round=0, what="domain separator")


BELIEVED: dict[type, tuple[str, ...]] = {
    # The hash over the inputs binds an update that another contract recorded.
    Updated: ("call", "flags", "block_timestamp"),
    Reported: ("flags",),
    # The times of blocks, within what deadlines and memberships allow.
    Enrolled: ("block_timestamp",),
    Opened: ("block_timestamp",),
    Idled: ("block_timestamp",),
    Expelled: ("block_timestamp",),
    RolledBack: ("block_timestamp",),
    Reopened: ("block_timestamp",),
    Stopped: ("block_timestamp",),
}


def test_every_field_of_every_record_is_checked(run: Run) -> None:
    for place, record in enumerate(run.evidence.records):
        for name in (field.name for field in fields(record)):
            if name in BELIEVED.get(type(record), ()) or (name == "call" and not getattr(record, name)):
                continue
            value = getattr(record, name)
            other: Any = None
            if isinstance(value, bytes):
                other = OTHER[: len(value)]
            elif isinstance(value, StopReason):
                other = StopReason.TARGET
            elif isinstance(value, bool):
                other = not value
            elif isinstance(value, int):
                other = value + 1
            records = list(run.evidence.records)
            records[place] = replace(record, **{name: other})
            assert run.audit(replace(run.evidence, records=tuple(records))).finding is not None, (record, name)


def test_the_state_is_what_follows_from_the_events(run: Run) -> None:
    view = run.evidence.view
    for name in ("merged_rounds", "ballot", "active", "best_round", "max_rounds", "round"):
        wrong = replace(view, **{name: getattr(view, name) + 1})
        assert found(run, replace(run.evidence, view=wrong)).what.endswith("as follows from the events")
