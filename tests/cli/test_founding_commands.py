"""What founders and invitees do at the command line: terms, agreement, waiting, papers."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from swarmp2p.cli import cli
from swarmp2p.content.unixfs import cid, hash_file
from swarmp2p.control.manifest_file import load_manifest
from swarmp2p.core.errors import BallotRefused, ConfigError, SwarmWaiting
from swarmp2p.home import CONTENT_FOLDER, KEY_FILE
from swarmp2p.identity import Key, load_key, save_key
from swarmp2p.merge.tensors import read_weights
from swarmp2p.testing.local_swarm import chain_process
from tests.control.test_manifest import MINIMAL

TERMS = "Data never leaves a hospital.\n"
NAMES = ("alice", "bob")


@dataclass(frozen=True)
class Founders:
    """Two founders, of whom bob has agreed and alice has deployed."""

    folder: Path
    agreed: Result

    @property
    def manifest(self) -> str:
        return str(self.folder / "swarm.toml")

    @property
    def terms(self) -> Path:
        return self.folder / "terms.md"

    def home(self, name: str) -> str:
        return str(self.folder / name)


def run(*arguments: str, fails: bool = False) -> Result:
    result = CliRunner().invoke(cli, list(arguments))
    assert (result.exit_code != 0) == fails, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def founders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Founders]:
    import numpy as np

    from swarmp2p.merge.tensors import write_weights

    folder = tmp_path_factory.mktemp("founders")
    (folder / "terms.md").write_text(TERMS)
    write_weights({"w": np.zeros(8, np.float32)}, folder / "genesis.safetensors")
    for name in NAMES:
        save_key(Key.from_seed(name), folder / name / KEY_FILE)
    addresses = ", ".join(f'"0x{load_key(folder / name / KEY_FILE).address.hex()}"' for name in NAMES)
    with chain_process(folder / "chain") as url:
        draft = MINIMAL.replace('purpose = "learn to read digits"', 'purpose_file = "terms.md"')
        draft = draft.replace("http://127.0.0.1:8545", url).replace('["0xabab', '["0xcdcd')
        lines = [f"founders = [{addresses}]" if line.startswith("founders") else line for line in draft.splitlines()]
        (folder / "draft.toml").write_text("\n".join(lines))
        agreement = str(folder / "bob.json")
        agreed = run("agree", str(folder / "draft.toml"), "--home", str(folder / "bob"), "--out", agreement, "--yes")
        run("found", str(folder / "draft.toml"), "--home", str(folder / "alice"), "--agreement", agreement)
        yield Founders(folder, agreed)


def test_terms_in_a_document_are_the_purpose(founders: Founders) -> None:
    hashed = hash_file(founders.terms)
    manifest = load_manifest(Path(founders.manifest))
    assert manifest.purpose == str(cid(hashed.digest, hashed.size))
    assert manifest.config().purpose == hashed.digest == hashlib.sha256(TERMS.encode()).digest()
    assert f"purpose     {manifest.purpose}" in founders.agreed.output
    assert f"The purpose is the document {founders.terms}: read it" in founders.agreed.output
    for name in NAMES:
        kept = founders.folder / name / CONTENT_FOLDER / "objects" / hashed.digest.hex()
        assert kept.read_text() == TERMS


def test_the_terms_are_shown_and_the_document_compared(founders: Founders, tmp_path: Path) -> None:
    shown = run("terms", founders.manifest, "--file", str(founders.terms)).output
    assert "Signed by all 2 founders.\n" in shown
    assert "is what this manifest says.\n" in shown
    assert shown.endswith("terms.md is the document of the terms.\n")
    bent = tmp_path / "bent.md"
    bent.write_text(TERMS + "But for research.\n")
    result = run("terms", founders.manifest, "--file", str(bent), fails=True)
    assert result.exit_code == 3
    assert "bent.md is NOT the document of the terms" in result.output
    missing = run("terms", founders.manifest, "--file", str(tmp_path / "none"), fails=True)
    assert isinstance(missing.exception, ConfigError)


def test_the_home_may_be_named_in_the_environment(founders: Founders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARMP2P_HOME", founders.home("bob"))
    assert run("key", "show", "--address").output == f"0x{Key.from_seed('bob').address.hex()}\n"
    assert run("key", "show", "--address", "--home", founders.home("alice")).output != run("key", "show").output


def test_waiting_for_what_is_so_ends_at_once(founders: Founders) -> None:
    options = ["--wait-merged", "+0", "--wait-members", "0", "--timeout", "0", "--json"]
    assert json.loads(run("status", founders.manifest, *options).output)["merged_rounds"] == 0


@pytest.mark.parametrize("wanted", [("--wait-merged", "1"), ("--wait-members", "3"), ("--wait-stopped",)])
def test_waiting_in_vain_says_how_far_it_is(founders: Founders, wanted: tuple[str, ...]) -> None:
    error = run("status", founders.manifest, *wanted, "--timeout", "0.2", fails=True).exception
    assert isinstance(error, SwarmWaiting)
    assert str(error).startswith("Not yet, after 0.2 s: 0 rounds are merged, 0 members active, phase collecting.")


@pytest.mark.parametrize("rounds", ["", "+", "-1", "two", "+4294967296"])
def test_what_is_no_number_of_rounds(founders: Founders, rounds: str) -> None:
    result = run("status", founders.manifest, f"--wait-merged={rounds}", fails=True)
    assert result.exit_code == 2
    assert "write 7 for seven in all, +2 for two more" in " ".join(result.output.split())


def test_reopening_is_for_swarms_that_have_stopped(founders: Founders) -> None:
    error = run("vote", "reopen", founders.manifest, "+2", "--home", founders.home("bob"), fails=True).exception
    assert isinstance(error, BallotRefused)
    assert run("vote", "reopen", founders.manifest, "+0", fails=True).exit_code == 2


def test_papers_are_waited_for(founders: Founders, tmp_path: Path) -> None:
    home = ["--home", founders.home("bob")]
    error = run("vote", "list", founders.manifest, "--wait", "0.3", *home, fails=True).exception
    assert isinstance(error, SwarmWaiting)
    paper = tmp_path / "carol.json"
    carol = f"0x{Key.from_seed('carol').address.hex()}"
    options = ["--max-weight", "5", "--out", str(paper), "--home", founders.home("alice")]
    said = run("invite", founders.manifest, carol, *options).output
    assert f"{paper}, invite-" in said
    papers = founders.folder / "bob" / "papers"
    papers.mkdir(exist_ok=True)
    (papers / f"{said.split(', ')[1].partition(':')[0]}.json").write_text(paper.read_text())
    waiting = run("vote", "list", founders.manifest, "--wait", "5", *home).output
    assert f": invite {carol} with a weight of at most 5, a member until 20" in waiting
    assert f"; signed by 0x{Key.from_seed('alice').address.hex()}\n" in waiting
    told = waiting.partition(": ")[2].partition("; signed by")[0]
    assert " UTC, for a stake of 0; good until 20" in told
    said = run("vote", "sign", founders.manifest, waiting.partition(":")[0], *home).output
    assert said == f"Signed: {told}; 2 signature(s) now.\n"
    assert run("vote", "list", founders.manifest, "--wait", "0", *home, fails=True).exit_code == 1


def test_a_merge_rule_is_written_in_full_and_agreed_on(founders: Founders, tmp_path: Path) -> None:
    """Both founders derive the same first model, with the rule's state, from the file that they have."""
    merge = '[merge]\nrule = "fedadam;wire=int8;rate=0.1"\napply = "elastic;alpha=0.25"\n'
    draft = (founders.folder / "draft.toml").read_text()
    (tmp_path / "terms.md").write_text(TERMS)
    (tmp_path / "genesis.safetensors").write_bytes((founders.folder / "genesis.safetensors").read_bytes())
    (tmp_path / "draft.toml").write_text(f"{draft}\n{merge}")
    agreement = str(tmp_path / "bob.json")
    shown = run(
        "agree", str(tmp_path / "draft.toml"), "--home", founders.home("bob"), "--out", agreement, "--yes"
    ).output
    run("found", str(tmp_path / "draft.toml"), "--home", founders.home("alice"), "--agreement", agreement)
    manifest = load_manifest(tmp_path / "swarm.toml")
    rule = "fedadam/1;beta1=0.9;beta2=0.99;rate=0.1;tau=0.001;wire=int8"
    assert (manifest.rule, manifest.apply) == (rule, "elastic/1;alpha=0.25")
    assert f"merged by {rule}\n" in shown
    assert f"updates     {manifest.update_size:,} bytes each" in shown
    assert "applied     by elastic/1;alpha=0.25" in shown
    for name in NAMES:
        kept = read_weights(founders.folder / name / CONTENT_FOLDER / "objects" / manifest.genesis.hex())
        assert set(kept) == {"w", "w:m", "w:v"}
    other = ["--home", founders.home("alice"), "--out", str(tmp_path / "other.toml")]
    for rule, problem in (("fedadam;rate=11", "rate=11 is not possible"), ("krum;f=3", "needs 9 updates")):
        (tmp_path / "bad.toml").write_text(f'{draft}\n[merge]\nrule = "{rule}"\n')
        error = run("found", str(tmp_path / "bad.toml"), *other, fails=True).exception
        assert isinstance(error, ConfigError)
        assert problem in str(error)
