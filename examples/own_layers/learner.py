"""What is learnt: the picture of a sky, from noisy photographs of it, of which each member has another number."""

from collections.abc import Mapping
from typing import Any

import numpy as np

SIDE = 320
"""Pixels: 400 KiB of float32 are two chunks, so that two leaders have a slice each."""
NOISE = 0.5
RATE = 0.1
PHOTOGRAPHS = (4, 9, 36, 100)
"""Of the first, second, … member: weights whose square roots are 2, 3, 6 and 10."""


def first_model() -> dict[str, Any]:
    """Dark everywhere."""
    return {"sky": np.zeros((SIDE, SIDE), np.float32)}


class SkyLearner:
    """Moves the picture a little towards one photograph after another.

    Args:
        member: which one, from 0 on.
    """

    def __init__(self, member: int) -> None:
        self._member = member
        self.weight = PHOTOGRAPHS[member]
        self._sky = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
        self._seen = 0
        self.picture = first_model()["sky"]

    def _photograph(self, number: int) -> Any:
        noise = np.random.default_rng((1 + self._member, number)).standard_normal((SIDE, SIDE), np.float32)
        return self._sky + np.float32(NOISE) * noise

    def train(self, interval: int) -> None:
        """So many photographs, one a batch."""
        for _ in range(interval):
            shown = self._photograph(self._seen % self.weight)
            self.picture = self.picture + np.float32(RATE) * (shown - self.picture)
            self._seen += 1

    def evaluate(self) -> float:
        """Minus the root mean square distance from a photograph that is not trained on; the noise stays: about -0.5."""
        return -float(np.sqrt(np.mean((self._photograph(self.weight) - self.picture) ** 2)))

    def get_weights(self) -> Mapping[str, Any]:
        """The picture."""
        return {"sky": self.picture}

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Another picture."""
        self.picture = weights["sky"]
