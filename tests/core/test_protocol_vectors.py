"""The shared vectors are what the Python twins give; the contracts' tests hold the Solidity side to the same files."""

import json

import pytest

from swarmp2p.identity import recover
from tests.core.protocol_vectors import FILES, FOLDER


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_current(name: str) -> None:
    assert json.loads((FOLDER / f"{name}.json").read_text()) == FILES[name]()


def test_signatures_are_the_signers() -> None:
    content = json.loads((FOLDER / "typed.json").read_text())
    signer = bytes.fromhex(content["signer"][2:])
    for name in ("attestation", "abort", "claim", "objection", "invite", "vote", "receipt"):
        message = content[name]
        assert recover(bytes.fromhex(message["digest"][2:]), bytes.fromhex(message["signature"][2:])) == signer


def test_signatures_that_must_not_count() -> None:
    content = json.loads((FOLDER / "invalid" / "typed.json").read_text())
    signer = bytes.fromhex(content["signer"][2:])

    def signer_of(case: dict[str, str]) -> bytes | None:
        return recover(bytes.fromhex(case["digest"][2:]), bytes.fromhex(case["signature"][2:]))

    assert signer_of(content["valid"]) == signer
    assert [case["why"] for case in content["cases"] if signer_of(case) == signer] == []
