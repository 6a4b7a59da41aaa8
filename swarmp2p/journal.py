"""What must survive a crash: own signatures, the own update and report, and transactions on their way.

A signature is written here before it leaves this process, and one that contradicts an earlier one is refused
(docs/protocol.md, sections 7 and 10). Never restore an old copy of a journal: an honest member could come to sign two
different things, which is the one misconduct that the contract can prove.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swarmp2p.core.errors import ConfigError, Contradiction, QuotaExceeded
from swarmp2p.core.messages import Attestation, Claim, Objection, RoundMessage
from swarmp2p.core.store import Report, Update
from swarmp2p.core.types import Digest, Reason, ReportFlag

# `transactions` was the table of a first version, with one row an intent.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS signed (
    kind TEXT, round INTEGER, inputs BLOB, subject TEXT, says TEXT, mask TEXT, signature BLOB,
    PRIMARY KEY (kind, round, inputs, subject)
);
CREATE TABLE IF NOT EXISTS own (
    name TEXT PRIMARY KEY, digest BLOB, base BLOB, number INTEGER, extra INTEGER
);
CREATE TABLE IF NOT EXISTS sent (
    number INTEGER PRIMARY KEY, intent TEXT, nonce INTEGER, raw BLOB, UNIQUE (intent, raw)
);
CREATE TABLE IF NOT EXISTS transactions (intent TEXT PRIMARY KEY, nonce INTEGER, raw BLOB);
INSERT OR IGNORE INTO sent (intent, nonce, raw) SELECT intent, nonce, raw FROM transactions;
DROP TABLE transactions;
"""
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
"""What SQLite says of a full disk: the second when it is the index of its log that finds no room."""


@dataclass(frozen=True, slots=True)
class JournaledTransaction:
    """A signed transaction that was or may have been sent; a replacement has the intent and the nonce of the first."""

    intent: str
    nonce: int
    raw: bytes


