"""What merge rules and wires do to learning: `python -m benchmarks.merge_rules`.

Seven members train a small network on scikit-learn's digits, each on six of the ten digits, for 30 rounds of 20 batches;
then again with one member that sends ten times the opposite of what it has learnt. No swarm runs: updates are encoded and
merged as peers do it, one after the other. Takes a minute; the numbers are the same each time on one machine.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from swarmp2p.core.errors import InvalidUpdate
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.registry import rule_from_draft
from swarmp2p.merge.rule import ChunkSource, RoundInputs, Rule
from swarmp2p.merge.tensors import read_schema, read_weights, write_weights
from swarmp2p.merge.validate import check_file
from swarmp2p.peer.founding import genesis_file

RULES = (
    "weighted_mean", "weighted_mean;wire=bf16", "weighted_mean;wire=f16", "weighted_mean;wire=int8",
    "fedavgm;momentum=0.5", "fedadam;rate=0.02", "fedyogi;rate=0.02", "coordinate_median", "trimmed_mean",
    "trimmed_mean;wire=int8", "geometric_median", "krum", "multi_krum", "norm_clipping;norm=1.0",
)  # fmt: skip
MEMBERS, ROUNDS, STEPS, BATCH, RATE, HIDDEN = 7, 30, 20, 32, 0.3, 48
TESTED = 400
"""Digits that nobody trains on."""

Weights = dict[str, Any]


class Digits:
    """The data, dealt out so that no member has seen all ten digits."""

    def __init__(self) -> None:
        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(pixels))
        self.pixels, self.labels = (pixels[order] / 16).astype(np.float32), labels[order]
        known = [[(3 * member + k) % 10 for k in range(6)] for member in range(MEMBERS)]
        mine = [np.flatnonzero(np.isin(self.labels[TESTED:], digits)) + TESTED for digits in known]
        self.shares = [rows[member::MEMBERS] for member, rows in enumerate(mine)]

    def train(self, start: Weights, member: int, seed: int) -> Weights:
        """An interval of gradient descent on one member's digits."""
        chance, w = np.random.default_rng(seed), {name: value.copy() for name, value in start.items()}
        for _ in range(STEPS):
            rows = chance.choice(self.shares[member], BATCH)
            before = self.pixels[rows] @ w["w1"] + w["b1"]
            hidden = np.maximum(before, 0)
            scores = hidden @ w["w2"] + w["b2"]
            slope = np.exp(scores - scores.max(axis=1, keepdims=True))
            slope /= slope.sum(axis=1, keepdims=True)
            slope[np.arange(BATCH), self.labels[rows]] -= 1
            slope /= BATCH
            back = (slope @ w["w2"].T) * (before > 0)
            w["w2"] -= RATE * hidden.T @ slope
            w["b2"] -= RATE * slope.sum(axis=0)
            w["w1"] -= RATE * self.pixels[rows].T @ back
            w["b1"] -= RATE * back.sum(axis=0)
        return w

    def accuracy(self, w: Weights) -> float:
        """On digits that nobody has trained on."""
        hidden = np.maximum(self.pixels[:TESTED] @ w["w1"] + w["b1"], 0)
        return float(((hidden @ w["w2"] + w["b2"]).argmax(axis=1) == self.labels[:TESTED]).mean())


def run(rule: Rule, digits: Digits, folder: Path, liars: int) -> tuple[float, int]:
    """Accuracy after all rounds, and the bytes of an update."""
    chance = np.random.default_rng(1)
    w = {"w1": chance.normal(0, 0.2, (64, HIDDEN)), "b1": np.zeros(HIDDEN)}
    w |= {"w2": chance.normal(0, 0.2, (HIDDEN, 10)), "b2": np.zeros(10)}
    head, own = folder / "head", folder / "own"
    write_weights({name: value.astype(np.float32) for name, value in w.items()}, own)
    with genesis_file(rule, own) as genesis:
        head.write_bytes(genesis.read_bytes())
    model = read_schema(head)
    weights = rule.weights_schema(model)
    before, size = head.read_bytes(), 0
    for number in range(ROUNDS):
        now, updates = read_weights(head, names=weights.by_name()), []
        for member in range(MEMBERS):
            new = digits.train(now, member, 100 * number + member)
            if member < liars:
                new = {name: now[name] - np.float32(10) * (value - now[name]) for name, value in new.items()}
            write_weights(new, own, weights)
            check_file(own, weights)
            updates.append(published(rule, own, head, folder / f"residual{member}"))
            size = len(updates[-1])
        heads = [head.read_bytes(), before][: rule.heads]
        counts = [len(share) for share in digits.shares]
        merge = rule.begin(RoundInputs(model, list(map(source, updates)), counts, list(map(source, heads))))
        before = head.read_bytes()
        head.write_bytes(b"".join(bytes(merge.chunk(index)) for index in range(model.chunks)))
    return digits.accuracy(read_weights(head, names=weights.by_name())), size


def published(rule: Rule, own: Path, head: Path, residual: Path) -> bytes:
    if rule.wire.plain:
        return own.read_bytes()
    update, left = own.with_name("update"), residual.with_suffix(".new")
    rule.wire.encode(own, head, residual if residual.exists() else None, update, left)
    left.replace(residual)
    return update.read_bytes()


def source(file: bytes) -> ChunkSource:
    return lambda index: file[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]


def learnt(digits: Digits, text: str, liars: int) -> tuple[float, int] | None:
    """What `run` gives; None: an update became INVALID, and the swarm would have ended."""
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
        try:
            return run(rule_from_draft(text), digits, Path(folder), liars)
        except InvalidUpdate:
            return None


def show(as_json: bool) -> None:
    """Print what each rule does."""
    digits, told = Digits(), {}
    for text in RULES:
        honest, attacked = (learnt(digits, text, liars) for liars in (0, 1))
        size = (honest or attacked or (0, 0))[1]
        told[text] = {"bytes": size, "accuracy": honest and honest[0], "with a liar": attacked and attacked[0]}
        if not as_json:
            said = [f"{each[0]:.3f}" if each else "ended: updates became INVALID" for each in (honest, attacked)]
            print(f"{text:24} update {size:6,} bytes, accuracy {said[0]}, with one liar {said[1]}", flush=True)
    if as_json:
        print(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merge_rules", description=__doc__)
    parser.add_argument("--json", action="store_true")
    show(parser.parse_args().json)


if __name__ == "__main__":
    main()
