"""One peer of `benchmarks.round`: its learner holds tensors of a given size, and waits at each interval to be told to go on.

Talks to its parent in JSON lines: {"ready": n} before each round, to be answered by a line; {"event": kind, "at": seconds}.
Both say with "cpu" how many seconds the process has computed so far. Where the line is "check", it tells how far any value
of the merged model is from the mean: {"event": "checked", "error": difference}.
"""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import trio

from swarmp2p import SwarmPeer


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")  # in one piece: the learner's thread and trio's both write
    sys.stdout.flush()


def tensors(mib: float, seed: int) -> dict[str, np.ndarray]:
    """A float32 model of this size, in layers of 8 MiB at most."""
    elements = int(mib * 2**18)
    layer = 2 * 2**20
    rng = np.random.default_rng(seed)
    sizes = [min(layer, elements - at) for at in range(0, elements, layer)]
    return {f"layer{i:03d}": rng.standard_normal(size, dtype=np.float32) for i, size in enumerate(sizes)}


class HeldTensors:
    """Trains nothing: what is timed is the swarm."""

    def __init__(self, mib: float, seed: int, peers: int) -> None:
        self._mib, self._peers = mib, peers
        self._weights = tensors(mib, seed)
        self._model = {name: np.zeros_like(value) for name, value in self._weights.items()}
        """Where the merged model goes, as with torch's load_state_dict."""
        self._rounds = 0
        self._check = False

    def train(self, interval: int) -> None:
        self._rounds += 1
        self._weights["layer000"] += np.float32(1)  # else the merge would be the model that it began from
        say(ready=self._rounds, cpu=time.process_time())
        self._check = sys.stdin.readline().strip() == "check"

    def evaluate(self) -> float | None:
        return None

    def get_weights(self) -> Mapping[str, Any]:
        return self._weights

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        for name, value in weights.items():
            np.copyto(self._model[name], value)
        say(event="loaded", at=time.monotonic())
        if self._check:
            say(event="checked", error=self._error(self._model), at=time.monotonic())

    def _error(self, merged: Mapping[str, Any]) -> float:
        mean = {name: np.zeros_like(value) for name, value in self._weights.items()}
        for seed in range(1, self._peers + 1):
            for name, value in tensors(self._mib, seed).items():
                mean[name] += value / np.float32(self._peers)
        mean["layer000"] += np.float32(self._rounds)
        return max(float(np.abs(mean[name] - np.asarray(value)).max()) for name, value in merged.items())


async def main() -> None:
    options = json.loads(sys.argv[1])
    learner = HeldTensors(options["mib"], options["seed"], options["peers"])
    async with SwarmPeer.open(
        options["manifest"],
        learner=learner,
        weight=1,
        home=options["home"],
        invitation=options["invitation"],
        listen=[f"/ip4/{options['address']}/tcp/0"],
    ) as peer:
        offset = time.monotonic() - time.time()

        async def tell() -> None:
            async for event in peer.events():
                at = event.time + offset
                say(event=event.kind, round=event.round, at=at, cpu=time.process_time(), **_short(event.data))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            async for _ in peer.rounds():
                pass
            nursery.cancel_scope.cancel()


def _short(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in ("phase", "cid", "slice") if key in data}


if __name__ == "__main__":
    trio.run(main)
