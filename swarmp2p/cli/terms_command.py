"""`swarmp2p terms`: what a swarm is, for those who think of joining it."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import manifest_argument

DIFFERS = 3
"""Exit code when the document is not the agreed one."""


@click.command("terms")
@manifest_argument
@click.option(
    "--file", "document", type=click.Path(dir_okay=False, path_type=Path), help="Compare this document of the terms."
)
@click.pass_context
def command(ctx: click.Context, manifest: Path, document: Path | None) -> None:
    """Show what a swarm is and what its founders agreed on; look at it before you join.

    It checks what `swarmp2p join` checks, and spends nothing: that all founders signed exactly these terms, and that the
    contract and the treasury were deployed by this release's code, with what the manifest says. No key is needed.

    Where the purpose is the CID of a document, have that document handed to you, and name it with --file: the exit code is 3
    if it is not the one that was agreed on.
    """
    from swarmp2p.control.contract import SwarmContract
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.control.review import review
    from swarmp2p.control.rpc import RpcClient
    from swarmp2p.core.errors import ConfigError
    from swarmp2p.identity import Key
    from swarmp2p.peer.founding import check_founded, terms_cid

    agreed = load_manifest(manifest)
    for line in review(agreed):
        click.echo(line)
    number = len(agreed.founders)
    click.echo("Signed by its founder." if number == 1 else f"Signed by all {number} founders.")

    async def check() -> None:
        async with RpcClient(agreed.rpc, chain_id=agreed.chain_id) as rpc:
            await check_founded(rpc, agreed, SwarmContract(rpc, agreed.contract, Key.generate().secret))

    trio.run(check)
    click.echo(f"The contract 0x{agreed.contract.hex()} on chain {agreed.chain_id} is what this manifest says.")
    if document is None:
        return
    if agreed.purpose_cid is None:
        raise ConfigError(
            "The purpose of this swarm is a text, and no document.", "It is shown above: leave out --file."
        )
    found = terms_cid(document)
    if found.raw_digest != agreed.purpose_cid.raw_digest:
        click.echo(f"{document} is NOT the document of the terms: its CID is {found}.")
        ctx.exit(DIFFERS)
    click.echo(f"{document} is the document of the terms.")
