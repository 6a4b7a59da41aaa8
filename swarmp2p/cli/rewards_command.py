"""`swarmp2p rewards`: who earned what, and why."""

import json
from pathlib import Path

import click
import trio

from swarmp2p.cli.options import csv_option, json_option, manifest_argument, write_table


@click.command("rewards")
@manifest_argument
@json_option
@csv_option
def command(manifest: Path, as_json: bool, csv_file: str | None) -> None:
    """Show who earned what in a swarm, and why.

    For each merged round: the pot, whose updates were merged and what each earned, who got nothing and for which reason;
    then what each account earned, claimed, is owed, has staked and paid in. Rounds that nobody has settled yet are
    foretold by the contract's own rules. Amounts are in the token's smallest unit, with the token's decimals beside it.

    Anyone with the manifest can ask; no key is needed.
    """
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.payments import read_statement
    from swarmp2p.rewards import statement_form

    statement = trio.run(read_statement, load_manifest(manifest))
    if csv_file is not None:
        write_table(statement_form.as_csv(statement), csv_file)
    elif as_json:
        click.echo(json.dumps(statement_form.as_json(statement)))
    else:
        for line in statement_form.lines(statement):
            click.echo(line)
