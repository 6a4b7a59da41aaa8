"""`swarmp2p meter`: what each member contributed."""

import json
from pathlib import Path

import click
import trio

from swarmp2p.cli.options import csv_option, home_option, json_option, manifest_argument, write_table
from swarmp2p.home import RECEIPTS_FILE


@click.command("meter")
@manifest_argument
@home_option
@json_option
@csv_option
def command(manifest: Path, home: Path, as_json: bool, csv_file: str | None) -> None:
    """Show what each member contributed: updates, samples, slices recomputed, reports, bytes served.

    All but the bytes is from the chain; samples are what members declared. Bytes served are what other members signed
    that they received, as far as the peer of HOME has heard of it: without that home there are none. HOME is only read, and
    may be in use. No key is needed.
    """
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.peer.payments import read_meter
    from swarmp2p.rewards import metering

    measured = trio.run(read_meter, load_manifest(manifest), home.expanduser() / RECEIPTS_FILE)
    if csv_file is not None:
        write_table(metering.as_csv(measured), csv_file)
    elif as_json:
        click.echo(json.dumps(metering.as_json(measured)))
    else:
        for line in metering.lines(measured):
            click.echo(line)
