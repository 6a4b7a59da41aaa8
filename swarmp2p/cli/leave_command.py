"""`swarmp2p leave`: end a membership."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import home_option, key_of, manifest_argument


@click.command("leave")
@manifest_argument
@home_option
def command(manifest: Path, home: Path) -> None:
    """End this key's membership in the swarm.

    An update that was submitted already stays in its round, and what was earned stays owed. The stake can be withdrawn
    (`swarmp2p withdraw`). To come back takes a new invitation. A peer that runs with this HOME ends by itself.
    """
    from swarmp2p.cli.chain_access import open_contract

    key = key_of(home)

    async def leave() -> str:
        async with open_contract(manifest, key) as (contract, agreed):
            await contract.leave()
            return agreed.name

    click.echo(f"0x{key.address.hex()} has left {trio.run(leave)!r}.")
