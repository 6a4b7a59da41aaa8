"""`swarmp2p fund`: pay into the pool."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import AmountType, home_option, key_of, manifest_argument


@click.command("fund")
@manifest_argument
@click.argument("amount", type=AmountType())
@home_option
def command(manifest: Path, amount: int, home: Path) -> None:
    """Pay AMOUNT into the pool from which merged rounds are paid; anybody may.

    AMOUNT is a whole number of the token's smallest unit. What is left of it when the swarm has stopped comes back with
    `swarmp2p refund`. A peer may be running with HOME.
    """
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.payments import open_money, pay_in

    async def fund_now() -> str:
        async with open_money(load_manifest(manifest), key_of(home)) as money:
            pool = await pay_in(money, amount)
            return f"Paid in {money.unit.show(amount)}; in the pool are now {money.unit.show(pool)}."

    click.echo(trio.run(fund_now))
