"""What a seed means: the swarm's configuration, who its peers are, and what goes wrong for each of them."""

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from swarmp2p.core.config import Config, Knobs
from swarmp2p.core.types import CHUNK_SIZE, NO_ADDRESS, Address, Digest

START = 1_800_000_000
"""Unix time at which every simulation begins."""

FAR = 2**40 - 1
COLLECT_TIMEOUT, GRACE, MERGE_TIMEOUT = 60, 8, 120


class Lie(Enum):
    """What a liar does. One liar may have several of these habits."""

    WRONG_CLAIM = "wrong claims"
    COLLUDE = "the same wrong digests as the other liars, attested for all slices"
    EQUIVOCATE = "different claims to different peers"
    FALSE_UNAVAILABLE = "objects to available updates"
    FALSE_INVALID = "objects to valid updates"
    UNAVAILABLE = "serves its update to nobody"
    SELECTIVE = "serves its update to some only"
    LISTS_ONLY = "serves its update's leaf list but no chunk"
    INVALID = "submits updates with NaN"
    SILENT = "submits and then does no work"
    FORGE = "sends finalize with what it has"
    EARLY_ABORT = "attests aborts"
    REPORTS = "reports the contrary"


@dataclass(frozen=True, slots=True)
class Outage:
    """A crash of the process (`network` False) or the loss of its network, at an action boundary or a time."""

    duration: float
    """Seconds; infinite: for ever."""
    at_boundary: int = 0
    """At the n-th action boundary since the last (re)start; 0: at `at_time`."""
    at_time: float = 0.0
    network: bool = False


@dataclass(slots=True)
class PeerPlan:
    """One peer of a swarm."""

    address: Address
    train_time: float
    joins_at: float = 0.0
    """Seconds after the start; 0: a founder."""
    starts_at: float = 0.0
    skew: float = 0.0
    """Its clock less the true time, in seconds."""
    outages: list[Outage] = field(default_factory=list)
    lies: frozenset[Lie] = frozenset()


@dataclass(slots=True)
class Plan:
    """A swarm and its faults, drawn from a seed."""

    seed: int
    config: Config
    knobs: Knobs
    peers: list[PeerPlan]
    loss: float
    """Share of gossip messages that do not arrive."""
    delay: float
    """Mean delay of a gossip message, seconds."""
    duplicates: float
    fetch_loss: float
    """Share of content requests that fail for no reason."""
    block_time: float
    transaction_loss: float
    undialable: frozenset[tuple[int, int]]
    """Pairs of peers of which the first cannot fetch from the second."""
    improves: float
    """Share of heads that are better than the best."""
    limit: float
    """Seconds after which the simulation ends whatever happens."""


def digest_of(*parts: object) -> Digest:
    """A digest that stands for content made of these parts."""
    return hashlib.sha256(repr(parts).encode()).digest()


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(seed)
    founders = random.choice((2, 3, 3, 4, 4, 4, 5, 6, 7, 8, 10, 12, 16))
    default_f = 1 if founders <= 6 else 2 if founders <= 15 else 3
    f = random.choice((default_f, default_f, random.randint(0, 3)))
    f = min(f, founders - 1)
    chunks = random.choice((1, 2, 4, 8, 16, 40))
    rounds = random.randint(3, 6)
    addresses = [digest_of("peer", seed, i)[:20] for i in range(16)]
    joiners = random.choice((0, 0, 1, 2)) if founders <= 14 else 0
    config = _config(random, founders, f, chunks, rounds, addresses)
    interval = random.uniform(1.0, 6.0)
    peers = [_peer(random, addresses[i], interval) for i in range(founders + joiners)]
    for joiner in peers[founders:]:
        joiner.joins_at = random.uniform(3.0, 30.0)
    _add_liars(random, peers[:founders], f)
    _add_outages(random, peers, config)
    pairs = [(a, b) for a in range(len(peers)) for b in range(len(peers)) if a != b]
    undialable = frozenset(p for p in pairs if random.random() < 0.05) if random.random() < 0.3 else frozenset()
    return Plan(
        seed=seed,
        config=config,
        knobs=Knobs(leader_timeout=3.0, fetch_timeout=3.0, slack=1.0, stagger=0.3, announce_interval=1.0, linger=30.0),
        peers=peers,
        loss=random.choice((0.0, 0.05, 0.1, 0.2)),
        delay=random.choice((0.01, 0.05, 0.2, 0.5)),
        duplicates=random.choice((0.0, 0.05)),
        fetch_loss=random.choice((0.0, 0.02, 0.1)),
        block_time=random.choice((0.05, 0.25, 1.0, 2.0)),
        transaction_loss=random.choice((0.0, 0.0, 0.05)),
        undialable=undialable,
        improves=random.choice((1.0, 0.8, 0.5)),
        limit=rounds * (COLLECT_TIMEOUT * 2 + MERGE_TIMEOUT) + 200.0,
    )


