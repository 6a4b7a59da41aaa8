"""One peer of `interop.accept_bounds`: a swarm process whose learner lives in another. Tells events in lines of JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import trio

from interop.process_learner import ProcessLearner
from swarmp2p import SwarmPeer


async def main(options: dict[str, Any]) -> None:
    """Until the swarm has stopped."""
    learner = ProcessLearner(Path(options["learner"]), options["megabytes"], options["step"])
    try:
        async with SwarmPeer.open(
            options["manifest"],
            learner=learner,
            weight=1,
            home=options["home"],
            invitation=options["invitation"],
            listen=["/ip4/127.0.0.1/tcp/0"],
        ) as peer, trio.open_nursery() as nursery:  # fmt: skip
            nursery.start_soon(tell, peer)
            async for _ in peer.rounds():
                pass
            say(kind="stopped", head=str(peer.head))
            nursery.cancel_scope.cancel()
    finally:
        learner.close()


async def tell(peer: SwarmPeer) -> None:
    """Events as they happen."""
    async for event in peer.events():
        say(kind=event.kind, round=event.round, time=event.time, data=event.data)


def say(**what: Any) -> None:
    """A line to the parent."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
