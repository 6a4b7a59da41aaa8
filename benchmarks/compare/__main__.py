"""Our round beside hivemind's all-reduce: both in one run, in turns, on models of equal size.

Both are timed from "all tensors ready" to "all hold the result", on warm connections, both encrypted, all values float32.
Ours includes publishing under a CID, the chain, and with f > 0 that every slice is computed by f others too; hivemind's
includes finding the group, which is shown by itself as well. While one runs, the other's processes wait.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from benchmarks.compare.averagers import MATCHMAKING, PYTHON, THREADS, Hivemind, Reduced, running_hivemind
from benchmarks.peers import BLOCK_TIME, WARM_UP, Peers, Setting, Timed, on_anvil, running_peers
from benchmarks.primitives import Primitives, measure, show_bound
from benchmarks.processes import Bystanders, cpu_seconds, wait_until_quiet

CASES = (Setting(mib=100, f=0), Setting(mib=100, f=1), Setting(mib=10, f=0))
IDLE = 4.0
"""Seconds for which all wait, at the end, to see what waiting costs."""


@dataclass
class Compared:
    """A case, with what was measured of it."""

    setting: Setting
    ours: list[Timed]
    theirs: list[Reduced]
    """Without those that went wrong."""
    faults: list[str]
    """What went wrong at hivemind's."""
    speed: Primitives
    idle: dict[str, float]
    """Shares of a core that are computed while all wait."""
    others: float
    """Share of a core that other programs computed meanwhile."""

    @property
    def ratio(self) -> float:
        return _median(self.ours) / _median(self.theirs)


def _median(rounds: list[Any]) -> float:
    return statistics.median(each.seconds for each in rounds) if rounds else float("nan")


def compare(setting: Setting, turns: int, early: bool, rpc: str) -> Compared:
    """Warm both up, then let them take turns; who begins changes each time."""
    total = turns + WARM_UP
    with running_hivemind(setting, early) as theirs, running_peers(setting, total + 1, rpc) as ours:
        bystanders = Bystanders()
        pairs = [_turn(ours, theirs, number + 1) for number in range(total)][WARM_UP:]
        ours.wait_until_ready(total + 1)
        theirs.wait_until_ready(total + 1)
        others = bystanders.share()
        wait_until_quiet([os.getpid()])
        idle = _idle(ours, theirs)
        ours.check(total + 1)
    done = [reduced for _, reduced in pairs]
    speed = measure()
    good = [each for each in done if each.fault is None]
    faults = [each.fault for each in done if each.fault]
    return Compared(setting, [timed for timed, _ in pairs], good, faults, speed, idle, others)


def _turn(ours: Peers, theirs: Hivemind, number: int) -> tuple[Timed, Reduced]:
    found: dict[str, Any] = {}
    both: list[tuple[str, Peers | Hivemind]] = [("ours", ours), ("theirs", theirs)]
    for name, peers in both if number % 2 else reversed(both):
        ours.wait_until_ready(number + ("ours" in found))
        theirs.wait_until_ready(number + ("theirs" in found))
        wait_until_quiet([os.getpid()])
        found[name] = peers.round(number)
    return found["ours"], found["theirs"]


def _idle(ours: Peers, theirs: Hivemind) -> dict[str, float]:
    groups = {"ours": ours.pids, "theirs": theirs.pids, "all, chain and benchmark included": [os.getpid()]}
    before = {name: cpu_seconds(pids) for name, pids in groups.items()}
    time.sleep(IDLE)
    return {name: (cpu_seconds(pids) - before[name]) / IDLE for name, pids in groups.items()}


def show(case: Compared) -> None:
    setting = case.setting
    print(f"{setting.peers} peers, {setting.mib:g} MiB, f = {setting.f}")
    for name, rounds in (("ours", case.ours), ("hivemind", case.theirs)):
        if not rounds:
            print(f"  {name:9s} no round that is right")
            continue
        seconds = sorted(each.seconds for each in rounds)
        cpu = statistics.median(each.cpu for each in rounds)
        spread = f"{seconds[0]:.2f} to {seconds[-1]:.2f} in {len(seconds)}"
        print(f"  {name:9s} median {statistics.median(seconds):.2f} s ({spread}), computing {cpu:.2f} s")
    if case.theirs:
        alone = statistics.median(each.seconds - each.grouped for each in case.theirs)
        print(
            f"  ours / hivemind {case.ratio:.2f}; hivemind's all-reduce without finding the group {alone:.2f} s", end=""
        )
        print(f", ours / that {_median(case.ours) / alone:.2f}")
    show_bound(setting, _median(case.ours), case.speed)
    for fault in case.faults:
        print(f"  hivemind's result was wrong, and is not counted: {fault}")
    idle = ", ".join(f"{name} {share:.0%}" for name, share in case.idle.items())
    print(
        f"  computed while all wait, of one core: {idle}; by other programs in all the time: {case.others:.0%}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="swarmp2p bench compare", description=__doc__)
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--mib", type=float, help="size of the float32 model; default: 100 with f = 0 and 1, and 10")
    parser.add_argument("--f", type=int, default=0, help="colluders that ours withstands, with --mib")
    parser.add_argument("--turns", type=int, default=7, help=f"that count, after {WARM_UP} to warm up")
    parser.add_argument("--early", action="store_true", help="let hivemind find its groups before the time begins")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("error: hivemind is not here. Install it with: tools/hivemind python3")
    cases = CASES if args.mib is None else (Setting(args.peers, args.mib, f=args.f),)
    found = []
    for setting in cases:
        case: Compared = on_anvil(BLOCK_TIME, partial(compare, setting, args.turns, args.early))
        found.append(case)
        if not args.json:
            show(case)
    if args.json:
        told = [{**asdict(case), "ratio": case.ratio} for case in found]
        print(json.dumps({**vars(args), "matchmaking": MATCHMAKING, "threads": THREADS, "cases": told}))


if __name__ == "__main__":
    main()
