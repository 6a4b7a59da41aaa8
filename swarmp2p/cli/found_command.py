"""`swarmp2p found`: a swarm from a draft."""

import json
from pathlib import Path

import click
import trio

from swarmp2p.cli.options import home_option, json_option
from swarmp2p.home import Home


@click.command("found")
@click.argument("draft", type=click.Path(dir_okay=False, path_type=Path))
@home_option
@click.option("--genesis", type=click.Path(dir_okay=False, path_type=Path), help="First model, a safetensors file.")
@click.option("--rpc", multiple=True, help="RPC URL of the chain, instead of the draft's; may be repeated.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it here.  [default: swarm.toml]")
@click.option(
    "--agreement",
    "agreements",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A founder's agreement (`swarmp2p agree`); one for each other founder.",
)
@click.option("--template", is_flag=True, help="Instead write a commented draft to DRAFT, to be filled in.")
@json_option
def command(
    draft: Path,
    home: Path,
    genesis: Path | None,
    rpc: tuple[str, ...],
    out: Path | None,
    agreements: tuple[Path, ...],
    template: bool,
    as_json: bool,
) -> None:
    """Found a swarm: deploy its contract as DRAFT says, and write the manifest that members use.

    \b
    Begin with:   swarmp2p found draft.toml --template --home alice
    then edit draft.toml, and:
                  swarmp2p found draft.toml --genesis model.safetensors --home alice --out swarm.toml
    If there are several founders, each of the others signs first (`swarmp2p agree`), and here:
                  --agreement agreement-0xBOB.json --agreement agreement-0xCAROL.json
    """
    from swarmp2p.control.agreement import Agreement
    from swarmp2p.control.manifest_file import render, template_text
    from swarmp2p.core.errors import ConfigError
    from swarmp2p.peer.founding import found

    with Home.open(home) as own:
        if template:
            if draft.exists():
                raise ConfigError(f"{draft} is there already.", "Choose another name; nothing was changed.")
            draft.write_text(template_text(own.key.address), encoding="utf-8")
            click.echo(f"A draft is in {draft}; fill it in.")
            return
        target = out or draft.with_name("swarm.toml")
        if target.exists():
            raise ConfigError(
                f"{target} is there already.", "It may be of a running swarm: give another name with --out."
            )
        founded = trio.run(found, draft, own, genesis, rpc, [Agreement.load(path) for path in agreements])
    target.write_text(render(founded.manifest), encoding="utf-8")
    manifest = founded.manifest
    if as_json:
        body = {
            "manifest": str(target),
            "chain_id": manifest.chain_id,
            "contract": "0x" + manifest.contract.hex(),
            "genesis": str(manifest.genesis_cid),
            "cid": str(manifest.cid),
        }
        click.echo(json.dumps(body))
        return
    click.echo(f"Founded {manifest.name!r}: contract 0x{manifest.contract.hex()} on chain {manifest.chain_id}.")
    click.echo(f"Its manifest {manifest.cid} is in {target}: give that file to every member.")
    click.echo(
        f"Withstands {manifest.f} colluder{'s' * (manifest.f != 1)}; {manifest.may_die} of {manifest.initial_members} members"
        " may die for good before it waits."
    )
