"""The long acceptance runs: `make accept-loop`, or with ARGS="kills memory" some of them. Hours on two cores.

Each line printed is a run; the last one counts those that passed and failed.
"""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from interop.demo_run import MISSED, DemoRun, run_demo

SEEDS = range(5)
LEADER_STEPS = ("fetch", "claim", "attest", "finalize")
WIDE = ("--hidden", "65536", "--rounds", "10")
KILLED = ("--hidden", "65536", "--rounds", "14", "--leaders", "4", "--swarm-only")
"""Rounds enough for a process to start again beside three busy ones, and to take part once more."""
SPARE_SEEDS = 10
"""More seeds to try where a kill missed its step."""
MIB = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """One run: what was found, and what is wrong with it ('' if nothing is)."""

    name: str
    found: str
    fault: str = ""


def judge(run: DemoRun, name: str, found: str, **conditions: bool) -> Outcome:
    """The outcome of a demo that ended well and meets all conditions."""
    if run.code != 0 or not run.result:
        return Outcome(name, found, run.complaint())
    failed = [condition for condition, holds in {"one_head": len(run.heads) == 1, **conditions}.items() if not holds]
    return Outcome(name, found, ", ".join(failed))


def accuracy(chain: str = "embedded", most_seconds: float = 60.0, most_latency: float = 0.5) -> Iterator[Outcome]:
    """The default demo on five seeds: accuracies, time, latency."""
    for seed in SEEDS:
        run = run_demo("--seed", str(seed), "--chain", chain)
        reached = run.result.get("accuracy", {"alone": [1.0], "swarm": 0.0, "central": 0.0})
        p50, p90 = run.latency or (float("inf"), float("inf"))
        yield judge(
            run,
            f"accuracy, {chain}, seed {seed}",
            f"alone {max(reached['alone']):.3f} at most, swarm {reached['swarm']:.3f}, central {reached['central']:.3f},"
            f" latency p50 {p50:.3f} s, p90 {p90:.3f} s, {run.seconds:.0f} s in all",
            alone=max(reached["alone"]) <= 0.40,
            swarm=reached["swarm"] >= 0.83,
            central=reached["central"] >= 0.95,
            time=run.seconds < most_seconds,
            latency=p50 < most_latency,
        )


def anvil() -> Iterator[Outcome]:
    """The same on anvil, whose blocks take their time."""
    yield from accuracy("anvil", most_seconds=300.0, most_latency=5.0)


def leaders() -> Iterator[Outcome]:
    """19 MB merged by four leaders and by one: the same model."""
    four = run_demo(*WIDE, "--leaders", "4", limit=1800)
    yield judge(four, "four leaders", f"{four.seconds:.0f} s", k=four.result.get("k") == 4)
    one = run_demo(*WIDE, "--leaders", "1", limit=1800)
    same = one.result.get("contract_head") == four.result.get("contract_head")
    yield judge(one, "one leader", f"{one.seconds:.0f} s", k=one.result.get("k") == 1, same_as_four=same)


def kills() -> Iterator[Outcome]:
    """A leader killed at each step and a peer while it trains, each on five seeds."""
    rows = []
    for victim, step in [*(("leader", step) for step in LEADER_STEPS), ("peer", "train")]:
        recovered: list[float] = []
        hits = 0
        for seed in range(len(SEEDS) + SPARE_SEEDS):
            if hits == len(SEEDS):
                break
            run = run_demo(*KILLED, "--kill", victim, "--at", step, "--seed", str(seed), limit=1800)
            name = f"kill {victim} at {step}, seed {seed}"
            if run.code == MISSED:
                print(f"  {name}: missed its step, does not count", flush=True)
                continue
            hits += 1
            killed = run.result.get("killed") or {}
            seconds, back = killed.get("recovered_seconds"), killed.get("rejoined_round")
            if seconds is not None:
                recovered.append(seconds)
            yield judge(
                run,
                name,
                f"recovered in {seconds or math.nan:.1f} s, back in round {back}, {run.seconds:.0f} s in all",
                at_the_step=killed.get("step") == step,
                recovered=seconds is not None,
                back=back is not None,
            )
        rows.append((victim, step, hits, recovered))
        if hits < len(SEEDS):
            yield Outcome(f"kill {victim} at {step}", f"{hits} runs", "too many kills missed their step")
    print_recovery(rows)


def print_recovery(rows: list[tuple[str, str, int, list[float]]]) -> None:
    """The README's table of recovery times."""
    print("| killed | at | runs | recovered after, median | at most |\n|---|---|---|---|---|")
    for victim, step, runs, recovered in rows:
        if recovered:
            print(f"| {victim} | {step} | {runs} | {median(recovered):.1f} s | {max(recovered):.1f} s |", flush=True)


def simulator() -> Iterator[Outcome]:
    """10,000 swarms; the simulator itself judges violations and the share of rounds that finalize."""
    jobs = str(os.cpu_count() or 1)
    command = [sys.executable, "-m", "swarmp2p.testing.simulator", "--swarms", "10000", "--seed", "0", "--jobs", jobs]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout, flush=True)
    yield Outcome("10,000 simulated swarms", "", "" if done.returncode == 0 else f"exit {done.returncode}")


def memory() -> Iterator[Outcome]:
    """`swarmp2p cid` of 1 GB needs hardly more memory than that of 1 MB."""
    with tempfile.TemporaryDirectory(prefix="accept-") as folder:
        peaks = [peak_memory(Path(folder), size) for size in (1 << 20, 1 << 30)]
    more = (peaks[1] - peaks[0]) / MIB
    fault = "" if more <= 20 else "more than 20 MB above"
    yield Outcome("memory of cid", f"1 MB {peaks[0] / MIB:.0f} MB, 1 GB {peaks[1] / MIB:.0f} MB", fault)


def peak_memory(folder: Path, size: int) -> int:
    """Peak resident bytes of `swarmp2p cid` on a file of `size` bytes."""
    file = folder / str(size)
    with file.open("wb") as written:
        for number in range(size >> 20):
            written.write(number.to_bytes(8, "big") * (MIB // 8))
    process = subprocess.Popen([sys.executable, "-m", "swarmp2p", "cid", str(file)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"swarmp2p cid ended with {process.returncode}")
    return used.ru_maxrss * 1024


CHECKS: dict[str, Callable[[], Iterator[Outcome]]] = {
    check.__name__: check for check in (memory, accuracy, anvil, leaders, simulator, kills)
}


def main(names: list[str]) -> int:
    """Run the checks of these names, or all."""
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"no check {', '.join(unknown)}; there are: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    passed = failed = 0
    for name in names or CHECKS:
        for outcome in CHECKS[name]():
            passed, failed = passed + (not outcome.fault), failed + bool(outcome.fault)
            verdict = "FAILED" if outcome.fault else "passed"
            print(f"{verdict}  {outcome.name}: {outcome.found}", flush=True)
            if outcome.fault:
                print(f"        {outcome.fault}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
