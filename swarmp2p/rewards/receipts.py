"""Receipts of served content: "I got so many bytes from this member in this round", signed by who received.

A receipt is a member's word about another one. It cannot be forged, and it does not prove that anything was sent: two
members can sign for each other what they like. Nothing is paid by it.
"""

import sqlite3
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from swarmp2p.core.errors import ConfigError, MessageRefused
from swarmp2p.core.messages import Receipt
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import Address, Digest
from swarmp2p.identity import Key, keccak256, recover

_SCHEMA = """
CREATE TABLE IF NOT EXISTS receipts (
    round INTEGER, server BLOB, client BLOB, size TEXT, signature BLOB, PRIMARY KEY (round, server, client)
);
"""


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt with who signed it. Whoever makes one has checked the signature."""

    body: Receipt
    client: Address
    signature: bytes


def sign_receipt(body: Receipt, key: Key, domain: Digest) -> SignedReceipt:
    """A receipt by this key's member. `domain` is the swarm's EIP-712 domain separator."""
    return SignedReceipt(body, key.address, key.sign(signing_digest(body, domain, keccak256)))


def verify_receipt(body: Receipt, signature: bytes, domain: Digest, members: Collection[Address]) -> SignedReceipt:
    """The receipt, if it is one by a member about another member of this swarm.

    Raises:
        MessageRefused: saying why not.
    """
    if not (0 < body.round < 2**32 and 0 < body.size < 2**64):
        raise MessageRefused("A receipt's round or size is out of range.")
    client = recover(signing_digest(body, domain, keccak256), signature)
    if client is None or client not in members:
        raise MessageRefused("A receipt is not signed by a member of this swarm.")
    if body.server not in members or body.server == client:
        raise MessageRefused("A receipt is not about another member of this swarm.")
    return SignedReceipt(body, client, signature)


class ReceiptStore:
    """Receipts in an SQLite file: of each round, server and client the largest. Methods block; any thread may call them.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._mutex = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            # A receipt that a power cut loses is no harm.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ConfigError(f"The receipts in {path} cannot be used: {error}.", "Move the file away.") from None

    def close(self) -> None:
        """Close the file."""
        with self._mutex:
            self._db.close()

    def add(self, receipt: SignedReceipt) -> bool:
        """Keep a receipt that was checked. False if as large a one is here."""
        return self.add_all([receipt]) == 1

    def add_all(self, receipts: Iterable[SignedReceipt]) -> int:
        """Keep receipts that were checked, in one write. How many were larger than what is here."""
        with self._mutex, self._db:
            self._db.execute("BEGIN")
            return sum(self._add(receipt) for receipt in receipts)

    def _add(self, receipt: SignedReceipt) -> bool:
        body = receipt.body
        key = (body.round, body.server, receipt.client)
        row = self._db.execute(
            "SELECT size FROM receipts WHERE round = ? AND server = ? AND client = ?", key
        ).fetchone()
        if row is not None and int(row[0]) >= body.size:
            return False
        self._db.execute(
            "INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?, ?)", (*key, str(body.size), receipt.signature)
        )
        return True

    def rows(self) -> list[tuple[Receipt, bytes]]:
        """All receipts with their signatures, by round, server and client."""
        with self._mutex:
            found = self._db.execute(
                "SELECT round, server, size, signature FROM receipts ORDER BY round, server, client"
            ).fetchall()
        return [(Receipt(round_, server, int(size)), signature) for round_, server, size, signature in found]


def read_receipts(path: Path, domain: Digest, members: Collection[Address]) -> list[SignedReceipt]:
    """The receipts of a file, each checked again; those that are not of this swarm are left out. No file: none.

    Raises:
        ConfigError: it is no file of receipts.
    """
    if not path.exists():
        return []
    store = ReceiptStore(path)
    try:
        rows = store.rows()
    finally:
        store.close()
    found: list[SignedReceipt] = []
    for body, signature in rows:
        try:
            found.append(verify_receipt(body, signature, domain, members))
        except MessageRefused:
            continue
    return found
