"""`swarmp2p token`: a token to pay with."""

import json
from pathlib import Path

import click
import trio

from swarmp2p.cli.options import AmountType, home_option, json_option, key_of


@click.command("token")
@click.argument("name")
@click.argument("symbol")
@click.argument("supply", type=AmountType())
@home_option
@click.option("--rpc", multiple=True, required=True, help="RPC URL of the chain; may be repeated.")
@json_option
def command(name: str, symbol: str, supply: int, home: Path, rpc: tuple[str, ...], as_json: bool) -> None:
    """Make an ERC-20 token that a swarm can pay with; all of it belongs to the key in HOME.

    SUPPLY is a whole number of the smallest unit, of which 10^18 are one SYMBOL. Put the address that it prints into a
    draft, as [rewards] token. For trying out, or for partners who settle what a unit is worth among themselves; any other
    ERC-20 token does as well.
    """
    from swarmp2p.peer.payments import new_token

    key = key_of(home)
    address = f"0x{trio.run(new_token, rpc, key, name, symbol, supply).hex()}"
    if as_json:
        click.echo(json.dumps({"token": address, "holder": f"0x{key.address.hex()}", "supply": str(supply)}))
    else:
        click.echo(f"{address}\n{supply} units of {symbol} belong to 0x{key.address.hex()}.")
