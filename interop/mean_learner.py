"""A learner for processes of the suites: its "data" is one number (the variable DATUM), and it learns the mean of them."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

SIZE = 70_000
"""Elements of the float32 model: two chunks, so that two leaders have a slice each."""


def genesis() -> dict[str, np.ndarray]:
    """The first model."""
    return {"mean": np.zeros(SIZE, np.float32)}


class MeanLearner:
    """Steps towards its own number; with the merge all come to the weighted mean."""

    weight = 10

    def __init__(self) -> None:
        self.datum = np.float32(os.environ.get("DATUM", "1"))
        self.weights = genesis()

    def train(self, interval: int) -> None:
        for _ in range(interval):
            self.weights["mean"] += np.float32(0.5) * (self.datum - self.weights["mean"])

    def evaluate(self) -> float | None:
        return -float(np.abs(self.weights["mean"] - self.datum).mean())

    def get_weights(self) -> dict[str, np.ndarray]:
        return {name: value.copy() for name, value in self.weights.items()}

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        self.weights = {name: np.array(value, np.float32) for name, value in weights.items()}
