"""`swarmp2p invite`: sign somebody's leave to enrol."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import AddressType, home_option, key_of, manifest_argument
from swarmp2p.core.types import Address
from swarmp2p.home import PAPERS_FOLDER


@click.command("invite")
@manifest_argument
@click.argument("address", type=AddressType(), required=False)
@home_option
@click.option("--max-weight", type=click.IntRange(1, 2**32 - 1), help="Largest weight (samples) it may declare.")
@click.option("--days", type=click.FloatRange(0.0, min_open=True), default=365.0, show_default=True, help="How long.")
@click.option(
    "--sign",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Add a signature to this invitation, instead of a new one.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: invitation-ADDRESS.json, or the one signed]",
)
def command(
    manifest: Path,
    address: Address | None,
    home: Path,
    max_weight: int | None,
    days: float,
    sign: Path | None,
    out: Path | None,
) -> None:
    """Invite ADDRESS to the swarm, as a founder or a member.

    The invitation is a file to hand over. It names the swarm's purpose, the longest time and the largest weight. Where
    the swarm asks for several founders, the next one adds its signature with --sign. More than half of the members will
    do as well: a running peer passes the invitation on to them, and they add theirs with `swarmp2p vote sign`.
    """
    from swarmp2p.control.invitation import Invitation
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.control.paper_box import PaperBox, paper_id
    from swarmp2p.peer.founding import invite, sign_too

    key = key_of(home)
    agreed = load_manifest(manifest)
    if sign is not None:
        invitation = trio.run(sign_too, agreed, key, Invitation.load(sign))
        target = out or sign
    else:
        if address is None or max_weight is None:
            raise click.UsageError("A new invitation needs an ADDRESS and --max-weight.")
        invited, weight = address, max_weight

        async def new() -> Invitation:
            return await invite(agreed, key, invited, max_weight=weight, days=days)

        invitation = trio.run(new)
        target = out or Path(f"invitation-0x{address.hex()}.json")
    invitation.save(target)
    # A peer that runs with this home passes it on to the members, for their signatures.
    PaperBox(home.expanduser() / PAPERS_FOLDER).add(invitation)
    signed = f"signed {len(invitation.signatures)} time(s), {agreed.k_invite} needed of founders"
    click.echo(f"{target}, {paper_id(invitation)}: {signed}.")
