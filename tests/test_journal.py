"""The journal survives a restart and refuses contradictions."""

from pathlib import Path

import pytest

from swarmp2p.core.errors import ConfigError, Contradiction, QuotaExceeded
from swarmp2p.core.messages import Attestation, Claim, Objection, RoundMessage
from swarmp2p.core.store import Report, Update
from swarmp2p.core.types import Reason, ReportFlag
from swarmp2p.journal import Journal

INPUTS = b"\x07" * 32
A, B, C = b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32


def bodies() -> list[RoundMessage]:
    return [
        Claim(3, INPUTS, 0, 1, A),
        Attestation(3, INPUTS, 0, A, (B, C), 1),
        Objection(3, INPUTS, 2, Reason.INVALID, 17),
        Attestation(3, INPUTS, 1 << 255, bytes(32), (), (1 << 256) - 1),
    ]


def test_messages_come_back_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    said = [(body, bytes([n]) * 65) for n, body in enumerate(bodies())]
    for body, signature in said:
        journal.remember(body, signature)
    journal.close()
    journal = Journal(tmp_path / "j")
    assert journal.messages(3, INPUTS) == said
    assert journal.messages(4, INPUTS) == []
    journal.forget_before(4)
    assert journal.messages(3, INPUTS) == []
    journal.close()


def test_signatures_are_flushed_and_nothing_else_waits_for_the_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")

    def flushes() -> bool:
        return int(journal._db.execute("PRAGMA synchronous").fetchone()[0]) == 2

    for body in bodies():
        journal.save("submit", 1, b"raw")
        assert not flushes()
        journal.remember(body, bytes(65))
        assert flushes()
    journal.close()


def test_contradictions_are_refused_and_widening_is_not(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for body in bodies():
        journal.remember(body, bytes(65))
    journal.remember(Attestation(3, INPUTS, 0, A, (B, C), 3), bytes(65))
    for wrong in (
        Claim(3, INPUTS, 0, 1, B),
        Attestation(3, INPUTS, 0, B, (B, C), 1),
        Attestation(3, INPUTS, 0, A, (C, B), 1),
        Attestation(3, INPUTS, 0, bytes(32), (), 0),
    ):
        with pytest.raises(Contradiction):
            journal.check(wrong)
        with pytest.raises(Contradiction):
            journal.remember(wrong, bytes(65))
    journal.remember(Claim(3, INPUTS, 1, 1, B), bytes(65))
    journal.remember(Claim(4, INPUTS, 0, 1, B), bytes(65))
    masks = [body.mask for body, _ in journal.messages(3, INPUTS) if isinstance(body, Attestation)]
    assert 3 in masks
    journal.close()


def test_own_records_and_transactions(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    assert (journal.update(), journal.report(), journal.best_metric(), journal.pending()) == (None, None, None, [])
    journal.set_update(Update(A, B, 5))
    journal.set_report(Report(A, -3, ReportFlag.HAS_REPORT | ReportFlag.IMPROVED))
    journal.set_best_metric(910_000)
    journal.save("submit 3", 7, b"raw")
    journal.save("submit 3", 7, b"raw with a higher fee")
    journal.save("finalize 3", 6, b"other")
    journal.close()
    journal = Journal(tmp_path / "j")
    assert journal.update() == Update(A, B, 5)
    assert journal.report() == Report(A, -3, ReportFlag.HAS_REPORT | ReportFlag.IMPROVED)
    assert journal.best_metric() == 910_000
    assert [(t.intent, t.nonce, t.raw) for t in journal.pending()] == [
        ("finalize 3", 6, b"other"),
        ("submit 3", 7, b"raw"),  # either may get into a block
        ("submit 3", 7, b"raw with a higher fee"),
    ]
    journal.save("submit 3", 8, b"another nonce: the others were refused")
    assert [t.nonce for t in journal.pending()] == [6, 8]
    journal.done("submit 3")
    assert [t.intent for t in journal.pending()] == ["finalize 3"]
    journal.close()


def test_a_broken_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"not a database, but long enough to be looked at" * 40)
    with pytest.raises(ConfigError, match="journal"):
        Journal(tmp_path / "j")


def test_a_full_disk_is_said_and_nothing_half_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.set_update(Update(A, B, 7))
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(QuotaExceeded, match="No room left on the disk of") as caught:
        journal.save("submit", 1, bytes(100_000))
    assert str(tmp_path) in str(caught.value)
    assert "Free some space" in caught.value.mend
    assert journal.pending() == []
    journal._db.execute("PRAGMA max_page_count = 1000000")
    journal.save("submit", 1, bytes(100_000))
    journal.close()
    journal = Journal(tmp_path / "j")
    assert [each.nonce for each in journal.pending()] == [1]
    assert journal.update() == Update(A, B, 7)
    journal.close()
