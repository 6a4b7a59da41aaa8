"""What members contributed, on a run of three peers."""

import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from swarmp2p.core.history import Merged, Reported
from swarmp2p.core.messages import Receipt
from swarmp2p.core.types import ReportFlag
from swarmp2p.rewards.metering import Meter, as_csv, as_json, lines, meter
from swarmp2p.rewards.receipts import sign_receipt
from tests.audit.honest_run import ROUNDS, Run, honest_run


@pytest.fixture(scope="module")
def run() -> Run:
    return honest_run("alice", "bob", "carol")


def measured(run: Run, *receipts: Any) -> Meter:
    return meter(run.evidence.records, run.evidence.domain, receipts)


def test_a_run_is_measured(run: Run) -> None:
    report = run.audit()
    found = measured(run)
    assert [row.round for row in found.rows if row.submitted] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    for row in found.rows:
        if row.submitted:
            (checked,) = (each for each in report.rounds if each.round == row.round)
            assert (row.included, row.excluded, row.samples) == (1, 0, 10)
            assert row.attestations == (row.account in checked.signers)
            assert (row.slices > 0) == bool(row.attestations)
    for each in report.rounds:
        rows = [row for row in found.rows if row.round == each.round]
        assert sum(row.attestations for row in rows) == len(each.signers)
        # k slices, each recomputed by q = 2 or more.
        assert sum(row.slices for row in rows) >= 2 * each.k
    totals = {row.account: row for row in found.totals()}
    assert set(totals) == {run.address(name) for name in ("alice", "bob", "carol")}
    for total in totals.values():
        assert (total.submitted, total.samples, total.bytes_served) == (ROUNDS, 10 * ROUNDS, 0)
        # Rounds 2 and 3 report on the head before, and each member on the last one.
        assert total.reports == ROUNDS


def test_left_out_and_through_another_contract(run: Run) -> None:
    alice = run.evidence.view.member(run.address("alice"))
    assert alice is not None
    records = [
        replace(each, included=each.included & ~(1 << alice.index), call=None) if isinstance(each, Merged) else each
        for each in run.evidence.records
    ]
    found = meter(records, run.evidence.domain)
    total = next(row for row in found.totals() if row.account == alice.address)
    assert (total.submitted, total.included, total.excluded, total.samples) == (ROUNDS, 0, ROUNDS, 0)
    assert all(row.attestations == row.slices == 0 for row in found.rows)


def test_signatures_count_only_in_their_swarm(run: Run) -> None:
    found = meter(run.evidence.records, bytes(32))
    assert all(row.attestations == 0 for row in found.rows)
    assert len(found.totals()) == 3


def test_receipts_and_late_reports(run: Run) -> None:
    alice, bob = run.keys["alice"], run.keys["bob"]
    domain, carol = run.evidence.domain, run.address("carol")
    receipts = [
        sign_receipt(Receipt(2, carol, 100), alice, domain),
        sign_receipt(Receipt(2, carol, 70), alice, domain),
        sign_receipt(Receipt(2, carol, 5), bob, domain),
        sign_receipt(Receipt(9, carol, 7), bob, domain),
    ]
    found = measured(run, *receipts)
    assert [(row.round, row.bytes_served) for row in found.rows if row.bytes_served] == [(2, 105), (9, 7)]
    assert next(row for row in found.totals() if row.account == carol).bytes_served == 112
    late = Reported(run.evidence.view.head, carol, ReportFlag.HAS_REPORT)
    more = meter([*run.evidence.records, late], domain).totals()
    assert [row.reports for row in more] == [
        row.reports + (row.account == carol) for row in measured(run).totals()
    ]  # fmt: skip


def test_tables_add_up(run: Run) -> None:
    found = measured(run, sign_receipt(Receipt(1, run.address("bob"), 3), run.keys["alice"], run.evidence.domain))
    table = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(table) == len(found.rows)
    body = as_json(found)
    for total in body["totals"]:
        mine = [row for row in table if row["address"] == total["address"]]
        for name in total.keys() - {"address"}:
            assert sum(int(row[name]) for row in mine) == total[name]
    assert len(body["rounds"]) == len(table)
    text = "\n".join(lines(found))
    assert "updates 3: 3 merged with 30 samples as declared, 0 left out" in text
    assert "; 3 bytes served" in text.replace("reports; ", "; ")
