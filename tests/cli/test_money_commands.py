"""The commands for a swarm's money, as users call them, on an embedded chain in a process of its own."""

import csv
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result

from swarmp2p.cli import cli
from swarmp2p.control.manifest_file import render
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.errors import ConfigError, TransactionFailed
from swarmp2p.core.messages import Receipt
from swarmp2p.core.types import VoteKind
from swarmp2p.home import RECEIPTS_FILE, Home
from swarmp2p.rewards.receipts import ReceiptStore, sign_receipt
from swarmp2p.testing.local_swarm import chain_process
from tests.control.paid_swarm import PaidSwarm, found_paid, homes
from tests.control.swarm_on_chain import Wall

UNITS = 10**18


@dataclass
class Commands:
    """A swarm of two that pays 1000 a round; everything is asked of it by command."""

    folder: Path
    url: str
    swarm: PaidSwarm
    token: str

    @property
    def manifest(self) -> Path:
        return self.folder / "swarm.toml"

    def run(self, command: str, *options: str, home: int | None = None, fails: bool = False) -> Result:
        arguments = [command, str(self.manifest), *options]
        if home is not None:
            arguments += ["--home", str(self.folder / str(home))]
        result = CliRunner().invoke(cli, arguments)
        assert (result.exit_code != 0) == fails, result.output
        return result

    def do(self, what: Callable[[PaidSwarm], Awaitable[Any]]) -> None:
        """Something that peers would do."""

        async def now() -> None:
            async with RpcClient([self.url]) as rpc:
                await what(replace(self.swarm, rpc=rpc, contracts={}))

        trio.run(now)


async def _rounds(swarm: PaidSwarm) -> None:
    for member in range(2):
        await swarm.enrol(member)
    await swarm.play([0, 1], [0, 1])
    await swarm.play([0, 1], [0, 1])


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    folder = tmp_path_factory.mktemp("money")
    with chain_process(folder / "chain") as url:

        async def keys() -> None:
            async with RpcClient([url]) as rpc:
                await homes(rpc, folder, 3)

        trio.run(keys)
        arguments = [
            "token",
            "Swarm Money",
            "SWM",
            str(100 * UNITS),
            "--rpc",
            url,
            "--home",
            str(folder / "0"),
            "--json",
        ]
        made = json.loads(CliRunner().invoke(cli, arguments).output)

        async def found() -> PaidSwarm:
            async with RpcClient([url]) as rpc:
                token = bytes.fromhex(made["token"][2:])
                return await found_paid(rpc, folder, 2, Wall(), token=token, min_stake=50)

        swarm = trio.run(found)
        (folder / "swarm.toml").write_text(render(swarm.manifest))
        commands = Commands(folder, url, swarm, made["token"])
        commands.do(_rounds)
        yield commands


