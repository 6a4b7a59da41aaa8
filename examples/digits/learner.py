"""An MLP 64-hidden-10 in torch, one thread, plain SGD, and an epoch of it as the swarm's interval."""

from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np
import torch

from examples.digits.data import Digits

BATCH = 16
RATE = 0.1
WIDE = 1024
"""Hidden units above which the learning rate falls in proportion: the sum over them grows with their number."""


def make_model(hidden: int, seed: int) -> torch.nn.Sequential:
    """The same initial weights for everybody with this seed."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))


class DigitsLearner:
    """What a peer trains.

    Args:
        train: its own part of the training set.
        held_out: on which merged models are judged.
        hidden: width of the hidden layer.
        seed: of the initial weights and, with `stream`, of the order of batches.
    """

    def __init__(self, train: Digits, held_out: Digits, hidden: int, seed: int, stream: int) -> None:
        torch.set_num_threads(1)
        self._x, self._y = torch.from_numpy(train.images), torch.from_numpy(train.labels)
        self._test_x, self._test_y = torch.from_numpy(held_out.images), torch.from_numpy(held_out.labels)
        self.model = make_model(hidden, seed)
        self._optimizer = torch.optim.SGD(self.model.parameters(), lr=RATE * min(1.0, WIDE / hidden))
        self._seed, self._stream = seed, stream
        self._batches = self._endless()

    @property
    def weight(self) -> int:
        """Samples."""
        return len(self._y)

    @property
    def epoch(self) -> int:
        """Batches in an epoch."""
        return -(-len(self._y) // BATCH)

    def _endless(self) -> Iterator[torch.Tensor]:
        epoch = 0
        while True:
            order = np.random.default_rng((self._seed, self._stream, epoch)).permutation(len(self._y))
            yield from torch.from_numpy(order).split(BATCH)
            epoch += 1

    def train(self, interval: int) -> None:
        """Some batches of plain SGD."""
        for rows in islice(self._batches, interval):
            self._optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self.model(self._x[rows]), self._y[rows]).backward()
            self._optimizer.step()

    def evaluate(self) -> float:
        """Accuracy on the held-out set."""
        with torch.no_grad():
            hits = self.model(self._test_x).argmax(1) == self._test_y
        return float(hits.float().mean())

    def get_weights(self) -> Mapping[str, torch.Tensor]:
        """The model's state_dict."""
        return self.model.state_dict()

    def set_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take over merged weights."""
        self.model.load_state_dict(dict(weights))
