"""scikit-learn's handwritten digits, dealt out so that no peer sees all ten."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FOUR = ((0, 1, 2), (3, 4), (5, 6, 7), (8, 9))
HELD_OUT = 0.2


@dataclass(frozen=True)
class Digits:
    """Images as rows of 64 float32, each with mean 0 and deviation 1; labels as int64."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def only(self, rows: NDArray[np.int64]) -> "Digits":
        """A part."""
        return Digits(self.images[rows], self.labels[rows])


def load(seed: int) -> tuple[Digits, Digits]:
    """(training set, held-out set of all ten digits), split by seed."""
    images, labels = load_digits(return_X_y=True)
    # Each image by itself, so that no peer needs statistics of the others' data.
    centred = images - images.mean(axis=1, keepdims=True)
    scaled = (centred / images.std(axis=1, keepdims=True)).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        scaled, labels.astype(np.int64), test_size=HELD_OUT, random_state=seed, stratify=labels
    )
    return Digits(np.ascontiguousarray(train_x), train_y), Digits(np.ascontiguousarray(test_x), test_y)


def digits_of(peer: int, peers: int) -> tuple[int, ...]:
    """Which digits a peer has; with more than ten peers, several share one."""
    if peers == 4:
        return FOUR[peer]
    if peers <= 10:
        return tuple(int(digit) for digit in np.array_split(np.arange(10), peers)[peer])
    return (peer % 10,)


def part_of(data: Digits, peer: int, peers: int) -> Digits:
    """The training data of one peer."""
    rows = np.flatnonzero(np.isin(data.labels, digits_of(peer, peers)))
    if peers > 10:
        sharing = len(range(peer % 10, peers, 10))
        rows = rows[peer // 10 :: sharing]
    return data.only(rows)
