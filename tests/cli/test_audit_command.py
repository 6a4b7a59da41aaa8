"""`swarmp2p audit` on a swarm with an embedded chain, as a user calls it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from click.testing import CliRunner, Result

from swarmp2p import SwarmPeer
from swarmp2p.cli import cli
from swarmp2p.content.unixfs import parse_cid
from swarmp2p.control.contract import deploy
from swarmp2p.control.manifest_file import load_manifest
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.errors import ConfigError
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.home import KEY_FILE
from swarmp2p.identity import load_key
from swarmp2p.testing.local_swarm import LOCAL_KNOBS, LocalSwarm, local_swarm
from tests.peer.test_swarm import Average

pytestmark = [  # py-libp2p leaves sockets and streams of an ended host to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIZE = 2 * CHUNK_SIZE // 4 - 64
ROUNDS = 2


@dataclass(frozen=True)
class Ended:
    """A swarm of two that has stopped; its chain still runs."""

    swarm: LocalSwarm

    def audit(self, *options: str, manifest: Path | None = None) -> Result:
        return CliRunner().invoke(cli, ["audit", str(manifest or self.swarm.manifest), *options])

    def deep(self, *options: str) -> Result:
        return self.audit("--deep", "--home", str(self.swarm.home("bob")), *options)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    async def take_part(swarm: LocalSwarm, name: str, number: float) -> None:
        learner = Average(number, SIZE)
        async with SwarmPeer.open(swarm.manifest, learner=learner, weight=10, **swarm.options(name)) as peer:
            async for _ in peer.rounds():
                pass

    async def both(swarm: LocalSwarm) -> None:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take_part, swarm, "alice", 1.0)
                nursery.start_soon(take_part, swarm, "bob", 4.0)

    knobs = replace(LOCAL_KNOBS, keep_rounds=ROUNDS)
    folder = tmp_path_factory.mktemp("swarm")
    start = {"mean": np.zeros(SIZE, np.float32)}
    with local_swarm(start, ["alice", "bob"], rounds=ROUNDS, folder=folder, knobs=knobs) as swarm:
        trio.run(both, swarm)
        yield Ended(swarm)


def test_an_honest_run_fits(ended: Ended) -> None:
    result = ended.audit()
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].startswith("Everything fits: the head bafy")


def test_a_deep_audit_makes_every_merge_again(ended: Ended) -> None:
    result = ended.deep("--json")
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.output)
    assert report["fits"]
    assert [each["round"] for each in report["rounds"]] == [1, 2]
    for each in report["rounds"]:
        assert each["content"] == {
            "merged_held": True,
            "recomputed_slices": [0, 1],
            "recomputed": True,
            "updates_missing": [],
            "earlier_models_missing": [],
        }
        assert len(each["signers"]) == 2
    assert "merged again to the same CID" in ended.deep().output


def test_a_swapped_block_is_named(ended: Ended) -> None:
    merged = json.loads(ended.audit("--json").output)["rounds"][1]["merged"]
    path = ended.swarm.home("bob") / "content" / "objects" / parse_cid(merged).hex()
    good = path.read_bytes()
    path.write_bytes(good[:CHUNK_SIZE] + b"!" + good[CHUNK_SIZE + 1 :])
    try:
        assert ended.audit().exit_code == 0
        result = ended.deep()
        assert result.exit_code == 3
        last = result.output.splitlines()[-1]
        assert last.startswith(f"Does not fit: round 2: chunk 1 of the merged model {merged}: expected 0x")
        report = json.loads(ended.deep("--json").output)
        assert (report["fits"], report["finding"]["round"]) == (False, 2)
        assert [each["round"] for each in report["rounds"] if each["content"]] == [1]
    finally:
        path.write_bytes(good)


def test_another_contract_is_named(ended: Ended, tmp_path: Path) -> None:
    """A swarm.toml that leads to somebody else's contract on the same chain."""
    manifest = load_manifest(ended.swarm.manifest)
    founder = load_key(ended.swarm.home("alice") / KEY_FILE)

    async def found_another() -> bytes:
        async with RpcClient(manifest.rpc) as rpc:
            return await deploy(rpc, founder.secret, replace(manifest.config(), manifest=bytes(range(32))))

    other = trio.run(found_another)
    changed = tmp_path / "swarm.toml"
    text = ended.swarm.manifest.read_text()
    changed.write_text(text.replace(manifest.contract.hex(), other.hex()))
    result = ended.audit(manifest=changed)
    assert result.exit_code == 3
    assert result.output.splitlines() == [
        "Does not fit: the swarm: manifest's digest in the contract: "
        f"expected 0x{manifest.digest.hex()}, found 0x{bytes(range(32)).hex()}."
    ]
    deep = ended.audit("--deep", "--home", str(ended.swarm.home("bob")), manifest=changed)
    assert deep.output == result.output


def test_a_home_without_content_is_a_mistake(ended: Ended, tmp_path: Path) -> None:
    result = ended.audit("--deep", "--home", str(tmp_path))
    assert isinstance(result.exception, ConfigError)


def test_the_meter_of_the_same_run(ended: Ended) -> None:
    """Receipts over the real network: each of the two had the other's updates, and bob the genesis from alice."""
    for name in ("alice", "bob"):
        home = str(ended.swarm.home(name))
        result = CliRunner().invoke(cli, ["meter", str(ended.swarm.manifest), "--home", home, "--json"])
        assert result.exit_code == 0, result.output
        totals = json.loads(result.output)["totals"]
        assert [(each["submitted"], each["samples"]) for each in totals] == [(ROUNDS, 10 * ROUNDS)] * 2
        served = {each["address"]: each["bytes_served"] for each in totals}
        alice = "0x" + load_key(ended.swarm.home("alice") / KEY_FILE).address.hex()
        assert served[alice] >= 2 * SIZE * 4
        assert all(served.values())
