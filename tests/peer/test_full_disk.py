"""A member whose disk is full, in a whole swarm: it says so, leaves nothing half-written, and goes on when there is room."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmp2p import SwarmPeer
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.unixfs import hash_file
from swarmp2p.home import CONTENT_FOLDER
from swarmp2p.peer.events import Event
from swarmp2p.testing.memory_swarm import MemorySwarm, open_memory_swarm
from tests.peer.test_memory_swarm import FOUR_CHUNKS, NAMES, SEED, check_agreed, start
from tests.peer.test_swarm import Average

VICTIM = "bob"
FULL_IN, ROUNDS = 2, 4


class Disk:
    """The disk that a folder is on. While it is full, what takes room on it fails as the system's calls do."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.full = False
        self.refused = 0
        for name in ("pwrite", "fsync"):
            patch.setattr(os, name, self._guarded(getattr(os, name)))

    def _guarded(self, call: Any) -> Any:
        def guarded(handle: int, *rest: Any) -> Any:
            if self.full and self.folder in Path(f"/proc/self/fd/{handle}").readlink().parents:
                self.refused += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(handle, *rest)

        return guarded


class Counted(Average):
    """Counts its intervals, and may have to wait before the one after the round in which the disk is full."""

    def __init__(self, number: float, go_on: threading.Event | None = None) -> None:
        super().__init__(number, FOUR_CHUNKS)
        self.go_on = go_on
        self.intervals = 0

    def train(self, interval: int) -> None:
        self.intervals += 1
        if self.intervals > FULL_IN and self.go_on is not None:
            self.go_on.wait()
        super().train(interval)


class Victim:
    """The member whose disk is full from a step of its second round until the others have merged that round."""

    def __init__(self, swarm: MemorySwarm, disk: Disk, step: str) -> None:
        self.swarm, self.disk, self.step = swarm, disk, step
        self.went_on = threading.Event()
        """Set when it has submitted an update again: the others wait for that, lest the swarm be over before."""
        self.learner = Counted(2.0)
        self.applied: list[int] = []
        self.troubles: list[Event] = []
        self.refused = trio.Event()

    def on_step(self, step: str, round_: int, _rank: int | None) -> None:
        if step == self.step and round_ == FULL_IN and not self.refused.is_set():
            self.disk.full = True

    async def run(self, heads: dict[str, str]) -> None:
        async with (
            self.swarm.peer(VICTIM, self.learner, on_step=self.on_step) as peer,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._watch, peer)
            async for round_ in peer.rounds():
                self.applied.append(round_.number)
            assert peer.status().trouble is None
            heads[VICTIM] = str(peer.head)
            nursery.cancel_scope.cancel()

    async def _watch(self, peer: SwarmPeer) -> None:
        async for event in peer.events():
            if event.kind == "trouble" and "No room" in event.data["error"]:
                self.troubles.append(event)
                assert list((self.disk.folder / "scratch").iterdir()) == []
                self.refused.set()
            elif event.kind == "submitted" and event.round > FULL_IN:
                self.went_on.set()


async def run_others(swarm: MemorySwarm, victim: Victim, heads: dict[str, str]) -> None:
    """All but the victim; once the first of them has merged the round, and the disk was found full, there is room again."""

    async def run(name: str, number: float) -> None:
        async with swarm.peer(name, Counted(number, victim.went_on)) as peer:
            async for round_ in peer.rounds():
                if round_.number == FULL_IN:
                    await victim.refused.wait()
                    victim.disk.full = False
            heads[name] = str(peer.head)

    async with trio.open_nursery() as nursery:
        for number, name in enumerate(NAMES, 1):
            if name != VICTIM:
                nursery.start_soon(run, name, float(number))


def check_clean(folder: Path) -> None:
    """Whole files only, each under the name of its content."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    whole = [path for path in files if path.parent.name == "objects" and path.suffix == ""]
    assert whole
    for path in whole:
        assert hash_file(path).digest.hex() == path.name
    leaves = {path.with_name(path.name + ".leaves") for path in whole}
    parts = {path for path in files if path.parent.parent.name == "parts" and path.name in ("data", "record")}
    assert set(files) == {*whole, *leaves, *parts}


@pytest.mark.parametrize("step", ["train", "publish", "fetch"])
async def test_a_member_with_a_full_disk_says_so_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    """Full when the trained weights are written, when they are put into the store, and when a merge is put together."""
    heads: dict[str, str] = {}
    disk = Disk(tmp_path / VICTIM / CONTENT_FOLDER, monkeypatch)
    async with open_memory_swarm(
        start(FOUR_CHUNKS), NAMES, rounds=ROUNDS, folder=tmp_path, seed=SEED, k_max=4, grace=1
    ) as swarm:
        swarm.stores[VICTIM].close()
        swarm.stores[VICTIM] = store = EmbeddedStore(disk.folder)
        victim = Victim(swarm, disk, step)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(victim.run, heads)
                nursery.start_soon(run_others, swarm, victim, heads)
        check_agreed(swarm, heads)
        check_said(victim, caplog)
        check_took_part(swarm, victim, step)
        store.collect([swarm.chain.model.state().head])
        check_clean(disk.folder)
        assert store.used() == swarm.manifest.size


def check_said(victim: Victim, caplog: pytest.LogCaptureFixture) -> None:
    """Events and log name the folder and the mend."""
    says = [*(event.data["error"] for event in victim.troubles), *(record.getMessage() for record in caplog.records)]
    said = [text for text in says if "No room left on the disk of" in text]
    assert len(said) > len(victim.troubles) > 0
    assert victim.disk.refused > 0
    assert all(str(victim.disk.folder) in text and "Free some space there" in text for text in said)


def check_took_part(swarm: MemorySwarm, victim: Victim, step: str) -> None:
    """It missed no other round than the one in which it could not publish, as long as the others waited for it, and trained
    from no head twice."""
    me = swarm.chain.model.state().member(swarm.keys[VICTIM].address)
    assert me is not None
    included = {number for number, result in swarm.chain.model.results.items() if result.included >> me.index & 1}
    assert included >= {1, FULL_IN + 1}
    assert (FULL_IN in included) == (step == "fetch")
    assert victim.applied[-1] == ROUNDS
    assert victim.learner.intervals <= ROUNDS
