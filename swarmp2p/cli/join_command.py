"""`swarmp2p join`: enrol by invitation, before the first run."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import home_option, key_of, manifest_argument


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
@click.option(
    "--genesis",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The first model, to check that it is the swarm's.",
)
def command(manifest: Path, home: Path, invitation: Path, addresses: tuple[str, ...], genesis: Path | None) -> None:
    """Enrol this key in the swarm: from then on it is a member, and the swarm waits for it.

    A member renews its membership in the same way, with a new invitation; its peer may be running.

    Look first at what you join: `swarmp2p terms`. Everything is checked against the manifest before a transaction is
    spent. `swarmp2p run --invitation` does the same on its way. On a test chain, the account gets its gas from the faucet.
    """
    from swarmp2p.control.invitation import Invitation
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.founding import join

    agreed = load_manifest(manifest)
    invited = Invitation.load(invitation)
    key = key_of(home)
    index = trio.run(join, agreed, key, invited, addresses, genesis)
    click.echo(f"The purpose of {agreed.name!r}: {agreed.purpose}")
    click.echo(f"0x{key.address.hex()} is member {index} of {agreed.name!r}.")
