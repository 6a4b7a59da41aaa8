"""`swarmp2p bench`: the benchmarks of a checkout."""

import click

from swarmp2p.cli.checkout import run_from_checkout

KINDS = ("round", "compare", "transfer", "merge")


@click.command("bench", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(kind: str, arguments: tuple[str, ...]) -> None:
    """Time a whole round among real peers, alone or beside hivemind (compare); transfers beside plain TLS; merge rules.

    `swarmp2p bench round --help` tells what it takes.

    They are the folder benchmarks of a checkout of the project.
    """
    run_from_checkout(f"benchmarks.{kind}", f"swarmp2p bench {kind}", arguments)