def _config(random: Random, founders: int, f: int, chunks: int, rounds: int, addresses: list[Address]) -> Config:
    zero = bytes(32)
    return Config(
        genesis=digest_of("genesis"),
        size=chunks * CHUNK_SIZE,
        schema=zero,
        update_size=chunks * CHUNK_SIZE,
        update_schema=zero,
        rule=zero,
        purpose=zero,
        manifest=zero,
        initial_members=founders,
        f=f,
        k_max=random.choice((1, 2, 4, 8, 16, 16)),
        min_updates=max(2, f + 1, random.choice((0, 0, 0, founders // 2, founders))),
        frac_bps=random.choice((5000, 5000, 7500, 10_000)),
        collect_timeout=random.choice((COLLECT_TIMEOUT, COLLECT_TIMEOUT // 3)),
        grace=GRACE,
        merge_timeout=MERGE_TIMEOUT,
        max_missed=random.choice((1, 2, 3)),
        max_rounds=rounds,
        patience=random.choice((0, 0, 2)),
        abandon_after=30 * 86_400,
        k_invite=1,
        treasury=NO_ADDRESS,
        founders=tuple(addresses[:founders]),
    )


def _peer(random: Random, address: Address, interval: float) -> PeerPlan:
    slow = random.choice((1.0,) * 6 + (2.0, 4.0))
    return PeerPlan(
        address=address,
        train_time=interval * slow * random.uniform(0.8, 1.25),
        starts_at=random.uniform(0.0, 3.0),
        skew=random.uniform(-0.4, 0.4),
    )


def _add_liars(random: Random, founders: list[PeerPlan], f: int) -> None:
    if f == 0 or random.random() < 0.4:
        return
    # A majority of honest founders stays, so that there is a swarm to speak of.
    count = min(random.randint(1, f), (len(founders) - 1) // 2)
    habits = list(Lie)
    shared = random.random() < 0.3
    for liar in random.sample(founders, count):
        lies = set(random.sample(habits, random.randint(1, 3)))
        liar.lies = frozenset(lies | {Lie.COLLUDE} if shared else lies)


def _add_outages(random: Random, peers: list[PeerPlan], config: Config) -> None:
    rate = random.choice((0.0, 0.3, 0.6, 1.0))
    liars = sum(1 for peer in peers if peer.lies)
    may_die = max(0, config.initial_members - liars - max(config.min_updates, config.q))
    if random.random() < 0.05:
        may_die = len(peers)
    for peer in peers:
        for _ in range(random.choice((1, 1, 2, 4))):
            if random.random() >= rate:
                continue
            kind = random.random()
            if kind < 0.1 and may_die:
                may_die -= 1
                peer.outages.append(Outage(float("inf"), at_boundary=random.randint(1, 150)))
                break
            duration = random.uniform(0.3, 10.0) if kind < 0.75 else random.uniform(20.0, 150.0)
            if random.random() < 0.25:
                peer.outages.append(Outage(duration, at_time=random.uniform(1.0, 120.0), network=True))
            else:
                peer.outages.append(Outage(duration, at_boundary=random.randint(1, 150)))
