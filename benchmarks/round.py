"""A whole round among real peers: from "all tensors ready" to "all hold the merged model", publishing included.

Each peer is a process with everything that `swarmp2p run` has: libp2p, TLS, a contract on anvil, all checks. The first
rounds are not counted: connections are made in them.
"""

import argparse
import contextlib
import json
import os
import statistics
from dataclasses import asdict
from functools import partial

from benchmarks import primitives
from benchmarks.links import BRIDGE_ADDRESS, Links, enter_network
from benchmarks.peers import BLOCK_TIME, WARM_UP, Setting, Timed, on_anvil, running_peers
from benchmarks.processes import Bystanders


def measure(setting: Setting, rounds: int, links: Links | None, rpc: str) -> tuple[list[Timed], float]:
    """Timed rounds, the warm-up left out; and the share of a core that other programs computed meanwhile."""
    total = rounds + WARM_UP
    with running_peers(setting, total, rpc, links) as peers:
        bystanders = Bystanders()
        timed = [peers.round(number + 1) for number in range(total)]
        return timed[WARM_UP:], bystanders.share()


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


def show_links(setting: Setting, mbit: float, timed: list[Timed]) -> None:
    """Bytes and seconds beside what the links allow."""
    model = setting.mib * 2**20
    models = [sorted(moved / model for moved in each.bytes_in) for each in timed]
    median = statistics.median(each for one in models for each in one)
    print(
        f"each on a link of {mbit:g} Mbit/s both ways, the chain's traffic included; in models of {setting.mib:g} MiB:"
    )
    print(f"  bytes in: median {median:.3f} ({min(one[0] for one in models):.3f} to", end=" ")
    print(
        f"{max(one[-1] for one in models):.3f}), to be {setting.models_in:.3f}: {median / setting.models_in:.3f} of it"
    )
    chain = statistics.median(each.from_chain for each in timed) / setting.peers
    print(f"  of which from the chain: {chain / model:.3f} ({chain / 1024:.0f} KiB)")
    bound = setting.models_in * model * 8 / (mbit * 1e6)
    seconds = statistics.median(each.seconds for each in timed)
    print(f"  the links alone take {bound:.2f} s: the round takes {seconds / bound:.2f} of it", flush=True)


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
    parser.add_argument("--rate", type=float, metavar="MBIT", help="each peer on a link of so many Mbit/s both ways")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.rate:
        enter_network()
    setting = Setting(args.peers, args.mib, args.leaders, args.f)
    with contextlib.closing(Links(args.peers, args.rate)) if args.rate else contextlib.nullcontext() as links:
        host = BRIDGE_ADDRESS if links else "127.0.0.1"
        timed, others = on_anvil(args.block_time, partial(measure, setting, args.rounds, links), host)
    speed = primitives.measure()
    if args.json:
        told = {"primitives": asdict(speed), "bound": primitives.bound(setting, speed, len(os.sched_getaffinity(0)))}
        print(json.dumps({**vars(args), "rounds": [asdict(each) for each in timed], "others": others, **told}))
        return
    show(setting, timed)
    print(f"other programs meanwhile: {others:.0%} of a core")
    primitives.show_bound(setting, statistics.median(each.seconds for each in timed), speed)
    if args.rate:
        show_links(setting, args.rate, timed)


if __name__ == "__main__":
    main()
