"""Joining checks what it is told, and renewing leaves a running peer alone."""

from pathlib import Path

import numpy as np
import pytest
import trio
from click.testing import CliRunner, Result

from swarmp2p.cli import cli
from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.manifest_file import load_manifest
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.errors import InvitationRefused, SchemaMismatch
from swarmp2p.core.view import Member
from swarmp2p.home import Home
from swarmp2p.identity import Key
from swarmp2p.merge.tensors import write_weights
from swarmp2p.testing.local_swarm import local_swarm

ADDRESS = "/ip4/192.0.2.7/tcp/4001"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_join_and_renew(tmp_path: Path) -> None:
    weights = {"mean": np.zeros(3, np.float32)}
    with local_swarm(weights, ["alice", "bob"], folder=tmp_path) as swarm:
        bob = swarm.home("bob")
        join = ("join", swarm.manifest, "--home", bob, "--invitation")

        other = tmp_path / "other.safetensors"
        write_weights({"mean": np.ones(3, np.float32)}, other)
        refused = run(*join, swarm.invitation("bob"), "--genesis", other).exception
        assert isinstance(refused, SchemaMismatch)
        assert "the swarm's first model is" in str(refused)
        assert member(swarm.manifest, bob).term == 0

        genesis = tmp_path / "genesis.safetensors"
        done = run(*join, swarm.invitation("bob"), "--genesis", genesis, "--address", ADDRESS)
        assert "is member 0 of" in done.output, done.exception
        again = run(*join, swarm.invitation("bob")).exception
        assert isinstance(again, InvitationRefused)
        assert "used already" in str(again)

        invitation = tmp_path / "again.json"
        with Home.open(bob) as running:
            account = "0x" + running.key.address.hex()
            alice = swarm.home("alice")
            run(
                "invite", swarm.manifest, account, "--home", alice, "--max-weight", "7", "--days", "9", "--out", invitation
            )  # fmt: skip
            done = run(*join, invitation)
        assert "is member 0 of" in done.output, done.exception
        renewed = member(swarm.manifest, bob)
        assert (renewed.term, renewed.max_weight) == (2, 7)
        assert recorded(swarm.manifest, bob) == (ADDRESS,)


def member(manifest: Path, home: Path) -> Member:
    async def ask() -> Member:
        agreed = load_manifest(manifest)
        async with RpcClient(agreed.rpc) as rpc:
            return await SwarmContract(rpc, agreed.contract, Key.generate().secret).member(account(home))

    return trio.run(ask)


def recorded(manifest: Path, home: Path) -> tuple[str, ...]:
    async def ask() -> tuple[str, ...]:
        agreed = load_manifest(manifest)
        async with RpcClient(agreed.rpc) as rpc:
            return (await SwarmContract(rpc, agreed.contract, Key.generate().secret).addresses())[account(home)]

    return trio.run(ask)


def account(home: Path) -> bytes:
    with Home.open(home) as opened:
        return opened.key.address


@pytest.mark.parametrize("command", ["join", "leave", "agree", "vote", "prove"])
def test_commands_teach(command: str) -> None:
    assert run(command, "--help").output.startswith("Usage:")
