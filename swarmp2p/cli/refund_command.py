"""`swarmp2p refund`: take back what is left in the pool."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import home_option, key_of, manifest_argument


@click.command("refund")
@manifest_argument
@home_option
def command(manifest: Path, home: Path) -> None:
    """When the swarm has stopped: take back what is left of what the key in HOME paid in.

    Rounds that nobody has settled yet are settled first. Every payment out of the pool took the same fraction of all that
    was in it, so every funder gets the same fraction back of what was there at the time.
    """
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.payments import open_money, refund

    async def refund_now() -> str:
        async with open_money(load_manifest(manifest), key_of(home)) as money:
            return f"Paid back {money.unit.show(await refund(money))} to 0x{money.account.hex()}."

    click.echo(trio.run(refund_now))
