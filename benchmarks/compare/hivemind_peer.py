"""One hivemind peer of `benchmarks.compare`: a DHT node and an averager that holds tensors of a given size.

Runs in hivemind's own environment (`tools/hivemind`), so it imports nothing of ours; PyTorch and hivemind are its only
needs. Talks to its parent in JSON lines as `benchmarks.round_peer` does: {"ready": n} before each all-reduce, to be
answered by a line; then {"event": kind, "at": seconds} for "group" (matchmaking has ended), "over" (the mean is in the
tensors, or it failed), and "checked": the largest difference from the mean that it computed by itself from all peers' seeds.
"""

import json
import sys
import time
from typing import Any

import hivemind  # type: ignore[import-not-found]
import torch
from hivemind.averaging import DecentralizedAverager  # type: ignore[import-not-found]
from hivemind.averaging.control import AveragingStage, StepControl  # type: ignore[import-not-found]

LAYER = 2 * 2**20
"""Elements of a tensor at most, as in our peers' models."""
POLL = 0.002
"""Seconds between two looks at how far an all-reduce is: its stage is a byte in shared memory, and nothing tells of it."""


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def tensors(mib: float, seed: int) -> list[torch.Tensor]:
    """A float32 model of this size."""
    elements = int(mib * 2**18)
    chance = torch.Generator().manual_seed(seed)
    return [torch.randn(min(LAYER, elements - at), generator=chance) for at in range(0, elements, LAYER)]


def mean(mib: float, peers: int) -> list[torch.Tensor]:
    """What the all-reduce of all peers' tensors must give."""
    total = tensors(mib, 1)
    for seed in range(2, peers + 1):
        for whole, part in zip(total, tensors(mib, seed), strict=True):
            whole += part
    return [each / peers for each in total]


def begin(averager: DecentralizedAverager) -> StepControl:
    """Look for the group; the all-reduce waits to be triggered."""
    step = averager.step(require_trigger=True, wait=False, timeout=60)
    assert isinstance(step, StepControl)
    return step


def watch(step: StepControl) -> None:
    """Tell when the group was found, and when the step was over."""
    grouped = False
    while not step.done():
        if not grouped and step.stage is AveragingStage.RUNNING_ALLREDUCE:
            grouped = True
            say(event="group", at=time.monotonic())
        time.sleep(POLL)
    over, failed = time.monotonic(), step.exception()
    size = 0 if failed else len(step.result() or ())
    say(event="over", at=over, size=size, failed=repr(failed) if failed else None)


def serve(averager: DecentralizedAverager, options: dict[str, Any]) -> None:
    own, expected = tensors(options["mib"], options["seed"]), mean(options["mib"], options["peers"])
    number = 0
    while True:
        with averager.get_tensors() as held:
            for value, mine in zip(held, own, strict=True):
                value.copy_(mine)
        number += 1
        # With the group found beforehand, what is timed is the all-reduce alone.
        early = begin(averager) if options["early"] else None
        while early is not None and early.stage is AveragingStage.LOOKING_FOR_GROUP:
            time.sleep(POLL)
        say(ready=number)
        if not sys.stdin.readline():
            return
        step = early or begin(averager)
        step.allow_allreduce()
        watch(step)
        with averager.get_tensors() as held:
            error = max(float((value - right).abs().max()) for value, right in zip(held, expected, strict=True))
        say(event="checked", error=error, at=time.monotonic())


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    dht = hivemind.DHT(
        initial_peers=options["initial"], start=True, auto_nat=False, nat_port_map=False, use_relay=False
    )
    say(address=[str(each) for each in dht.get_visible_maddrs()])
    averager = DecentralizedAverager(
        tensors(options["mib"], options["seed"]),
        dht,
        start=True,
        prefix="benchmark",
        target_group_size=options["peers"],
        min_group_size=options["peers"],
        min_matchmaking_time=options["matchmaking"],
        request_timeout=options["matchmaking"] / 2,
        part_size_bytes=options["part"],
        allow_state_sharing=False,
    )
    try:
        serve(averager, options)
    finally:
        averager.shutdown()
        dht.shutdown()


if __name__ == "__main__":
    main()
