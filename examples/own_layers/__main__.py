"""`python -m examples.own_layers`: the swarm on the default layers, or on others."""

import argparse
import sys
import tempfile
from pathlib import Path

import trio

from examples.own_layers.layers import ANVIL, EMBEDDED, MEMORY, OWN
from examples.own_layers.learner import PHOTOGRAPHS
from examples.own_layers.swarm import Options, Outcome, run
from swarmp2p.core.errors import SwarmError
from swarmp2p.failures import unwrapped


def parse(arguments: list[str]) -> Options:
    """From the command line; argparse says what is wrong with it, and exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.own_layers",
        description="A small swarm that pays its members, on the default layers or on layers of one's own.",
        allow_abbrev=False,
    )
    parser.add_argument("--chain", default=EMBEDDED, help="embedded, anvil, or the URL of a node with a faucet")
    parser.add_argument("--policy", default="equal", choices=("equal", "weight", OWN), help="how money is shared")
    parser.add_argument("--content", default=EMBEDDED, choices=(EMBEDDED, OWN), help="where models are kept")
    parser.add_argument("--network", default="libp2p", choices=("libp2p", MEMORY), help="how peers talk")
    parser.add_argument("--peers", type=int, default=4, choices=range(2, len(PHOTOGRAPHS) + 1), help="how many (4)")
    parser.add_argument("--rounds", type=int, default=4, choices=range(1, 101), metavar="R", help="merges (4)")
    found = parser.parse_args(arguments)
    if found.chain not in (EMBEDDED, ANVIL) and not found.chain.startswith(("http://", "https://")):
        parser.error(f"--chain {found.chain} is none: embedded, anvil, or a URL beginning with http:// or https://")
    return Options(**vars(found))


def show(outcome: Outcome) -> None:
    """Heads, and who earned what."""
    print()
    for name, head in outcome.heads.items():
        print(f"head of {name}: {head}")
    print()
    print(f"{'':14} photographs  foretold  paid")
    for each in outcome.earnings:
        print(f"{each.member:14} {each.weight:11}  {each.foretold:8}  {each.paid:4}")


def main(arguments: list[str]) -> int:
    """The exit code: 0 if there is one head and everybody was paid what was foretold."""
    options = parse(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="own-layers-") as folder, unwrapped():
            outcome = trio.run(run, options, Path(folder))
    except SwarmError as error:
        print(error, file=sys.stderr)
        return 1
    show(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
