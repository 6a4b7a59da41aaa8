"""A reward policy of one's own, in Python: the twin of SquareRootShares.sol, to the last unit."""

from collections.abc import Sequence
from math import isqrt
from pathlib import Path

from swarmp2p.control.abi_codec import Artefact, parse_artefact
from swarmp2p.core.money import Entry

CONTRACT = Path(__file__).with_name("SquareRootShares.json")


class SquareRootShares:
    """A `RewardPolicy`: by the square root of the weight, so that a large member does not take everything."""

    name = "square root"

    def shares(self, round_: int, pot: int, included: Sequence[Entry]) -> list[int]:
        """floor(pot r_i / sum of r) each, with r_i the root of the weight in 65536ths, rounded down as the contract does."""
        roots = [isqrt(entry.weight << 32) for entry in included]
        total = sum(roots)
        return [pot * root // total if total else 0 for root in roots]


def compiled() -> Artefact:
    """The contract, as `node tools/build ../examples/own_layers/SquareRootShares.sol` (in contracts/) compiled it."""
    return parse_artefact(CONTRACT.read_text())
