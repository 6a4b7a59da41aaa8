"""How fast merge rules are: megabytes of updates for each second of one core, and beside the plain weighted mean.

All rules take turns on updates of the same weights, which are in memory and checked: what is timed is the rule alone, with
its further looks at the updates if it takes any. With --learning: what rules do to learning, instead.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import merge_rules
from benchmarks.merge_rules import RULES, published, source
from benchmarks.round_peer import tensors
from swarmp2p.core.schema import Schema
from swarmp2p.merge.registry import rule_from_draft
from swarmp2p.merge.rule import RoundInputs, Rule
from swarmp2p.merge.tensors import read_schema, write_weights
from swarmp2p.peer.founding import genesis_file

PLAIN = "weighted_mean"


@dataclass
class Timed:
    """A rule with all that it needs for a merge, and how long each took."""

    text: str
    rule: Rule
    model: Schema
    updates: list[bytes]
    head: bytes
    seconds: list[float] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """MB/s of input."""
        return sum(map(len, self.updates)) / statistics.median(self.seconds) / 1e6

    def merge(self) -> None:
        """All chunks of the merged model, one after the other."""
        heads, weights = [source(self.head)] * self.rule.heads, list(range(1, len(self.updates) + 1))
        inputs = RoundInputs(self.model, list(map(source, self.updates)), weights, heads)
        start = time.perf_counter()
        with np.errstate(all="ignore"):
            merge = self.rule.begin(inputs)
            for index in range(self.model.chunks):
                merge.chunk(index)
        self.seconds.append(time.perf_counter() - start)


def prepared(text: str, members: int, mib: float, folder: Path) -> Timed:
    """A rule with the updates of so many members."""
    rule, own, head = rule_from_draft(text), folder / "own", folder / "head"
    write_weights(tensors(mib, 0), own)
    with genesis_file(rule, own) as genesis:
        head.write_bytes(genesis.read_bytes())
    model = read_schema(head)
    updates = []
    for member in range(members):
        write_weights(tensors(mib, member + 1), own, rule.weights_schema(model))
        updates.append(published(rule, own, head, folder / f"residual {member}"))
    return Timed(text, rule, model, updates, head.read_bytes())


def measure(members: int, mib: float, turns: int) -> list[Timed]:
    """Each rule once a turn, after one that does not count."""
    with tempfile.TemporaryDirectory(prefix="swarmp2p-bench-") as folder:
        rules = []
        for number, text in enumerate(RULES):
            place = Path(folder, str(number))
            place.mkdir()
            rules.append(prepared(text, members, mib, place))
    for _ in range(turns + 1):
        for each in rules:
            each.merge()
    for each in rules:
        del each.seconds[0]
    return rules


def main() -> None:
    parser = argparse.ArgumentParser(prog="swarmp2p bench merge", description=__doc__)
    parser.add_argument("--members", type=int, default=7, help="updates that are merged")
    parser.add_argument("--mib", type=float, default=8, help="size of the float32 weights")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument(
        "--learning", action="store_true", help="accuracy with each rule instead, with and without a liar"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.learning:
        merge_rules.show(args.json)
        return
    rules = measure(args.members, args.mib, args.turns)
    plain = next(each.speed for each in rules if each.text == PLAIN)
    if args.json:
        told = {each.text: {"MB/s": each.speed, "ratio": each.speed / plain, "seconds": each.seconds} for each in rules}
        print(json.dumps({**vars(args), "rules": told}))
        return
    print(
        f"{args.members} updates of {args.mib:g} MiB of float32 weights, median of {args.turns}; MB/s are of updates as sent:"
    )
    for each in rules:
        milliseconds = statistics.median(each.seconds) * 1e3
        print(
            f"  {each.text:24s} {each.speed:6.0f} MB/s, {each.speed / plain:5.2f} of the plain mean; {milliseconds:6.0f} ms"
        )


if __name__ == "__main__":
    main()
