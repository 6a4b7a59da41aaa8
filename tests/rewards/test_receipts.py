"""Receipts: who may sign what, and what is kept."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.core.errors import ConfigError, MessageRefused
from swarmp2p.core.messages import Receipt
from swarmp2p.core.typed import Domain, domain_separator
from swarmp2p.identity import Key, keccak256
from swarmp2p.network.wire import MAX_SIZE, decode_receipts, encode_receipts
from swarmp2p.rewards.receipts import ReceiptStore, read_receipts, sign_receipt, verify_receipt

ANN, BOB, EVE = (Key.from_seed(name) for name in ("ann", "bob", "eve"))
MEMBERS = {ANN.address, BOB.address}
DOMAIN = domain_separator(Domain(1, b"c" * 20, b"s" * 32), keccak256)
ELSEWHERE = domain_separator(Domain(2, b"c" * 20, b"s" * 32), keccak256)
GOOD = Receipt(3, BOB.address, 1000)


def test_a_receipt_is_its_signers_word_about_another() -> None:
    signed = sign_receipt(GOOD, ANN, DOMAIN)
    assert verify_receipt(GOOD, signed.signature, DOMAIN, MEMBERS) == signed
    assert signed.client == ANN.address
    refused = [
        (GOOD, sign_receipt(GOOD, EVE, DOMAIN), "not signed by a member"),
        (GOOD, sign_receipt(GOOD, ANN, ELSEWHERE), "not signed by a member"),
        (replace(GOOD, size=1001), signed, "not signed by a member"),
        (replace(GOOD, round=4), signed, "not signed by a member"),
        (replace(GOOD, server=ANN.address), signed, "not signed by a member"),
        (GOOD, sign_receipt(GOOD, BOB, DOMAIN), "not about another member"),
        (GOOD, replace(signed, signature=signed.signature[:64]), "not signed by a member"),
    ]
    for about in (replace(GOOD, server=EVE.address), replace(GOOD, server=ANN.address)):
        refused.append((about, sign_receipt(about, ANN, DOMAIN), "not about another member"))
    for about in (replace(GOOD, size=0), replace(GOOD, round=0)):
        refused.append((about, sign_receipt(about, ANN, DOMAIN), "out of range"))
    for body, proof, why in refused:
        with pytest.raises(MessageRefused, match=why):
            verify_receipt(body, proof.signature, DOMAIN, MEMBERS)


def test_the_largest_of_a_round_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "receipts.sqlite"
    assert read_receipts(path, DOMAIN, MEMBERS) == []
    store = ReceiptStore(path)
    sizes = {1000: True, 999: False, 1001: True, MAX_SIZE: True}
    for size, kept in sizes.items():
        assert store.add(sign_receipt(replace(GOOD, size=size), ANN, DOMAIN)) is kept
    assert store.add(sign_receipt(replace(GOOD, round=4), ANN, DOMAIN))
    assert store.add(sign_receipt(replace(GOOD, server=ANN.address), BOB, DOMAIN))
    assert store.add(sign_receipt(GOOD, EVE, DOMAIN))  # whoever adds has checked; whoever reads checks again
    store.close()
    found = read_receipts(path, DOMAIN, MEMBERS)
    assert {(each.body.round, each.body.server, each.client, each.body.size) for each in found} == {
        (3, BOB.address, ANN.address, MAX_SIZE),
        (4, BOB.address, ANN.address, 1000),
        (3, ANN.address, BOB.address, 1000),
    }
    assert read_receipts(path, ELSEWHERE, MEMBERS) == []


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "receipts.sqlite"
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 40)
    with pytest.raises(ConfigError, match="cannot be used"):
        read_receipts(path, DOMAIN, MEMBERS)
    path.unlink()
    sqlite3.connect(path).close()
    assert read_receipts(path, DOMAIN, MEMBERS) == []


@given(st.integers(0, 2**32 - 1), st.binary(min_size=20, max_size=20), st.integers(0, MAX_SIZE), st.binary())
def test_receipts_on_the_wire(round_: int, server: bytes, size: int, rubbish: bytes) -> None:
    body = Receipt(round_, server, size)
    data = encode_receipts([(body, b"x" * 65)])
    assert decode_receipts(data) == [(body, b"x" * 65)]
    for other in (rubbish, data[:-1], data + b"\0", encode_receipts([(body, b"x" * 64)])):
        if other != data:
            with pytest.raises(MessageRefused):
                decode_receipts(other)
