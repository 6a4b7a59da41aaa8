"""The peer: opens the layers, drives the round, and offers both as `SwarmPeer` (trio) and `BlockingSwarmPeer`."""

from swarmp2p.peer.blocking import BlockingSwarmPeer
from swarmp2p.peer.events import Event, Result, Round, Status, StepHook
from swarmp2p.peer.learner import Learner
from swarmp2p.peer.swarm_peer import SwarmPeer

__all__ = ["BlockingSwarmPeer", "Event", "Learner", "Result", "Round", "Status", "StepHook", "SwarmPeer"]
