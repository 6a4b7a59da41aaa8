"""What a device learns: whether a machine is normal, worn or broken, from readings of its sensors. NumPy is enough.

As a program it writes the first model, which whoever founds the swarm gives to `swarmp2p found --genesis`:

    python learner.py genesis.safetensors
"""

import os
import sys
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

SENSORS, STATES = 6, 3
BATCH = 16
RATE = np.float32(0.2)
KEPT_BACK = 5
"""Every fifth reading is not trained on, but validates merged models."""

Floats = NDArray[np.float32]


def first_model() -> dict[str, Floats]:
    """A model that knows nothing."""
    return {"bias": np.zeros(STATES, np.float32), "weight": np.zeros((SENSORS, STATES), np.float32)}


class MachineState:
    """Softmax regression on the readings in `readings.csv` (or the file that READINGS names).

    A line is a reading: six numbers, then the state (0 normal, 1 worn, 2 broken); the first line has the headings.
    """

    def __init__(self) -> None:
        table = np.loadtxt(os.environ.get("READINGS", "readings.csv"), delimiter=",", skiprows=1, ndmin=2)
        readings, states = table[:, :SENSORS].astype(np.float32), table[:, SENSORS].astype(np.int64)
        kept = np.arange(len(table)) % KEPT_BACK == 0
        self._readings, self._states = readings[~kept], states[~kept]
        self._kept = readings[kept], states[kept]
        self._model = first_model()
        self._position = 0

    @property
    def weight(self) -> int:
        """How much this device counts in the merge: its number of readings."""
        return len(self._states)

    def _likely(self, readings: Floats) -> Floats:
        """Probability of each state: an array of (readings, STATES)."""
        scores = readings @ self._model["weight"] + self._model["bias"]
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    def train(self, interval: int) -> None:
        """Go on for `interval` batches from where the last call ended."""
        for _ in range(interval):
            rows = np.arange(self._position, self._position + BATCH) % len(self._states)
            self._position = (self._position + BATCH) % len(self._states)
            error = self._likely(self._readings[rows])
            error[np.arange(len(rows)), self._states[rows]] -= 1
            step = RATE / np.float32(len(rows))
            self._model["weight"] = self._model["weight"] - step * (self._readings[rows].T @ error)
            self._model["bias"] = self._model["bias"] - step * error.sum(axis=0)

    def evaluate(self) -> float:
        """Accuracy on the readings that were kept back."""
        readings, states = self._kept
        return float((self._likely(readings).argmax(axis=1) == states).mean())

    def get_weights(self) -> Mapping[str, Floats]:
        """The model."""
        return self._model

    def set_weights(self, weights: Mapping[str, Floats]) -> None:
        """Go on from a merged model."""
        self._model = {name: np.array(value) for name, value in weights.items()}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python learner.py FILE")
    save_file(first_model(), sys.argv[1])
