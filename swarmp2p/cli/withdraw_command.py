"""`swarmp2p withdraw`: take a stake back."""

import time
from pathlib import Path

import click
import trio

from swarmp2p.cli.options import home_option, key_of, manifest_argument


@click.command("withdraw")
@manifest_argument
@home_option
def command(manifest: Path, home: Path) -> None:
    """Take back the stake of the key in HOME.

    The first time it asks for the stake, which then waits for the time that the manifest says; after it, the same command
    pays it out. Members leave first (`swarmp2p leave`), but for a swarm that has stopped: there it is paid out at once.
    """
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.payments import open_money, withdraw

    async def withdraw_now() -> str:
        async with open_money(load_manifest(manifest), key_of(home)) as money:
            taken = await withdraw(money)
            if taken.wait_until:
                when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(taken.wait_until))
                return f"The stake of {money.unit.show(taken.amount)} may be withdrawn from {when} on: ask again then."
            return f"Paid back the stake of {money.unit.show(taken.amount)} to 0x{money.account.hex()}."

    click.echo(trio.run(withdraw_now))
