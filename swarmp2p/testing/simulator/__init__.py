"""A seeded simulator of whole swarms: the real `decide`, everything around it made up, and checkers of the invariants.

`run_seed(seed)` simulates one swarm; `python -m swarmp2p.testing.simulator` thousands of them.
"""

from swarmp2p.testing.simulator.batch import Totals, run_many, run_seed
from swarmp2p.testing.simulator.plan import Plan, draw
from swarmp2p.testing.simulator.world import Outcome, World

__all__ = ["Outcome", "Plan", "Totals", "World", "draw", "run_many", "run_seed"]
