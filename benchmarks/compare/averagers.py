"""hivemind's peers, seen from the benchmark: processes in hivemind's own environment."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.peers import TOLERANCE, Setting
from benchmarks.processes import Processes, cpu_seconds

PYTHON = Path(__file__).parents[2] / ".tools/hivemind/bin/python"
PROGRAM = Path(__file__).with_name("hivemind_peer.py")
MATCHMAKING = 1.0
"""Seconds of min_matchmaking_time; half of it is request_timeout. A full group starts at once, so this bounds only how long
a peer waits in vain: with less, two that ask each other at once give up and begin anew more often than they gain."""
PART_SIZE = 2**19
"""Bytes of a part of a tensor: hivemind's default."""
THREADS = 1
"""Of PyTorch, in each process: faster than its default where all peers share one machine."""


@dataclass
class Reduced:
    """One all-reduce, in seconds from when all peers were told to go on."""

    seconds: float
    """Until the last of them held the mean."""
    grouped: float
    """Until the last of them had its group: what matchmaking took."""
    cpu: float
    """Computed by all peers, their DHT nodes and daemons until then."""
    fault: str | None = None
    """What was wrong with it: somebody did not get the mean of all."""


class Hivemind(Processes):
    """The processes of hivemind's peers."""

    def __init__(self, setting: Setting, early: bool) -> None:
        super().__init__()
        self._group = setting.peers
        self._options = {
            "peers": setting.peers,
            "mib": setting.mib,
            "early": early,
            "threads": THREADS,
            "matchmaking": MATCHMAKING,
            "part": PART_SIZE,
        }

    def start_all(self) -> None:
        """Start the peers one by one; each is told where the first of them is."""
        initial: list[str] = []
        for seed in range(1, self._group + 1):
            name, own = f"hivemind{seed}", {**self._options, "seed": seed, "initial": initial}
            self.start(name, [str(PYTHON), "-W", "ignore", str(PROGRAM), json.dumps(own)])
            self.wait("start of hivemind", partial(self.told_any, name))
            initial = initial or self.told()[name][0]["address"]

    def round(self, number: int) -> Reduced:
        """Let all go on at once, and wait until all hold the mean and have checked it."""
        self.wait_until_ready(number)
        before = cpu_seconds(self.pids)
        start = self.go()
        what, names = f"hivemind's round {number}", list(self.told())
        self.wait_for(what, names, event="over")
        cpu = cpu_seconds(self.pids) - before
        self.wait_for(what, names, event="checked")
        over = [self.first(name, event="over") or {} for name in names]
        groups = [self.first(name, event="group") or {"at": start} for name in names]
        return Reduced(
            max(each["at"] for each in over) - start,
            max(each["at"] for each in groups) - start,
            cpu,
            self._fault(names),
        )

    def _fault(self, names: list[str]) -> str | None:
        for name in names:
            over, checked = self.first(name, event="over") or {}, self.first(name, event="checked") or {}
            if over["failed"]:
                return f"{name}: {over['failed']}"
            if over["size"] != self._group:
                return f"{name} was in a group of {over['size']}"
            if not checked["error"] < TOLERANCE:
                return f"{name} has a value that is {checked['error']:.2g} from the mean"
        return None


@contextlib.contextmanager
def running_hivemind(setting: Setting, early: bool) -> Iterator[Hivemind]:
    """Start peers that know each other."""
    with contextlib.closing(Hivemind(setting, early)) as peers:
        peers.start_all()
        yield peers
