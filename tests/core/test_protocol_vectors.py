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
    for name in ("attestation", "abort", "claim", "objection", "invite", "vote"):
        message = content[name]
        assert recover(bytes.fromhex(message["digest"][2:]), bytes.fromhex(message["signature"][2:])) == signer
