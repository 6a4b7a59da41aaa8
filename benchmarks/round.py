"""A whole round among real peers: from "all tensors ready" to "all hold the merged model", publishing included.

Each peer is a process with everything that `swarmp2p run` has: libp2p, TLS, a contract on anvil, all checks. The first
rounds are not counted: connections are made in them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import trio

from benchmarks.round_peer import tensors
from swarmp2p.control.anvil import run_anvil
from swarmp2p.core.config import Knobs
from swarmp2p.testing.local_swarm import LocalSwarm, local_swarm

WARM_UP = 2
"""Rounds before those that count."""
KNOBS = Knobs(leader_timeout=20.0, fetch_timeout=10.0, slack=2.0, stagger=0.5, announce_interval=1.0, linger=1.0)


@dataclass
class Timed:
    """One round, in seconds from when all peers were told to go on."""

    seconds: float
    """Until the last of them held the merged model."""
    cpu: float
    """Computed by all peers together until they held it."""
    steps: dict[str, list[float]] = field(default_factory=dict)
    """When each peer came to each step."""
    cpu_steps: dict[str, list[float]] = field(default_factory=dict)
    """What each had computed until then."""


class Peers:
    """The processes of the peers, and what they tell."""

    def __init__(self, swarm: LocalSwarm, names: list[str], mib: float) -> None:
        self._changed = threading.Condition()
        self._ready: dict[str, int] = dict.fromkeys(names, 0)
        self._cpu: dict[str, float] = {}
        self._events: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        self._dead: list[str] = []
        self._processes = {}
        for seed, name in enumerate(names):
            options = {
                "manifest": str(swarm.manifest),
                "home": str(swarm.home(name)),
                "invitation": str(swarm.invitation(name)),
                "mib": mib,
                "seed": seed + 1,
            }
            command = [sys.executable, "-m", "benchmarks.round_peer", json.dumps(options)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._processes[name] = process
            threading.Thread(target=self._read, args=(name, process), daemon=True).start()

    def _read(self, name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            with self._changed:
                if "ready" in said:
                    self._ready[name], self._cpu[name] = said["ready"], said["cpu"]
                else:
                    self._events[name].append(said)
                self._changed.notify_all()
        with self._changed:
            self._dead.append(f"{name} (exit code {process.wait()})")
            self._changed.notify_all()

    def _wait(self, what: str, done: Any) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: done() or self._dead, timeout=600) or self._dead:
                raise SystemExit(f"{what}: {', '.join(self._dead) or 'nobody'} ended early")

    def round(self, number: int) -> Timed:
        """Let all go on at once, and wait until all hold the merge of this round."""
        self._wait(f"round {number}", lambda: all(ready >= number for ready in self._ready.values()))
        with self._changed:
            for events in self._events.values():
                events.clear()
        start = time.monotonic()
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        self._wait(f"round {number}", lambda: all(self._held(name, number) for name in self._events))
        with self._changed:
            steps: dict[str, list[float]] = defaultdict(list)
            cpu_steps: dict[str, list[float]] = defaultdict(list)
            for name, events in self._events.items():
                for event in events:
                    kind = f"{event['event']} {event['phase']}" if "phase" in event else event["event"]
                    steps[kind].append(round(event["at"] - start, 4))
                    if "cpu" in event:
                        cpu_steps[kind].append(round(event["cpu"] - self._cpu[name], 4))
            ends = {name: self._held(name, number) or {} for name in self._events}
            cpu = sum(end["cpu"] - self._cpu[name] for name, end in ends.items())
        return Timed(max(end["at"] for end in ends.values()) - start, cpu, dict(steps), dict(cpu_steps))

    def _held(self, name: str, number: int) -> dict[str, Any] | None:
        """What the peer told when it held the merge of this round."""
        found = [each for each in self._events[name] if each["event"] == "held" and each["round"] == number]
        return found[0] if found else None

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


def measure(peers: int, mib: float, leaders: int, f: int, rounds: int, rpc: str) -> list[Timed]:
    """Timed rounds, the warm-up left out."""
    names = [f"peer{index}" for index in range(peers)]
    zeros = {name: np.zeros_like(value) for name, value in tensors(mib, 0).items()}
    total = rounds + WARM_UP
    with (
        tempfile.TemporaryDirectory(prefix="swarmp2p-bench-") as folder,
        local_swarm(
            zeros, names, rounds=total + 1, folder=Path(folder), rpc=rpc, f=f, k_max=leaders, min_updates=peers,
            collect_timeout=600, merge_timeout=600, knobs=KNOBS,
        ) as swarm,
    ):  # fmt: skip
        running = Peers(swarm, names, mib)
        try:
            return [running.round(number + 1) for number in range(total)][WARM_UP:]
        finally:
            running.close()


async def on_anvil(block_time: float | None, work: Any) -> Any:
    """Run blocking work with the URL of an anvil of its own."""
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(partial(run_anvil, block_time=block_time))
        result = await trio.to_thread.run_sync(work, endpoint.url)
        nursery.cancel_scope.cancel()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="swarmp2p bench round", description=__doc__)
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--mib", type=float, default=100, help="size of the float32 model")
    parser.add_argument("--leaders", type=int, default=16, help="slices at most (1: star)")
    parser.add_argument("--f", type=int, default=0, help="colluders withstood")
    parser.add_argument("--rounds", type=int, default=5, help=f"that count, after {WARM_UP} to warm up")
    parser.add_argument(
        "--block-time", type=float, default=0.25, help="of anvil, which mines each transaction at once besides"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    work = partial(measure, args.peers, args.mib, args.leaders, args.f, args.rounds)
    timed: list[Timed] = trio.run(on_anvil, args.block_time, work)
    if args.json:
        print(json.dumps({**vars(args), "rounds": [asdict(each) for each in timed]}))
        return
    seconds = sorted(each.seconds for each in timed)
    print(f"{args.peers} peers, {args.mib:g} MiB, f = {args.f}: median {statistics.median(seconds):.2f} s", end=" ")
    print(f"({seconds[0]:.2f} to {seconds[-1]:.2f} in {len(seconds)} rounds)")
    print(f"computing of all peers together: {statistics.median(each.cpu for each in timed):.2f} s")
    print(
        "steps of the last round, in seconds from the start: first and last peer, and the median of what they computed:"
    )
    for kind, at in sorted(timed[-1].steps.items(), key=lambda item: min(item[1])):
        cpu = timed[-1].cpu_steps.get(kind)
        print(f"  {kind:20s} {min(at):7.3f} {max(at):7.3f}", f"{statistics.median(cpu):7.3f}" if cpu else "")


if __name__ == "__main__":
    main()
