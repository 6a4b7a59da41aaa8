"""`python -m swarmp2p.testing.simulator`: simulate swarms, count what went wrong on purpose, and look for violations."""

import argparse
import sys
import time

from swarmp2p.testing.simulator.batch import SHARE_NEEDED, Totals, run_many, run_seed
from swarmp2p.testing.simulator.plants import PLANTS

PROGRAM = "python -m swarmp2p.testing.simulator"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 if every invariant holds."""
    options = _parse(arguments)
    if options.seed_only is not None:
        outcome = run_seed(options.seed_only, options.plant, print if options.trace else None)
        totals = Totals()
        totals.add(outcome)
        _print(totals, options.plant)
        print(f"trace hash {outcome.trace}")
        return 0 if totals.good else 1
    totals, began = Totals(), time.monotonic()
    print(f"seeds {options.seed} to {options.seed + options.swarms - 1}")
    for outcome in run_many(range(options.seed, options.seed + options.swarms), options.jobs, options.plant):
        totals.add(outcome)
        if totals.swarms % 500 == 0:
            passed = time.monotonic() - began
            print(f"{totals.swarms} swarms, {passed:.0f} s, {len(totals.failed)} violations", flush=True)
    _print(totals, options.plant)
    return 0 if totals.good else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--swarms", type=int, default=100, help="how many swarms (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first swarm (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--seed-only", type=int, metavar="SEED", help="replay one swarm")
    parser.add_argument("--trace", action="store_true", help="with --seed-only: print everything that happens")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="plant a fault, which must be found")
    return parser.parse_args(arguments)


def _print(totals: Totals, plant: str | None) -> None:
    print("faults injected:")
    for name, count in sorted(totals.faults.items()):
        print(f"  {name:32} {count}")
    print("ends: " + ", ".join(f"{name} {count}" for name, count in sorted(totals.ends.items())))
    print(
        f"{totals.swarms} swarms, {totals.events} events; rounds: {totals.finalized} finalized, {totals.aborted} aborted; "
        f"{totals.eligible} eligible, of which {totals.eligible_finalized} finalized: "
        f"{100 * totals.share:.3f} % (needed: {100 * SHARE_NEEDED:.0f} %)"
    )
    extra = f" --plant {plant}" if plant else ""
    for seed, round_ in totals.stalled[:20]:
        print(f"eligible but not finalized: round {round_}; replay: {PROGRAM} --seed-only {seed} --trace{extra}")
    print(f"violations: {len(totals.failed)}")
    for seed, violation in totals.failed[:50]:
        print(f"  {violation}; replay: {PROGRAM} --seed-only {seed} --trace{extra}")


if __name__ == "__main__":
    sys.exit(main())
