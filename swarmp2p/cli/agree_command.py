"""`swarmp2p agree`: a founder reviews a draft and signs it."""

from pathlib import Path

import click

from swarmp2p.cli.options import home_option


@click.command("agree")
@click.argument("draft", type=click.Path(dir_okay=False, path_type=Path))
@home_option
@click.option("--genesis", type=click.Path(dir_okay=False, path_type=Path), help="First model, a safetensors file.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="[default: agreement-ADDRESS.json]")
@click.option("--yes", is_flag=True, help="Sign without asking.")
def command(draft: Path, home: Path, genesis: Path | None, out: Path | None, yes: bool) -> None:
    """Review what a swarm shall be, and sign it as one of its founders.

    Every founder does so with the same DRAFT and the same genesis, each on a machine of its own; compare the CID that is
    shown. The draft says the terms, or names a document that has them (purpose_file): read it before you sign. Genesis and
    document are then kept in HOME. One founder collects the agreements and deploys the contract: `swarmp2p found DRAFT
    --agreement FILE ...`. A founder who deploys need not sign beforehand.
    """
    from swarmp2p.control.agreement import agree
    from swarmp2p.control.manifest_file import load_draft
    from swarmp2p.control.review import review
    from swarmp2p.core.errors import ConfigError
    from swarmp2p.home import Home
    from swarmp2p.peer.founding import complete, keep_content

    manifest = load_draft(draft)
    with Home.open(home, create=False) as own:
        address = f"0x{own.key.address.hex()}"
        if own.key.address not in manifest.founders:
            raise ConfigError(
                f"{address} is not among the founders of {manifest.name!r}.",
                "Have it added under [members] founders, or use the home of a founder.",
            )
        model = genesis or draft.parent / (manifest.genesis_file or "")
        agreed = complete(manifest, model)
        for line in review(agreed):
            click.echo(line)
        if manifest.purpose_file is not None:
            click.echo(f"The purpose is the document {manifest.purpose_file}: read it before you sign.")
        if not yes:
            click.confirm("Sign this?", abort=True)
        target = out or Path(f"agreement-{address}.json")
        agree(agreed, own.key).save(target)
        keep_content(own, manifest, model)
    click.echo(f"{target}: give it to the founder who deploys the contract.")
