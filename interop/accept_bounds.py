"""What a swarm process takes of memory and disk while it merges a large model: part of `make accept-content`.

Three peers on anvil, each with its learner in a process of its own. Memory is what is the process's alone and cannot be
dropped (RssAnon), looked at every 20 ms; disk is the blocks that its home takes, in models, from one phase to the next.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers import on_anvil
from interop.process_learner import layers
from swarmp2p.core.config import Knobs
from swarmp2p.testing.local_swarm import LocalSwarm, local_swarm

NAMES = ("alice", "bob", "carol")
MOST_ANONYMOUS = 150_000
"""Kilobytes of memory that a swarm process may have for itself, whatever the model's size."""
DURING, AFTER = len(NAMES) + 2, len(NAMES) + 1
"""Models on a home's disk: while a round merges, and from then until the next one is sealed."""
SLACK = 0.02
"""Models that journal, leaf lists and half blocks may take besides."""
LOOK = 0.02
KNOBS = Knobs(leader_timeout=120, fetch_timeout=60, slack=2, stagger=0.5, announce_interval=1, linger=5)


@dataclass
class Sample:
    """What one process had at one time."""

    time: float
    anonymous: int
    """Kilobytes."""
    files: dict[str, int]
    """Bytes in the blocks that each file of the home takes."""

    @property
    def disk(self) -> int:
        """Bytes that the home takes."""
        return sum(self.files.values())

    def shown(self, size: float) -> str:
        """Its large files, in models of `size` bytes."""
        large = sorted((taken, name) for name, taken in self.files.items() if taken > 0.01 * size)
        return ", ".join(f"{name} {taken / size:.2f}" for taken, name in reversed(large))


@dataclass
class Peer:
    """A peer's process and what was seen of it."""

    name: str
    process: "subprocess.Popen[str]"
    home: Path
    samples: list[Sample] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    peak_resident: int = 0
    head: str = ""

    def listen(self) -> None:
        """Take in its events until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if said["kind"] == "stopped":
                self.head = said["head"]
            else:
                self.events.append(said)

    def look(self) -> None:
        """Take a sample."""
        try:
            status = dict(
                line.split(":", 1) for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            )
            anonymous = int(status["RssAnon"].split()[0])
        except (OSError, KeyError):  # it has ended
            return
        self.peak_resident = max(self.peak_resident, int(status["VmHWM"].split()[0]))
        self.samples.append(Sample(time.time(), anonymous, on_disk(self.home)))

    def phases(self) -> Iterator[tuple[str, list[Sample]]]:
        """Its samples from one phase to the next, with the phase's name: a round is over for a peer when it has applied
        the merge."""
        marks = [(0.0, "start")]
        for event in self.events:
            if event["kind"] == "phase" and event["data"]["phase"] == "merging":
                marks.append((event["time"], f"merging {event['round']}"))
            elif event["kind"] == "applied" and event["round"]:
                marks.append((event["time"], f"after {event['round']}"))
        for (begin, name), (end, _) in zip(marks, [*marks[1:], (float("inf"), "")], strict=True):
            within = [sample for sample in self.samples if begin <= sample.time < end]
            if within:
                yield name, within


def on_disk(folder: Path) -> dict[str, int]:
    """Bytes in the blocks that each file takes, under names short enough to be read; a file of two names counts once."""
    found: dict[str, int] = {}
    seen: set[tuple[int, int]] = set()
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                stat = os.lstat(os.path.join(where, name))
            except FileNotFoundError:  # gone meanwhile
                continue
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            taken = stat.st_blocks * 512
            short = "/".join(piece[:16] for piece in Path(where, name).relative_to(folder).parts)
            found[short] = found.get(short, 0) + taken
    return found


@contextmanager
def peers(swarm: LocalSwarm, megabytes: int) -> Iterator[list[Peer]]:
    """All of them at work."""
    started: list[Peer] = []
    try:
        for step, name in enumerate(NAMES, 1):
            options = {
                "manifest": str(swarm.manifest), "home": str(swarm.home(name)), "invitation": str(swarm.invitation(name)),
                "learner": str(swarm.folder / f"{name}.learner"), "megabytes": megabytes, "step": step,
            }  # fmt: skip
            command = [sys.executable, "-m", "interop.bounded_peer", json.dumps(options)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            started.append(Peer(name, process, swarm.home(name)))
            threading.Thread(target=started[-1].listen, daemon=True).start()
        yield started
    finally:
        for peer in started:
            peer.process.terminate()
            peer.process.wait()


def run(megabytes: int, rounds: int, seconds: float, folder: Path, url: str) -> list[Peer]:
    """A swarm to its end, looked at all the time."""
    with (
        local_swarm(
            layers(megabytes), NAMES, rounds=rounds, folder=folder, rpc=url, knobs=KNOBS,
            collect_timeout=600, merge_timeout=600, grace=300,
        ) as swarm,
        peers(swarm, megabytes) as running,
    ):  # fmt: skip
        ends = time.monotonic() + seconds
        while any(peer.process.poll() is None for peer in running) and time.monotonic() < ends:
            began = time.monotonic()
            for peer in running:
                peer.look()
            time.sleep(max(0.0, LOOK - (time.monotonic() - began)))
    return running


def report(running: list[Peer], size: float) -> list[str]:
    """Prints what was seen, and returns what is wrong with it."""
    wrong = [] if len({peer.head for peer in running} - {""}) == 1 else ["the peers have not ended with one head"]
    for peer in running:
        highest = max(peer.samples, key=lambda sample: sample.anonymous)
        print(
            f"{peer.name}: at most {highest.anonymous / 1000:.0f} MB anonymous, {peer.peak_resident / 1000:.0f} MB resident"
        )
        if highest.anonymous > MOST_ANONYMOUS:
            wrong.append(f"{peer.name} had {highest.anonymous / 1000:.0f} MB of anonymous memory")
        for phase, samples in peer.phases():
            fullest = max(samples, key=lambda sample: sample.disk)
            memory, models = max(sample.anonymous for sample in samples) / 1000, fullest.disk / size
            print(
                f"  {phase:10s} {samples[-1].time - samples[0].time:6.1f} s, {memory:4.0f} MB anonymous, "
                f"{models:.2f} models on disk, {samples[-1].disk / size:.2f} at last"
            )
            bound = DURING if phase.startswith("merging") else AFTER
            if models > bound + SLACK:
                wrong.append(f"{peer.name} had {models:.2f} models on disk in phase {phase}, {bound} are allowed")
                print(f"             {fullest.time - samples[0].time:.1f} s on: {fullest.shown(size)}")
    return wrong


def main() -> int:
    """0 if every bound was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000, help="size of the float32 model in megabytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=900, help="after which the run has failed")
    parser.add_argument("--json", type=Path, help="a file for all samples and events")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="swarmp2p-bounds-"))
    try:
        running: list[Peer] = on_anvil(0.25, partial(run, args.mb, args.rounds, args.seconds, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        found = {
            peer.name: {"samples": [vars(each) for each in peer.samples], "events": peer.events} for peer in running
        }
        args.json.write_text(json.dumps(found), encoding="utf-8")
    wrong = report(running, args.mb * 1e6)
    for each in wrong:
        print(f"FAILED  {each}")
    print(f"{len(wrong)} bounds broken" if wrong else "passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
