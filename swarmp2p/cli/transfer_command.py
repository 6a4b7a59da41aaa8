"""`swarmp2p transfer`: give somebody of the swarm's token."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import AddressType, AmountType, home_option, key_of, manifest_argument
from swarmp2p.core.types import Address


@click.command("transfer")
@manifest_argument
@click.argument("to", type=AddressType())
@click.argument("amount", type=AmountType())
@home_option
def command(manifest: Path, to: Address, amount: int, home: Path) -> None:
    """Give AMOUNT of the swarm's token to the account TO; it comes from the key in HOME.

    AMOUNT is a whole number of the token's smallest unit. Whoever is to join a swarm that asks for a stake needs some.
    """
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.payments import open_money, transfer

    async def transfer_now() -> str:
        async with open_money(load_manifest(manifest), key_of(home)) as money:
            left = await transfer(money, to, amount)
            return f"Gave {money.unit.show(amount)} to 0x{to.hex()}; {money.unit.show(left)} are left."

    click.echo(trio.run(transfer_now))
