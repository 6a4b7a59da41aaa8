"""`swarmp2p cid`: the CID of a file, as Kubo computes it."""

import json
from pathlib import Path

import click

from swarmp2p.content.unixfs import cid, hash_file
from swarmp2p.core.errors import SwarmError


@click.command("cid")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: file, size, cid.")
def command(files: tuple[Path, ...], as_json: bool) -> None:
    """Print the CID of each FILE.

    The same as `ipfs add --cid-version=1 --raw-leaves --chunker=size-262144 --only-hash -q FILE`. Memory stays flat
    whatever the file's size.
    """
    for file in files:
        try:
            hashed = hash_file(file)
        except OSError as error:
            raise SwarmError(f"{file} cannot be read: {error.strerror}.", "Name a readable file.") from None
        text = str(cid(hashed.digest, hashed.size))
        if as_json:
            click.echo(json.dumps({"file": str(file), "size": hashed.size, "cid": text}))
        elif len(files) > 1:
            click.echo(f"{text}  {file}")
        else:
            click.echo(text)
