"""Real peers for benchmarks, a process each, whose rounds are begun one by one."""

import contextlib
import json
import queue
import signal
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import trio

from benchmarks.links import Links
from benchmarks.processes import Processes
from benchmarks.round_peer import tensors
from swarmp2p.control.anvil import run_anvil
from swarmp2p.core.config import Knobs
from swarmp2p.testing.local_swarm import LocalSwarm, local_swarm

WARM_UP = 2
"""Rounds before those that count: connections are made in them."""
TOLERANCE = 1e-4
"""How far a value may be from the mean that was computed otherwise."""
BLOCK_TIME = 1.0
"""Seconds between anvil's blocks; it mines each transaction at once besides."""
KNOBS = Knobs(leader_timeout=20.0, fetch_timeout=10.0, slack=2.0, stagger=0.5, announce_interval=1.0, linger=1.0)

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What is run."""

    peers: int = 4
    mib: float = 100
    """Size of the float32 model."""
    leaders: int = 16
    """Slices at most; 1: star."""
    f: int = 0
    """Colluders withstood."""

    @property
    def models_in(self) -> float:
        """Models that a peer must receive in a k-way round with a leader for each peer.

        It computes q = f + 1 of N slices, for each of which it needs the others' updates; and of the merged model it needs
        what it has not computed.
        """
        q, n = self.f + 1, self.peers
        return q * (n - 1) / n + (n - q) / n


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
    bytes_in: list[int] = field(default_factory=list)
    """What each peer received, on links of their own: updates, slices, gossip, answers of the chain, and their headers."""
    from_chain: int = 0
    """How much of that, of all together, came from the chain."""


class Peers(Processes):
    """The processes of the peers.

    Args:
        links: hosts to run them on; None: all on this one.
    """

    def __init__(self, swarm: LocalSwarm, names: list[str], mib: float, links: Links | None = None) -> None:
        super().__init__()
        self._links = links
        for index, name in enumerate(names):
            options = {
                "manifest": str(swarm.manifest),
                "home": str(swarm.home(name)),
                "invitation": str(swarm.invitation(name)),
                "mib": mib,
                "seed": index + 1,
                "peers": len(names),
                "address": links.address(index) if links else "127.0.0.1",
            }
            within = links.within(index) if links else []
            self.start(name, [*within, sys.executable, "-m", "benchmarks.round_peer", json.dumps(options)])

    def round(self, number: int) -> Timed:
        """Let all go on at once, and wait until all hold the merge of this round."""
        self.wait_until_ready(number)
        before = {name: said[-1]["cpu"] for name, said in self.told_of("ready").items()}
        moved = self._bytes_in()
        start = self.go()
        self.wait_for(f"round {number}", self.told(), event="held", round=number)
        moved = [after - earlier for after, earlier in zip(self._bytes_in(), moved, strict=True)]
        ends = {name: self.first(name, event="held", round=number) or {} for name in before}
        steps: dict[str, list[float]] = defaultdict(list)
        cpu_steps: dict[str, list[float]] = defaultdict(list)
        for name, events in self.told_of("event").items():
            for event in events:
                kind = f"{event['event']} {event['phase']}" if "phase" in event else event["event"]
                steps[kind].append(round(event["at"] - start, 4))
                if "cpu" in event:
                    cpu_steps[kind].append(round(event["cpu"] - before[name], 4))
        cpu = sum(end["cpu"] - before[name] for name, end in ends.items())
        seconds = max(end["at"] for end in ends.values()) - start
        return Timed(seconds, cpu, dict(steps), dict(cpu_steps), moved[:-1], sum(moved[-1:]))

    def check(self, number: int) -> None:
        """One more round, after which each compares the merged model with the mean; ends the benchmark if it is not."""
        self.wait_until_ready(number)
        self.go("check")
        self.wait_for(f"round {number}", self.told(), event="checked")
        for name in self.told():
            error = (self.first(name, event="checked") or {})["error"]
            if not error < TOLERANCE:
                raise SystemExit(f"error: {name} has a value that is {error:.2g} from the mean")

    def _bytes_in(self) -> list[int]:
        """What each peer has received so far, and last what all have received from the chain."""
        return [*self._links.bytes_in(), self._links.from_bridge()] if self._links else []

    def told_of(self, key: str) -> dict[str, list[dict[str, Any]]]:
        """All that was told with this key, by name."""
        return {name: [each for each in said if key in each] for name, said in self.told().items()}


@contextlib.contextmanager
def running_peers(setting: Setting, rounds: int, rpc: str, links: Links | None = None) -> Iterator[Peers]:
    """Found a swarm on this chain, and run its peers; it stops after so many rounds."""
    names = [f"peer{index}" for index in range(setting.peers)]
    zeros = {name: np.zeros_like(value) for name, value in tensors(setting.mib, 0).items()}
    with (
        tempfile.TemporaryDirectory(prefix="swarmp2p-bench-") as folder,
        local_swarm(
            zeros, names, rounds=rounds + 1, folder=Path(folder), rpc=rpc, f=setting.f, k_max=setting.leaders,
            min_updates=setting.peers, collect_timeout=600, merge_timeout=600, knobs=KNOBS,
        ) as swarm,
        contextlib.closing(Peers(swarm, names, setting.mib, links)) as peers,
    ):  # fmt: skip
        yield peers


def on_anvil(block_time: float | None, work: Callable[[str], T], host: str = "127.0.0.1") -> T:
    """Do this work with the URL of an anvil of its own, which listens on this address.

    The anvil is another thread's: an interrupt, or SIGTERM, ends the work where it is, and what it has begun is closed.
    """
    started: queue.Queue[tuple[str, Callable[[], None]] | BaseException] = queue.Queue()

    async def run() -> None:
        try:
            async with trio.open_nursery() as nursery:
                endpoint = await nursery.start(partial(run_anvil, block_time=block_time, host=host))
                stop, token = nursery.cancel_scope.cancel, trio.lowlevel.current_trio_token()
                started.put((endpoint.url, lambda: token.run_sync_soon(stop)))
        except BaseExceptionGroup as several:
            started.put(several.exceptions[0])

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    found = started.get()
    if isinstance(found, BaseException):
        raise found
    url, stop = found
    try:
        return work(url)
    finally:
        stop()
        thread.join()
