"""A whole round among real peers: from "all tensors ready" to "all hold the merged model", publishing included.

Each peer is a process with everything that `swarmp2p run` has: libp2p, TLS, a contract on anvil, all checks. The first
rounds are not counted: connections are made in them.
"""

import argparse
import json
import statistics
from dataclasses import asdict
from functools import partial

from benchmarks.peers import BLOCK_TIME, WARM_UP, Setting, Timed, on_anvil, running_peers


def measure(setting: Setting, rounds: int, rpc: str) -> list[Timed]:
    """Timed rounds, the warm-up left out."""
    total = rounds + WARM_UP
    with running_peers(setting, total, rpc) as peers:
        return [peers.round(number + 1) for number in range(total)][WARM_UP:]


def show(setting: Setting, timed: list[Timed]) -> None:
    seconds = sorted(each.seconds for each in timed)
    print(
        f"{setting.peers} peers, {setting.mib:g} MiB, f = {setting.f}: median {statistics.median(seconds):.2f} s",
        end=" ",
    )
    print(f"({seconds[0]:.2f} to {seconds[-1]:.2f} in {len(seconds)} rounds)")
    print(f"computing of all peers together: {statistics.median(each.cpu for each in timed):.2f} s")
    print(
        "steps of the last round, in seconds from the start: first and last peer, and the median of what they computed:"
    )
    for kind, at in sorted(timed[-1].steps.items(), key=lambda item: min(item[1])):
        cpu = timed[-1].cpu_steps.get(kind)
        print(f"  {kind:20s} {min(at):7.3f} {max(at):7.3f}", f"{statistics.median(cpu):7.3f}" if cpu else "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="swarmp2p bench round", description=__doc__)
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--mib", type=float, default=100, help="size of the float32 model")
    parser.add_argument("--leaders", type=int, default=16, help="slices at most (1: star)")
    parser.add_argument("--f", type=int, default=0, help="colluders withstood")
    parser.add_argument("--rounds", type=int, default=5, help=f"that count, after {WARM_UP} to warm up")
    parser.add_argument(
        "--block-time", type=float, default=BLOCK_TIME, help="of anvil, which mines each transaction at once besides"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    setting = Setting(args.peers, args.mib, args.leaders, args.f)
    timed: list[Timed] = on_anvil(args.block_time, partial(measure, setting, args.rounds))
    if args.json:
        print(json.dumps({**vars(args), "rounds": [asdict(each) for each in timed]}))
        return
    show(setting, timed)


if __name__ == "__main__":
    main()
