"""What a peer tells those who watch: rounds for programs, events for those who draw, steps for fault tests."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio
from multiformats import CID

from swarmp2p.core.types import Phase


@dataclass(frozen=True, slots=True)
class Round:
    """A merged round that this peer has applied."""

    number: int
    phase: Phase
    """Phase of the swarm when this peer had applied the merge."""
    leaders: tuple[str, ...]
    """Ethereum addresses of the workers of rank 0, slice by slice."""
    merged: CID
    included: int
    """How many updates went into it."""
    metric: float | None
    """This peer's own validation of the merged model."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a swarm ended for this peer."""

    reason: str
    head: CID
    best: CID
    rounds: int


@dataclass(frozen=True, slots=True)
class Status:
    """What a peer is doing, and for whom it waits."""

    round: int
    phase: str
    head: CID
    best: CID
    waits_for: tuple[str, ...]
    """Addresses of the members that the round waits for."""
    doing: tuple[str, ...]
    connected: tuple[str, ...]
    trying: tuple[str, ...]
    """Addresses that are being dialled, with the last failure."""
    trouble: str | None
    """The last error that is being retried."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened; `data` holds JSON-able values only."""

    kind: str
    round: int
    time: float
    """Unix time."""
    data: dict[str, Any] = field(default_factory=dict)


StepHook = Callable[[str, int, int | None], None]
"""Called right before a step takes effect, with its name (train, publish, submit, fetch, claim, attest, finalize,
apply), the round, and this member's rank for slice 0 of a sealed round (None while a round collects)."""


class Broadcast:
    """Events to any number of readers; a reader that does not keep up loses the oldest ones, nobody waits for it."""

    BACKLOG = 4096

    def __init__(self) -> None:
        self._readers: list[tuple[trio.MemorySendChannel[Event], trio.MemoryReceiveChannel[Event]]] = []

    def send(self, event: Event) -> None:
        """Hand an event to every reader."""
        for sender, receiver in self._readers:
            if sender.statistics().current_buffer_used >= self.BACKLOG:
                receiver.receive_nowait()
            sender.send_nowait(event)

    def subscribe(self) -> trio.MemoryReceiveChannel[Event]:
        """Events from now on."""
        sender, receiver = trio.open_memory_channel[Event](math.inf)
        self._readers.append((sender, receiver))
        return receiver.clone()

    def close(self) -> None:
        """End every reader's iteration once it has read what is there."""
        for sender, receiver in self._readers:
            sender.close()
            receiver.close()
        self._readers.clear()
