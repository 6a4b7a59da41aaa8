"""Swarm learning, peer to peer: train one model together, without a server and without data leaving its owner.

`SwarmPeer` is for trio programs, `BlockingSwarmPeer` for all others; `SwarmCallback` (with torch) for PyTorch loops.
Errors derive from `SwarmError`. Everything named here is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarmp2p.adapters.torch import SwarmCallback
    from swarmp2p.core.config import Knobs
    from swarmp2p.core.errors import (
        ChainUnreachable,
        ConfigError,
        HomeLocked,
        InvitationRefused,
        LearnerFailed,
        NotAMember,
        PortInUse,
        QuotaExceeded,
        SchemaMismatch,
        SwarmError,
        SwarmWaiting,
        WrongChain,
    )
    from swarmp2p.peer import BlockingSwarmPeer, Event, Learner, Result, Round, Status, SwarmPeer

__all__ = [
    "BlockingSwarmPeer",
    "ChainUnreachable",
    "ConfigError",
    "Event",
    "HomeLocked",
    "InvitationRefused",
    "Knobs",
    "Learner",
    "LearnerFailed",
    "NotAMember",
    "PortInUse",
    "QuotaExceeded",
    "Result",
    "Round",
    "SchemaMismatch",
    "Status",
    "SwarmCallback",
    "SwarmError",
    "SwarmPeer",
    "SwarmWaiting",
    "WrongChain",
]

_PLACES = {"SwarmCallback": "swarmp2p.adapters.torch", "Knobs": "swarmp2p.core.config"} | dict.fromkeys(
    ("BlockingSwarmPeer", "Event", "Learner", "Result", "Round", "Status", "SwarmPeer"), "swarmp2p.peer"
)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'swarmp2p' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES.get(name, "swarmp2p.core.errors")), name)
