"""A member whose home is on a real disk of a few megabytes, which somebody else fills: needs root, to mount one."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.home import CONTENT_FOLDER
from swarmp2p.testing.memory_swarm import open_memory_swarm
from tests.peer.test_full_disk import ROUNDS, VICTIM, Victim, check_clean, check_took_part, run_others
from tests.peer.test_memory_swarm import FOUR_CHUNKS, NAMES, SEED, check_agreed, start

SIZE = "16m"
PIECE = 1 << 16


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "swarmp2p-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here: this takes root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class RealDisk:
    """Full when its last byte is taken, by a file beside the member's home."""

    refused = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder / VICTIM / CONTENT_FOLDER
        self._ballast = folder / "ballast"
        self._full = False

    @property
    def full(self) -> bool:
        return self._full

    @full.setter
    def full(self, full: bool) -> None:
        self._full = full
        self._ballast.unlink(missing_ok=True)
        if full:
            with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(PIECE))


@pytest.mark.parametrize("step", ["train", "publish", "fetch", "claim"])
async def test_a_member_goes_on_when_its_disk_has_room_again(mounted: Path, tmp_path: Path, step: str) -> None:
    """Its key and journal are on that disk as well."""
    heads: dict[str, str] = {}
    disk = RealDisk(mounted)
    async with open_memory_swarm(
        start(FOUR_CHUNKS), NAMES, rounds=ROUNDS, folder=tmp_path, seed=SEED, k_max=4, grace=1
    ) as swarm:
        shutil.move(tmp_path / VICTIM, mounted / VICTIM)
        (tmp_path / VICTIM).symlink_to(mounted / VICTIM)
        swarm.stores[VICTIM].close()
        swarm.stores[VICTIM] = store = EmbeddedStore(disk.folder)
        victim = Victim(swarm, disk, step)
        with trio.fail_after(90):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(victim.run, heads)
                nursery.start_soon(run_others, swarm, victim, heads)
        check_agreed(swarm, heads)
        check_took_part(swarm, victim, "fetch" if step == "claim" else step)
        store.collect([swarm.chain.model.state().head])
        check_clean(disk.folder)
