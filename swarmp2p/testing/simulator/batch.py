"""Many simulated swarms, in several processes."""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from swarmp2p.testing.simulator.plan import draw
from swarmp2p.testing.simulator.plants import planted
from swarmp2p.testing.simulator.world import Outcome, World

SHARE_NEEDED = 0.99
"""Of the eligible rounds, so many must finalize."""


@dataclass(slots=True)
class Totals:
    """Sums over swarms."""

    swarms: int = 0
    finalized: int = 0
    aborted: int = 0
    eligible: int = 0
    eligible_finalized: int = 0
    events: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)
    """(seed, violation)."""
    stalled: list[tuple[int, int]] = field(default_factory=list)
    """(seed, round) of eligible rounds that did not finalize."""

    def add(self, outcome: Outcome) -> None:
        """Take in one swarm."""
        self.swarms += 1
        self.finalized += outcome.finalized
        self.aborted += outcome.aborted
        self.eligible += outcome.eligible
        self.eligible_finalized += outcome.eligible_finalized
        self.events += outcome.events
        self.faults += outcome.faults
        self.ends[outcome.end] += 1
        self.failed += [(outcome.seed, violation) for violation in outcome.violations]
        self.stalled += [(outcome.seed, round_) for round_ in outcome.stalled]

    @property
    def share(self) -> float:
        """Share of the eligible rounds that finalized."""
        return self.eligible_finalized / self.eligible if self.eligible else 1.0

    @property
    def good(self) -> bool:
        """No violation, and enough eligible rounds finalized."""
        return not self.failed and self.share >= SHARE_NEEDED


def run_seed(seed: int, plant: str | None = None, show: Callable[[str], None] | None = None) -> Outcome:
    """Simulate the swarm of a seed, with a fault of `plants` planted if one is named."""
    with planted(plant) as model_class:
        return World(draw(seed), model_class=model_class, show=show).run()


def run_many(seeds: Iterable[int], jobs: int = 1, plant: str | None = None) -> Iterable[Outcome]:
    """Simulate the swarms of these seeds; outcomes come in the order of the seeds."""
    run = partial(run_seed, plant=plant)
    if jobs == 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, seeds, chunksize=10)
