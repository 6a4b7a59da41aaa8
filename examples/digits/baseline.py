"""What each peer reaches alone, and one that has all the data: same initial weights, batches and rate."""

import json
import os
import sys

from examples.digits.data import load, part_of
from examples.digits.learner import DigitsLearner

CENTRAL_STREAM = 1_000_000


def main() -> None:
    """Arguments: peers, rounds, hidden, seed. Prints {"alone": [...], "central": ...}."""
    os.nice(10)  # the swarm beside it is what is being timed
    peers, rounds, hidden, seed = map(int, sys.argv[1:])
    data, held_out = load(seed)
    learners = [DigitsLearner(part_of(data, i, peers), held_out, hidden, seed, i) for i in range(peers)]
    learners.append(DigitsLearner(data, held_out, hidden, seed, CENTRAL_STREAM))
    accuracies = []
    for learner in learners:
        learner.train(rounds * learner.epoch)
        accuracies.append(learner.evaluate())
    print(json.dumps({"alone": accuracies[:-1], "central": accuracies[-1]}))


if __name__ == "__main__":
    main()