def test_the_money_of_a_swarm(commands: Commands, tmp_path: Path) -> None:
    run = commands.run
    address = ["0x" + key.address.hex() for key in commands.swarm.keys]
    assert run("fund", "1500", home=0).output == (
        "Paid in 1500 (0.0000000000000015 SWM); in the pool are now 1500 (0.0000000000000015 SWM).\n"
    )
    assert "a dot: of a token" in run("fund", "1.5", home=0, fails=True).output.replace("\n", " ")
    poor = run("fund", "7", home=1, fails=True).exception
    assert isinstance(poor, TransactionFailed)
    assert poor.error == "InsufficientBalance"

    assert run("transfer", address[1], "9", home=0).output.startswith("Gave 9 (0.000000000000000009 SWM) to 0x")
    given = json.loads(run("balance", address[1], "--json", home=0).output)
    assert run("balance", home=1).output == f"{address[1]} has {given['balance']} (0.000000000000000009 SWM).\n"
    assert (given["account"], given["balance"]) == (address[1], "9")
    too_much = run("transfer", address[0], "10", home=1, fails=True).exception
    assert isinstance(too_much, TransactionFailed)
    assert too_much.error == "InsufficientBalance"

    lines = run("rewards").output.splitlines()
    assert lines[0] == "A merged round pays 1000 (0.000000000000001 SWM), 0 % of it to those who attested."
    assert "round 1: pot 1000 (0.000000000000001 SWM), paid 1000 (0.000000000000001 SWM), not settled yet" in lines
    before = json.loads(run("rewards", "--json").output)
    assert [(each["settled"], each["pot"]) for each in before["rounds"]] == [(False, "1000"), (False, "500")]
    unsettled = {each["address"]: each["unsettled"] for each in before["accounts"]}
    assert unsettled == {address[0]: "750", address[1]: "750"}

    output = run("claim", home=1).output
    assert output.startswith("Paid 750 (0.00000000000000075 SWM) to 0x")
    assert "2 rounds were settled for it." in output
    nothing = run("claim", home=1, fails=True).exception
    assert isinstance(nothing, TransactionFailed)
    assert "Nothing is owed" in str(nothing)
    table = list(csv.DictReader(io.StringIO(run("rewards", "--csv", "-").output)))
    assert [(row["round"], row["settled"], row["share"]) for row in table] == [
        ("1", "1", "500"), ("1", "1", "500"), ("2", "1", "250"), ("2", "1", "250"),
    ]  # fmt: skip
    assert run("rewards", "--csv", str(tmp_path / "t.csv")).output == f"Written: {tmp_path / 't.csv'}.\n"
    assert list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text()))) == table
    nowhere = run("rewards", "--csv", str(tmp_path / "none" / "t.csv"), fails=True).exception
    assert isinstance(nowhere, ConfigError)

    member = run("withdraw", home=1, fails=True).exception
    assert "Leave first" in str(member)
    assert run("stake", "25", home=1).output.endswith("the whole stake is now 75 (0.000000000000000075 SWM).\n")
    assert "has not stopped" in str(run("refund", home=0, fails=True).exception)
    run("leave", home=1)
    assert "may be withdrawn from 2" in run("withdraw", home=1).output
    assert "its stake may be withdrawn from Unix time" in run("rewards").output
    # Of one member that is left, one vote is more than half.
    commands.do(lambda swarm: swarm.vote(VoteKind.STOP, [0]))
    assert run("withdraw", home=1).output.startswith("Paid back the stake of 75 ")
    assert "Nothing is left" in str(run("refund", home=0, fails=True).exception)


def test_the_meter(commands: Commands) -> None:
    keys = commands.swarm.keys
    signed = sign_receipt(Receipt(1, keys[1].address, 123), keys[0], commands.swarm.domain)
    forged = sign_receipt(Receipt(1, keys[0].address, 9), keys[0], commands.swarm.domain)
    with Home.open(commands.folder / "0"):  # a peer is at work with it
        store = ReceiptStore(commands.folder / "0" / RECEIPTS_FILE)
        store.add(signed)
        store.add(forged)
        found = json.loads(commands.run("meter", "--json", home=0).output)
        store.close()
    totals = {each["address"]: each for each in found["totals"]}
    served = {each["address"]: each["bytes_served"] for each in found["totals"]}
    assert served == {"0x" + keys[0].address.hex(): 0, "0x" + keys[1].address.hex(): 123}
    assert totals["0x" + keys[1].address.hex()]["samples"] == 2 * 11
    assert totals["0x" + keys[0].address.hex()]["attestations"] == 2
    text = commands.run("meter", home=1).output
    assert "2 merged with 22 samples as declared" in text
    assert "0 bytes served" in text
    table = list(csv.DictReader(io.StringIO(commands.run("meter", "--csv", "-", home=0).output)))
    assert sum(int(row["bytes_served"]) for row in table) == 123


def test_a_token(commands: Commands) -> None:
    home = str(commands.folder / "2")
    arguments = ["token", "Other", "OTH", "5", "--rpc", commands.url, "--home", home]
    first, second = CliRunner().invoke(cli, arguments).output.splitlines()
    assert len(bytes.fromhex(first[2:])) == 20
    assert second.startswith("5 units of OTH belong to 0x")
    result = CliRunner().invoke(cli, ["token", "Other", "OTH", "0", "--rpc", commands.url, "--home", home])
    assert result.exit_code == 2