class Journal:
    """An SQLite file; every write outlives this process. Methods block; any thread may call them.

    Signatures outlive a power failure too: they are flushed before they leave. All else would wait for the disk, which
    models keep busy, for nothing: an update whose entry is lost is trained anew, and a transaction whose entry is lost is
    still with the node, which says so when its nonce is asked for.
    """

    def __init__(self, path: Path) -> None:
        self._mutex = threading.Lock()
        self._path = path
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                f"The journal {path} cannot be used: {error}.",
                "It guards against signing twice: do not delete it while the swarm runs; look at the disk first.",
            ) from None

    def close(self) -> None:
        """Close the file."""
        with self._mutex:
            self._db.close()

    @contextmanager
    def _transaction(self, *, flush: bool = False) -> Iterator[sqlite3.Connection]:
        """Written when the block ends, or not at all. Raises QuotaExceeded: no room on the disk.

        Args:
            flush: it is on the disk then, and all that was written before.
        """
        with self._mutex:
            try:
                self._db.execute("PRAGMA synchronous = FULL" if flush else "PRAGMA synchronous = NORMAL")
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:  # SQLite itself takes back what found no room
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and getattr(error, "sqlite_errorcode", 0) in _NO_ROOM:
                    raise QuotaExceeded(
                        f"No room left on the disk of {self._path}: {error}.",
                        "Free some space there, or set the peer's home to a folder on a larger disk.",
                    ) from error
                raise

    def check(self, body: RoundMessage) -> None:
        """Raise Contradiction if a signature of ours says otherwise than `body`."""
        with self._mutex:
            _refuse_contradiction(self._db, body)

    def remember(self, body: RoundMessage, signature: bytes) -> None:
        """Write down an own signature, before it is sent. Of attestations that differ in their mask the widest is kept.

        Raises:
            Contradiction: a signature of ours says otherwise.
        """
        kind, subject, says, mask = _entry(body)
        with self._transaction(flush=True) as db:
            _refuse_contradiction(db, body)
            db.execute(
                "INSERT OR REPLACE INTO signed VALUES (?, ?, ?, ?, ?, ?, ?)",
                (kind, body.round, body.inputs, subject, says, f"{mask:x}", signature),
            )

    def messages(self, round_: int, inputs: Digest) -> list[tuple[RoundMessage, bytes]]:
        """Own messages of one round with their signatures."""
        with self._mutex:
            rows = self._db.execute(
                "SELECT kind, subject, says, mask, signature FROM signed WHERE round = ? AND inputs = ? ORDER BY rowid",
                (round_, inputs),
            ).fetchall()
        return [
            (_body(kind, round_, inputs, subject, says, int(mask, 16)), signature)
            for kind, subject, says, mask, signature in rows
        ]

    def forget_before(self, round_: int) -> None:
        """Drop signatures of rounds before this one: final rounds cannot be signed for any more."""
        with self._transaction() as db:
            db.execute("DELETE FROM signed WHERE round < ?", (round_,))

    def set_update(self, update: Update) -> None:
        """Write down the own update; its content is flushed already."""
        self._set_own("update", update.digest, update.base, update.weight, 0)

    def update(self) -> Update | None:
        """The last own update."""
        row = self._own("update")
        return Update(base=row[1], digest=row[0], weight=row[2]) if row else None

    def set_report(self, report: Report) -> None:
        """Write down the validation of a head."""
        self._set_own("report", report.head, b"", report.metric, int(report.flags))

    def report(self) -> Report | None:
        """The last validation of a head."""
        row = self._own("report")
        return Report(head=row[0], metric=row[2], flags=ReportFlag(row[3])) if row else None

    def set_best_metric(self, metric: int) -> None:
        """Write down the best own metric so far (fixed-point, 6 decimals), from which "improved" is judged."""
        self._set_own("best", b"", b"", metric, 0)

    def best_metric(self) -> int | None:
        """The best own metric so far."""
        row = self._own("best")
        return row[2] if row else None

    def _set_own(self, name: str, digest: bytes, base: bytes, number: int, extra: int) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO own VALUES (?, ?, ?, ?, ?)", (name, digest, base, number, extra))

    def _own(self, name: str) -> tuple[bytes, bytes, int, int] | None:
        with self._mutex:
            query = "SELECT digest, base, number, extra FROM own WHERE name = ?"
            row: tuple[bytes, bytes, int, int] | None = self._db.execute(query, (name,)).fetchone()
        return row

    def save(self, intent: str, nonce: int, raw: bytes) -> None:
        """Write down a signed transaction before it is sent. Earlier ones of the same intent and nonce stay, since each may
        get into a block; those of other nonces were refused, and go."""
        with self._transaction() as db:
            db.execute("DELETE FROM sent WHERE intent = ? AND nonce != ?", (intent, nonce))
            db.execute("INSERT OR IGNORE INTO sent (intent, nonce, raw) VALUES (?, ?, ?)", (intent, nonce, raw))

    def done(self, intent: str) -> None:
        """The transaction is mined, or replaced: forget it."""
        with self._transaction() as db:
            db.execute("DELETE FROM sent WHERE intent = ?", (intent,))

    def pending(self) -> list[JournaledTransaction]:
        """Transactions that were or may have been sent and of which no receipt was seen, by nonce; of one intent, the first
        one and its replacements in the order in which they were saved."""
        with self._mutex:
            rows = self._db.execute("SELECT intent, nonce, raw FROM sent ORDER BY nonce, number").fetchall()
        return [JournaledTransaction(*row) for row in rows]


def _entry(body: RoundMessage) -> tuple[str, str, str, int]:
    """(kind, what it is about, what it says of it, mask)."""
    if isinstance(body, Claim):
        return "claim", f"{body.excluded:x}/{body.slice}", body.digest.hex(), 0
    if isinstance(body, Attestation):
        says = " ".join(digest.hex() for digest in (body.merged, *body.slices))
        return "attestation", f"{body.excluded:x}", says, body.mask
    return "objection", f"{body.member}/{int(body.reason)}", str(body.chunk), 0


def _body(kind: str, round_: int, inputs: Digest, subject: str, says: str, mask: int) -> RoundMessage:
    if kind == "claim":
        excluded, slice_ = subject.split("/")
        return Claim(round_, inputs, int(excluded, 16), int(slice_), bytes.fromhex(says))
    if kind == "attestation":
        merged, *slices = (bytes.fromhex(text) for text in says.split(" "))
        return Attestation(round_, inputs, int(subject, 16), merged, tuple(slices), mask)
    member, reason = subject.split("/")
    return Objection(round_, inputs, int(member), Reason(int(reason)), int(says))


def _refuse_contradiction(db: sqlite3.Connection, body: RoundMessage) -> None:
    kind, subject, says, _ = _entry(body)
    row = db.execute(
        "SELECT says FROM signed WHERE kind = ? AND round = ? AND inputs = ? AND subject = ?",
        (kind, body.round, body.inputs, subject),
    ).fetchone()
    if row is not None and row[0] != says and kind != "objection":
        raise Contradiction(
            f"The journal holds another {kind} for round {body.round}: {row[0][:16]}… instead of {says[:16]}….",
            "Recomputing gave different bytes: check this machine's memory and numpy installation.",
        )
