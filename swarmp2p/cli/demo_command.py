"""`swarmp2p demo`: the digits example of a checkout."""

import runpy
import sys
from pathlib import Path

import click

from swarmp2p.core.errors import ConfigError


@click.command("demo", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run four peers that each know only some of the ten digits (see `swarmp2p demo --help`).

    It is the example examples/digits of a checkout of the project; `make demo` does the same.
    """
    for folder in (Path.cwd(), Path(__file__).parents[2]):
        if (folder / "examples" / "digits" / "__main__.py").exists():
            sys.path.insert(0, str(folder))
            sys.argv = ["swarmp2p demo", *arguments]
            runpy.run_module("examples.digits", run_name="__main__", alter_sys=True)
            return
    raise ConfigError(
        "The demo's folder examples/digits is not here.", "Run this in a checkout of the project, or `make demo` there."
    )
