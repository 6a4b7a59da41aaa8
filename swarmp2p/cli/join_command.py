"""`swarmp2p join`: enrol by invitation, before the first run."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import home_option, manifest_argument
from swarmp2p.home import Home


@click.command("join")
@manifest_argument
@home_option
@click.option(
    "--invitation",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file that a founder signed for this key.",
)
@click.option("--address", "addresses", multiple=True, help="Multiaddr under which others reach this peer.")
def command(manifest: Path, home: Path, invitation: Path, addresses: tuple[str, ...]) -> None:
    """Enrol this key in the swarm: from then on it is a member, and the swarm waits for it.

    Look first at what you join: `swarmp2p terms`. Everything is checked against the manifest before a transaction is
    spent. `swarmp2p run --invitation` does the same on its way. On a test chain, the account gets its gas from the faucet.
    """
    from swarmp2p.control.invitation import Invitation
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.founding import join

    agreed = load_manifest(manifest)
    invited = Invitation.load(invitation)
    with Home.open(home) as own:
        index = trio.run(join, agreed, own, invited, addresses)
        click.echo(f"The purpose of {agreed.name!r}: {agreed.purpose}")
        click.echo(f"0x{own.key.address.hex()} is member {index} of {agreed.name!r}.")
