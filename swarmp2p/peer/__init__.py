"""The peer: opens the layers, drives the round, and offers both as `SwarmPeer` (trio) and `BlockingSwarmPeer`.

Everything named here is imported when it is first used: founding, inviting and paying need no libp2p, which takes long to
import.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarmp2p.peer.blocking import BlockingSwarmPeer
    from swarmp2p.peer.events import Event, Result, Round, Status, StepHook
    from swarmp2p.peer.learner import Learner
    from swarmp2p.peer.swarm_peer import SwarmPeer

__all__ = ["BlockingSwarmPeer", "Event", "Learner", "Result", "Round", "Status", "StepHook", "SwarmPeer"]

_PLACES = {
    "BlockingSwarmPeer": "blocking",
    "Event": "events",
    "Learner": "learner",
    "Result": "events",
    "Round": "events",
    "Status": "events",
    "StepHook": "events",
    "SwarmPeer": "swarm_peer",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'swarmp2p.peer' has no attribute {name!r}")
    return getattr(importlib.import_module(f"swarmp2p.peer.{_PLACES[name]}"), name)
