"""`swarmp2p demo`: the digits example of a checkout."""

import click

from swarmp2p.cli.checkout import run_from_checkout


@click.command("demo", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run four peers that each know only some of the ten digits (see `swarmp2p demo --help`).

    It is the example examples/digits of a checkout of the project; `make demo` does the same.
    """
    run_from_checkout("examples.digits", "swarmp2p demo", arguments)
