"""`swarmp2p stake`: put money at stake."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import AmountType, home_option, key_of, manifest_argument


@click.command("stake")
@manifest_argument
@click.argument("amount", type=AmountType())
@home_option
def command(manifest: Path, amount: int, home: Path) -> None:
    """Add AMOUNT to the stake of the key in HOME.

    AMOUNT is a whole number of the token's smallest unit. An invitation may ask for a stake; `swarmp2p join` puts it in by
    itself. It is lost by a vote of the members, or by signing two results that contradict each other; else it comes back
    with `swarmp2p withdraw`.
    """
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.payments import open_money, stake

    async def stake_now() -> str:
        async with open_money(load_manifest(manifest), key_of(home)) as money:
            total = await stake(money, amount)
            return f"Staked {money.unit.show(amount)}; the whole stake is now {money.unit.show(total)}."

    click.echo(trio.run(stake_now))
