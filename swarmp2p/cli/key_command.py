"""`swarmp2p key`: make and show the one key of a peer."""

import json
import os
from pathlib import Path

import click

from swarmp2p.cli.options import home_option, json_option, key_of
from swarmp2p.home import KEY_FILE
from swarmp2p.identity import Key, save_key


@click.group("key")
def command() -> None:
    """Make or show the key that is a member's identity.

    One secp256k1 key gives both the Ethereum address, by which members are invited and paid, and the libp2p PeerID, by
    which they connect. It is kept in HOME/key: a file that only you can read, or with --keystore one under a password
    (from the variable SWARMP2P_PASSWORD) that any Ethereum wallet opens.
    """


@command.command("new")
@home_option
@click.option("--keystore", is_flag=True, help="Encrypt it with the password in SWARMP2P_PASSWORD.")
@json_option
def new(home: Path, keystore: bool, as_json: bool) -> None:
    """Make a new key; an existing one is never replaced."""
    password = os.environ.get("SWARMP2P_PASSWORD") if keystore else None
    if keystore and not password:
        raise click.UsageError("--keystore needs a password in the variable SWARMP2P_PASSWORD.")
    key = Key.generate()
    save_key(key, home.expanduser() / KEY_FILE, password)
    _show(key, as_json)


@command.command("show")
@home_option
@click.option("--address", "address_only", is_flag=True, help="Print the address alone.")
@json_option
def show(home: Path, address_only: bool, as_json: bool) -> None:
    """Print the address and the PeerID."""
    key = key_of(home)
    if address_only:
        click.echo(f"0x{key.address.hex()}")
    else:
        _show(key, as_json)


def _show(key: Key, as_json: bool) -> None:
    from swarmp2p.network.peer_ids import peer_id_of  # libp2p takes a second to import

    address, peer_id = f"0x{key.address.hex()}", str(peer_id_of(key.public))
    if as_json:
        click.echo(json.dumps({"address": address, "peer_id": peer_id}))
    else:
        click.echo(f"address  {address}\npeer id  {peer_id}")
