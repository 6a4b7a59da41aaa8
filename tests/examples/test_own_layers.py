"""Layers of one's own: each passes its public check, and a swarm runs on all of them at once."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import trio

from examples.own_layers.__main__ import parse
from examples.own_layers.content_store import SqliteStore
from examples.own_layers.layers import open_chain
from examples.own_layers.policy import SquareRootShares, compiled
from examples.own_layers.swarm import PER_ROUND, Options, Outcome, run
from swarmp2p.content.unixfs import hash_bytes
from swarmp2p.control.abi_codec import artefact, parse_artefact
from swarmp2p.control.faucet import fund
from swarmp2p.control.rpc import RpcClient
from swarmp2p.control.treasury import deploy_policy
from swarmp2p.core.errors import ConfigError, ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.identity import Key
from swarmp2p.testing.content_checks import check_content_store
from swarmp2p.testing.reward_checks import check_policy_contract, check_reward_policy


def check_outcome(outcome: Outcome, options: Options) -> None:
    """One head, and every unit where the twin said that it would be."""
    assert len(outcome.heads) == options.peers + 1
    assert len(set(outcome.heads.values())) == 1, outcome.heads
    foretold = [each.pay for each in outcome.foretold.rounds]
    assert not any(each.settled for each in outcome.foretold.rounds)
    assert [each.pay for each in outcome.statement.rounds] == foretold
    assert all(each.settled for each in outcome.statement.rounds)
    assert len(foretold) == options.rounds
    for each in outcome.earnings:
        assert each.paid == each.foretold > 0
    assert sum(each.paid for each in outcome.earnings) == sum(pay.paid for pay in foretold)


def test_the_store_passes_the_public_check(tmp_path: Path) -> None:
    numbers = count()
    check_content_store(lambda: SqliteStore(tmp_path / str(next(numbers))))


def test_the_store_is_there_after_a_restart_and_forgets_what_has_rotten(tmp_path: Path) -> None:
    data = bytes(CHUNK_SIZE) + b"rest"
    hashed = hash_bytes(data)
    store = SqliteStore(tmp_path)
    assert store.put(data) == hashed
    store.assemble("round-1", 5).write_chunk(0, b"other")
    store.close()
    store = SqliteStore(tmp_path)
    assert store.read(hashed.digest) == data
    assert store.assemblies() == {"round-1"}
    with store.transaction() as database:
        database.execute("UPDATE chunk SET data = ? WHERE number = 1", (b"rust",))
    with pytest.raises(ContentCorrupt):
        store.read(hashed.digest)
    assert not store.has(hashed.digest)
    part = store.begin(hashed.digest, hashed.size, hashed.leaf_list)
    assert part.missing() == [1]
    part.write_chunk(1, b"rest")
    part.finish(hashed.digest)
    assert store.read(hashed.digest) == data
    with pytest.raises(ContentUnavailable):
        store.read_chunk(hash_bytes(b"nothing").digest, 0)
    store.close()


def test_the_policy_passes_the_public_check() -> None:
    check_reward_policy(SquareRootShares())


async def test_the_policys_contract_and_its_twin_agree(tmp_path: Path) -> None:
    key = Key.generate()
    async with open_chain("embedded", tmp_path) as url, RpcClient([url]) as rpc:
        await fund(rpc, key.address)
        address = await deploy_policy(rpc, key.secret, compiled())
        with trio.fail_after(60):
            await check_policy_contract(rpc, address, SquareRootShares())
        with pytest.raises(ConfigError, match="no reward policy"):
            await deploy_policy(rpc, key.secret, artefact("SwarmToken"))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"abi": []}', '{"abi": [1], "bytecode": "0x"}', '{"abi": [], "bytecode": {}}']
)
def test_what_is_no_compiled_contract_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no compiled contract"):
        parse_artefact(text)


async def test_a_swarm_on_layers_of_ones_own(tmp_path: Path) -> None:
    options = Options(policy="own", content="own", network="memory", rounds=2)
    with trio.fail_after(120):
        outcome = await run(options, tmp_path)
    check_outcome(outcome, options)
    assert [each.paid for each in outcome.earnings] == [2 * part * PER_ROUND // 21 for part in (2, 3, 6, 10)]
    assert (tmp_path / "observatory 1" / "own-content" / "content.sqlite").exists()
    assert not (tmp_path / "observatory 1" / "content").exists(), "the embedded store was not there"


def test_the_command_runs_on_the_default_layers() -> None:
    command = [sys.executable, "-m", "examples.own_layers", "--peers", "3", "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    heads = [line.rpartition(" ")[2] for line in done.stdout.splitlines() if line.startswith("head of ")]
    assert len(heads) == 4
    assert len(set(heads)) == 1
    table = [line.split()[-2:] for line in done.stdout.splitlines()[-3:]]
    assert table == [[str(2 * PER_ROUND // 3)] * 2] * 3


@pytest.mark.parametrize("arguments", [["--chain", "bitcoin"], ["--content", "cloud"], ["--peers", "9"]])
def test_wrong_options_are_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(arguments)
    assert exit_.value.code == 2
    assert arguments[1] in capsys.readouterr().err
