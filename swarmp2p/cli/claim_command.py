"""`swarmp2p claim`: be paid."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import home_option, key_of, manifest_argument


@click.command("claim")
@manifest_argument
@home_option
def command(manifest: Path, home: Path) -> None:
    """Be paid what the key in HOME has earned.

    Rounds that nobody has settled yet are settled first, at most 20 in a transaction; who does it pays their gas, and
    everybody's shares of these rounds become theirs. Stakes that a vote has made forfeit go into the pool. A peer may be
    running with HOME.
    """
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.payments import claim, open_money

    async def claim_now() -> str:
        async with open_money(load_manifest(manifest), key_of(home)) as money:
            paid = await claim(money)
            also = f" {paid.rounds} rounds were settled for it." if paid.rounds else ""
            also += "".join(f" The stake of 0x{each.hex()} is in the pool now." for each in paid.slashed)
            return f"Paid {money.unit.show(paid.amount)} to 0x{money.account.hex()}.{also}"

    click.echo(trio.run(claim_now))
