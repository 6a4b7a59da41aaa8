"""All founders sign the same manifest, or nothing is founded."""

from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from swarmp2p.control.agreement import Agreement, agree, missing_founders, require_agreement, text_of, with_agreements
from swarmp2p.core.errors import AgreementMissing
from swarmp2p.identity import Key
from swarmp2p.testing.local_swarm import local_draft

KEYS = [Key.from_seed(f"founder {i}") for i in range(3)]
DRAFT = local_draft(tuple(key.address for key in KEYS), 3, 5, ("http://127.0.0.1:1",)).with_genesis(
    b"\x01" * 32, 1000, b"\x02" * 32
)


def test_every_founder_has_to_sign() -> None:
    manifest = with_agreements(DRAFT, [agree(DRAFT, KEYS[2]), agree(DRAFT, KEYS[0])])
    assert missing_founders(manifest) == (KEYS[1].address,)
    with pytest.raises(AgreementMissing, match=f"founder 0x{KEYS[1].address.hex()}"):
        require_agreement(manifest)
    require_agreement(with_agreements(manifest, [agree(DRAFT, KEYS[1])]))


def test_a_wallet_can_sign_it() -> None:
    signed = Account.sign_message(encode_defunct(text=text_of(DRAFT)), KEYS[0].secret)
    assert bytes(signed.signature) == agree(DRAFT, KEYS[0]).signature


def test_an_agreement_holds_for_its_manifest_alone() -> None:
    other = replace(DRAFT, grace=DRAFT.grace + 1)
    with pytest.raises(AgreementMissing, match="agreed to the manifest"):
        with_agreements(DRAFT, [agree(other, KEYS[0])])
    # The signature itself says so too, whatever the file claims.
    bent = replace(agree(other, KEYS[0]), manifest=str(DRAFT.cid))
    with pytest.raises(AgreementMissing, match="not signed by a founder"):
        with_agreements(DRAFT, [bent])
    moved = replace(with_agreements(DRAFT, [agree(DRAFT, key) for key in KEYS]), grace=other.grace)
    assert missing_founders(moved) == DRAFT.founders


def test_strangers_sign_in_vain() -> None:
    with pytest.raises(AgreementMissing, match="not signed by a founder"):
        with_agreements(DRAFT, [agree(DRAFT, Key.from_seed("stranger"))])


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    agreement = agree(DRAFT, KEYS[0])
    agreement.save(path)
    assert Agreement.load(path) == agreement
    for text in ("", "[]", '{"version": 2}', '{"version": 1, "manifest": "x", "signature": "0xzz"}', "[" * 5000):
        path.write_text(text)
        with pytest.raises(AgreementMissing):
            Agreement.load(path)
    with pytest.raises(AgreementMissing, match="cannot be read"):
        Agreement.load(tmp_path / "none")
