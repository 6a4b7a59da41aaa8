"""`swarmp2p balance`: how much of the swarm's token an account has."""

import json
from pathlib import Path

import click
import trio

from swarmp2p.cli.options import AddressType, home_option, json_option, key_of, manifest_argument
from swarmp2p.core.types import Address


@click.command("balance")
@manifest_argument
@click.argument("account", type=AddressType(), required=False)
@home_option
@json_option
def command(manifest: Path, account: Address | None, home: Path, as_json: bool) -> None:
    """Show how much of the swarm's token ACCOUNT has in hand; without one, the key in HOME.

    Stakes, and what was earned and not claimed yet, lie in the swarm's treasury: `swarmp2p rewards` shows those.
    """
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.payments import open_money

    async def look() -> None:
        whose = key_of(home).address if account is None else account
        async with open_money(load_manifest(manifest)) as money:
            token = await money.treasury.token()
            units = await token.balance(whose)
        if as_json:
            click.echo(
                json.dumps({"account": f"0x{whose.hex()}", "token": f"0x{token.address.hex()}", "balance": str(units)})
            )
        else:
            click.echo(f"0x{whose.hex()} has {money.unit.show(units)}.")

    trio.run(look)
