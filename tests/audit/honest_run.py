"""Swarms in memory that ran honestly, for audits to look at."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import trio

from swarmp2p.audit.check import check_chain
from swarmp2p.audit.evidence import Evidence
from swarmp2p.audit.recompute import Source, recompute
from swarmp2p.audit.report import Report
from swarmp2p.content.exchange import CONTENT_PROTOCOL, Server
from swarmp2p.content.unixfs import HASH_SIZE
from swarmp2p.control.manifest import Manifest
from swarmp2p.core.errors import ContentUnavailable
from swarmp2p.core.types import CHUNK_SIZE, Address, Digest
from swarmp2p.identity import Key
from swarmp2p.merge.registry import DEFAULT_RULE_ID, rule_from_id
from swarmp2p.testing.memory_swarm import MEMORY_KNOBS, MemorySwarm, open_memory_swarm
from tests.peer.test_memory_swarm import Rotten
from tests.peer.test_swarm import Average

ROUNDS = 3
CHUNKS = 4
SIZE = CHUNKS * CHUNK_SIZE // 4 - 64
"""Elements of a float32 model of so many chunks."""


@dataclass(frozen=True)
class Chunks:
    """Content as a `Source`: leaf lists, and the chunks that were held of each file."""

    leaf_lists: dict[Digest, bytes]
    chunks: dict[tuple[Digest, int], bytes]

    def leaf_list(self, name: Digest) -> bytes | None:
        return self.leaf_lists.get(name)

    def read_chunk(self, name: Digest, index: int) -> bytes:
        if (name, index) not in self.chunks:
            raise ContentUnavailable("not here")
        return self.chunks[name, index]

    def without(self, name: Digest) -> "Chunks":
        left = {place: data for place, data in self.chunks.items() if place[0] != name}
        return Chunks({digest: leaves for digest, leaves in self.leaf_lists.items() if digest != name}, left)


@dataclass(frozen=True)
class Run:
    """A swarm that has stopped."""

    manifest: Manifest
    evidence: Evidence
    keys: dict[str, Key]
    content: dict[str, Chunks]
    """By member, with all that it kept."""

    def address(self, name: str) -> Address:
        return self.keys[name].address

    def everything(self) -> Chunks:
        """What all members together still hold."""
        merged = Chunks({}, {})
        for each in self.content.values():
            merged.leaf_lists.update(each.leaf_lists)
            merged.chunks.update(each.chunks)
        return merged

    def audit(self, evidence: Evidence | None = None, source: Source | None = None) -> Report:
        """The report; with a source a deep one."""
        report = check_chain(evidence or self.evidence, self.manifest)
        if source is not None:
            rule = rule_from_id(self.manifest.rule)
            recompute(report, source, self.evidence.config, rule, self.manifest.max_abs)
        return report


def ended(swarm: MemorySwarm) -> Run:
    """What there is to look at when a swarm has stopped."""
    content: dict[str, Chunks] = {}
    for name, store in swarm.stores.items():
        content[name] = kept = Chunks({}, {})
        for digest in store.digests():
            leaves = store.leaf_list(digest)
            assert leaves is not None
            kept.leaf_lists[digest] = leaves
            for index in range(len(leaves) // HASH_SIZE):
                try:
                    kept.chunks[digest, index] = store.read_chunk(digest, index)
                except ContentUnavailable:
                    continue
    return Run(swarm.manifest, swarm.chain.evidence(), dict(swarm.keys), content)


@cache
def honest_run(
    *members: str, keep_rounds: int = ROUNDS, k_max: int = 2, rotten: str = "", rule: str = DEFAULT_RULE_ID
) -> Run:
    """Run once for all tests: the outcome is only read. What the member `rotten` serves is rubbish."""

    async def take_part(swarm: MemorySwarm, name: str, learner: Average) -> None:
        async with swarm.peer(name, learner) as peer:
            if name == rotten:
                host = swarm.network.hosts[swarm.keys[name].address]
                host.handle(CONTENT_PROTOCOL, Server(Rotten(swarm.stores[name])).serve)
            async for _ in peer.rounds():
                pass

    async def run(folder: Path) -> Run:
        knobs = replace(MEMORY_KNOBS, keep_rounds=keep_rounds)
        start = {"mean": np.zeros(SIZE, np.float32)}
        learners = {name: Average(float(number), SIZE) for number, name in enumerate(members, 1)}
        async with open_memory_swarm(
            start, members, rounds=ROUNDS, folder=folder, seed=7, knobs=knobs, k_max=k_max, rule=rule
        ) as swarm:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    for name in members:
                        nursery.start_soon(take_part, swarm, name, learners[name])
            return ended(swarm)

    with TemporaryDirectory() as folder:
        return trio.run(run, Path(folder))
