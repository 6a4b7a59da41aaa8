"""What of a geth network can be tested without geth: its files, and what is said when something is wrong."""

import json
import os
import socket
import stat
from functools import partial
from pathlib import Path

import pytest
import trio
from eth_account import Account

from swarmp2p.control import geth as module
from swarmp2p.control.faucet import ENOUGH, fund, transfer
from swarmp2p.control.geth import find_geth, run_geth
from swarmp2p.control.geth_folder import PURSE, NetworkFolder, clique_genesis, open_network_folder
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.errors import ChainUnreachable, ConfigError, PortInUse, TransactionFailed
from swarmp2p.identity import Key, load_key
from tests.control.swarm_on_chain import chain

CLIQUE = "echo 'Version: 1.13.15-stable'"


def script(path: Path, version: str = CLIQUE, init: str = "true", run: str = "true") -> Path:
    """A program that takes geth's commands."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\ncase $1 in\nversion) {version} ;;\ninit) {init} ;;\n*) {run} ;;\nesac\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _no_geth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the PATH's geth nor this checkout's."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin:/usr/bin")
    monkeypatch.setattr(module, "_OWN", str(tmp_path / "own" / "geth"))


# ---- finding geth


def test_no_geth() -> None:
    with pytest.raises(ConfigError, match="There is no geth") as caught:
        find_geth()
    assert "tools/geth" in caught.value.mend


def test_the_given_geth_does_not_exist(tmp_path: Path) -> None:
    script(tmp_path / "own" / "geth")
    with pytest.raises(ConfigError, match="nowhere/geth cannot be run"):
        find_geth(tmp_path / "nowhere" / "geth")


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("echo 'Version: 1.16.2-stable'", r"geth 1\.16, which does not make blocks by Clique"),
        ("echo 'Version: 1.14.0-stable'", r"geth 1\.14"),
        ("echo hello", "does not tell its version"),
    ],
)
def test_a_geth_that_will_not_do(tmp_path: Path, version: str, reason: str) -> None:
    given = script(tmp_path / "given", version)
    with pytest.raises(ConfigError, match=reason) as caught:
        find_geth(given)
    assert "1.13.15" in caught.value.mend


def test_the_paths_geth_goes_before_the_checkouts_unless_it_is_too_new(tmp_path: Path) -> None:
    own = script(tmp_path / "own" / "geth")
    assert find_geth() == own
    found = script(tmp_path / "path" / "geth")
    assert find_geth() == found
    script(found, "echo 'Version: 1.17.0-stable'")
    assert find_geth() == own


# ---- genesis and folder


def test_genesis() -> None:
    signers = [bytes([9]) * 20, bytes([1]) * 20, bytes([5]) * 20]
    genesis = clique_genesis(77, 2, signers, {b"\xaa" * 20: 10**20})
    extra = bytes.fromhex(genesis["extraData"][2:])
    assert extra[:32] == bytes(32)
    assert extra[32:-65] == b"".join(sorted(signers))
    assert extra[-65:] == bytes(65)
    assert genesis["config"]["chainId"] == 77
    assert genesis["config"]["clique"] == {"period": 2, "epoch": 30_000}
    forks = {name: block for name, block in genesis["config"].items() if name.endswith("Block")}
    assert forks["londonBlock"] == 0
    assert set(forks.values()) == {0}
    assert not any(name.endswith("Time") for name in genesis["config"]), "Clique ends with London"
    assert genesis["alloc"] == {"0x" + "aa" * 20: {"balance": hex(10**20)}}


@pytest.mark.parametrize("signers", [[], [b"\x01" * 20, b"\x01" * 20]])
def test_impossible_signers(signers: list[bytes]) -> None:
    with pytest.raises(ConfigError):
        clique_genesis(77, 1, signers, {})


def test_a_folder_keeps_its_network(tmp_path: Path) -> None:
    folder = tmp_path / "chain"
    made = open_network_folder(folder, validators=3, rpc_nodes=1, chain_id=77)
    genesis = json.loads(made.genesis.read_text())
    assert genesis["config"]["chainId"] == 77
    assert genesis["alloc"] == {"0x" + load_key(made.purse).address.hex(): {"balance": hex(PURSE)}}
    signers = sorted(node.signer for node in made.validators if node.signer)
    assert len(signers) == 3
    assert bytes.fromhex(genesis["extraData"][2:])[32:-65] == b"".join(signers)
    assert open_network_folder(folder, validators=3, rpc_nodes=1) == made
    more = open_network_folder(folder, validators=3, rpc_nodes=2, chain_id=77)
    assert more.rpc_nodes[0] == made.rpc_nodes[0]
    assert json.loads(made.genesis.read_text()) == genesis
    for file in folder.rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, f"others can read {file}"


def test_keys_are_in_geths_form(tmp_path: Path) -> None:
    network = open_network_folder(tmp_path, validators=1)
    (node,) = network.validators
    (keystore,) = node.keystore.iterdir()
    secret = Account.decrypt(json.loads(keystore.read_text()), network.password.read_text())
    assert Key(bytes(secret)).address == node.signer
    assert len(node.node_key.read_text().strip()) == 64
    enode = node.enode(30303)
    assert enode.startswith("enode://")
    assert enode.endswith("@127.0.0.1:30303?discport=0")
    assert len(enode.removeprefix("enode://").split("@")[0]) == 128


@pytest.mark.parametrize(
    "other", [{"validators": 4}, {"validators": 3, "chain_id": 78}, {"validators": 3, "period": 2}]
)
def test_another_network_is_not_made_of_a_kept_one(tmp_path: Path, other: dict[str, int]) -> None:
    open_network_folder(tmp_path, validators=3, chain_id=77)
    with pytest.raises(ConfigError, match="keeps another network: 3 validators, chain 77, 1 s"):
        open_network_folder(tmp_path, **other)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"chain_id": "x", "validators": 1, "period": 1}'])
def test_a_file_that_describes_no_network(tmp_path: Path, text: str) -> None:
    (tmp_path / "network.json").write_text(text)
    with pytest.raises(ConfigError, match="does not describe a network"):
        open_network_folder(tmp_path, validators=1)


def test_a_folder_left_half_made_is_completed(tmp_path: Path) -> None:
    made = open_network_folder(tmp_path, validators=2)
    purse = load_key(made.purse).address
    (tmp_path / "network.json").unlink()
    made.genesis.unlink()
    again: NetworkFolder = open_network_folder(tmp_path, validators=2)
    assert again == made
    assert load_key(again.purse).address == purse


@pytest.mark.parametrize("numbers", [(0, 0, 1), (17, 0, 1), (1, -1, 1), (1, 0, 0)])
def test_impossible_numbers(tmp_path: Path, numbers: tuple[int, int, int]) -> None:
    validators, rpc_nodes, period = numbers
    with pytest.raises(ConfigError, match="1 to 16 validators"):
        open_network_folder(tmp_path, validators=validators, rpc_nodes=rpc_nodes, period=period)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        open_network_folder(tmp_path / "file", validators=1)


# ---- processes


async def test_a_node_that_ends_shows_its_last_words(tmp_path: Path) -> None:
    geth = script(tmp_path / "geth", run="echo Fatal: no disk; exit 1")
    with pytest.raises(ChainUnreachable, match=r"validator-1 does not start: Fatal: no disk"):
        await run_geth(tmp_path / "chain", validators=1, binary=geth)


async def test_a_genesis_that_is_not_taken(tmp_path: Path) -> None:
    geth = script(tmp_path / "geth", init="echo Fatal: incompatible genesis >&2; exit 1")
    with pytest.raises(ChainUnreachable, match="does not take the genesis: Fatal: incompatible genesis"):
        await run_geth(tmp_path / "chain", validators=2, binary=geth)


async def test_cancelling_ends_the_processes(tmp_path: Path) -> None:
    geth = script(tmp_path / "geth", run=f"echo $$ >> {tmp_path}/pids; exec sleep 60")
    pids = tmp_path / "pids"
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(run_geth, tmp_path / "chain", validators=2, rpc_nodes=1, binary=geth))
            while not pids.exists() or len(pids.read_text().split()) < 3:
                await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


async def test_a_taken_port(tmp_path: Path) -> None:
    geth = script(tmp_path / "geth")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortInUse, match="No node can listen"):
        await run_geth(tmp_path / "chain", validators=1, binary=geth, port=taken.getsockname()[1])
    with pytest.raises(ConfigError, match="not 4 ports from 65534 on"):
        await run_geth(tmp_path / "chain", validators=1, rpc_nodes=3, binary=geth, port=65534)


# ---- the purse


async def test_a_transfer_on_any_chain(tmp_path: Path) -> None:
    payer, payee = Key.from_seed("payer"), Key.from_seed("payee")
    async with chain(tmp_path) as endpoint, RpcClient([endpoint.url], chain_id=endpoint.chain_id) as rpc:
        with pytest.raises(TransactionFailed, match="cannot pay"):
            await transfer(rpc, payer, payee.address, 5)
        await fund(rpc, payer.address)
        for _ in range(2):
            await transfer(rpc, payer, payee.address, 5)
        assert int(await rpc.call("eth_getBalance", "0x" + payee.address.hex(), "latest"), 16) == 10
        assert await fund(rpc, payee.address, payer), "a chain's own faucet goes before the purse"
        assert int(await rpc.call("eth_getBalance", "0x" + payee.address.hex(), "latest"), 16) >= ENOUGH
