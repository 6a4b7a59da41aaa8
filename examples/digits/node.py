"""One peer of the demo, as a process of its own. Tells what happens as JSON lines on standard output."""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import trio

from examples.digits.data import load, part_of
from examples.digits.learner import DigitsLearner
from swarmp2p import SwarmError, SwarmPeer


def say(kind: str, **data: Any) -> None:
    """One line for the orchestrator."""
    print(json.dumps({"kind": kind, "time": time.time(), **data}), flush=True)


def killer(order: dict[str, Any] | None) -> Any:
    """A hook that ends this process, as hard as can be, at the step of a round that the demo was asked for."""

    def on_step(step: str, round_: int, rank: int | None) -> None:
        if order is None or step != order["step"] or round_ != order["round"]:
            return
        if order["who"] == "leader" and rank != 0:
            return
        say("killed", step=step, round=round_, rank=rank)
        os.kill(os.getpid(), signal.SIGKILL)

    return on_step


async def take_part(config: dict[str, Any]) -> None:
    """Until the swarm has stopped."""
    data, held_out = load(config["seed"])
    mine = part_of(data, config["index"], config["peers"])
    learner = DigitsLearner(mine, held_out, config["hidden"], config["seed"], config["index"])
    async with SwarmPeer.open(
        config["manifest"],
        learner=learner,
        weight=learner.weight,
        home=config["home"],
        invitation=config["invitation"],
        listen=config["listen"],
        sync_interval=learner.epoch,
        on_step=killer(config.get("kill")),
    ) as peer:
        say("started", address=peer.address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forward_events, peer)
            async for _ in peer.rounds():
                pass
            nursery.cancel_scope.cancel()
        say("stopped", head=str(peer.head), best=str(peer.best), rounds=peer.result.rounds)


async def forward_events(peer: SwarmPeer) -> None:
    """Every event of the peer as a line."""
    async for event in peer.events():
        print(json.dumps({"kind": event.kind, "time": event.time, "round": event.round, **event.data}), flush=True)


def main() -> None:
    """Argument: a JSON file with the configuration. SWARMP2P_LOG=INFO says more on standard error."""
    logging.basicConfig(level=os.environ.get("SWARMP2P_LOG", "WARNING"), format="%(asctime)s %(name)s: %(message)s")
    try:
        trio.run(take_part, json.loads(Path(sys.argv[1]).read_text()))
    except SwarmError as error:
        say("error", message=str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
