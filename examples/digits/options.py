"""The demo's options."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STEPS = ("fetch", "claim", "attest", "finalize", "train")
KILL_ROUND = 3
WIDE = 4096
"""Hidden units from which training an interval takes seconds, and the swarm's patience has to be longer."""


@dataclass(frozen=True)
class Options:
    """What to run."""

    peers: int
    rounds: int
    leaders: int
    hidden: int
    chain: str
    json: Path | None
    kill: str | None
    at: str | None
    seed: int
    folder: Path | None
    swarm_only: bool


def parse(arguments: list[str]) -> Options:
    """From the command line; argparse says what is wrong with it, and exits with 2."""
    parser = argparse.ArgumentParser(
        prog="make demo ARGS=...",
        description="A swarm on this machine: a chain, and peers that each hold only some of the ten digits.",
        allow_abbrev=False,
    )
    parser.add_argument("--peers", type=_between(2, 16), default=4, metavar="N", help="how many (4)")
    parser.add_argument("--rounds", type=_between(1, 10_000), default=40, metavar="R", help="merges (40)")
    parser.add_argument("--leaders", type=_between(1, 16), default=16, metavar="K", help="at most so many (16)")
    parser.add_argument("--hidden", type=_between(1, 1 << 20), default=64, metavar="H", help="hidden units (64)")
    parser.add_argument("--chain", default="embedded", metavar="CHAIN", help="embedded, anvil, or an RPC URL")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    parser.add_argument("--kill", choices=("leader", "peer"), help="SIGKILL one, and restart it two rounds later")
    parser.add_argument("--at", choices=STEPS, metavar="STEP", help=f"at this step: {', '.join(STEPS)}")
    parser.add_argument("--seed", type=_between(0, 2**31), default=0, metavar="S", help="of data, weights and keys (0)")
    parser.add_argument("--folder", type=Path, help="keep everything there, instead of in a temporary folder")
    parser.add_argument("--swarm-only", action="store_true", help="do not train alone and centrally for comparison")
    found = parser.parse_args(arguments)
    if (found.kill is None) != (found.at is None):
        parser.error("--kill and --at go together")
    if found.kill == "leader" and found.at == "train":
        parser.error("a round has leaders only once training is over: --kill peer --at train")
    if found.kill == "peer" and found.at != "train":
        parser.error("a peer is killed at train; at the other steps it is the leader: --kill leader")
    if found.kill and found.rounds < KILL_ROUND + 3:
        parser.error(f"--kill needs --rounds {KILL_ROUND + 3} or more, for the restart two rounds later")
    if found.chain not in ("embedded", "anvil") and not found.chain.startswith(("http://", "https://")):
        parser.error(f"--chain {found.chain} is none: embedded, anvil, or a URL beginning with http:// or https://")
    return Options(**vars(found))


def _between(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return convert
