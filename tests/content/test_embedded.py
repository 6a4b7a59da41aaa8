"""The embedded store's disk: crashes at any step, full disks, rot."""

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.interface import PartFinishesUnflushed
from swarmp2p.content.unixfs import hash_bytes, slice_digest
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, QuotaExceeded
from swarmp2p.core.types import CHUNK_SIZE
from tests.content.wire import pattern

DATA = pattern(4 * CHUNK_SIZE + 321)
FILE = hash_bytes(DATA)


def chunk(index: int) -> bytes:
    return DATA[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]


def tail_name(first: int) -> bytes:
    """Slice digest of the chunks from `first` on."""
    return slice_digest(FILE.leaf_list[first * 32 :])


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class Killed(BaseException):
    """The process ends here."""


class KillAt:
    """Lets the n-th call to a system function that changes the disk kill the process (before it, or half done)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        for name in ("pwrite", "replace", "link", "fsync", "ftruncate", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name), name))

    def _wrap(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left < 0:
                raise Killed
            self.left -= 1
            if self.left < 0:
                if name == "pwrite":
                    function(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                raise Killed
            return function(*args, **kwargs)

        return call


def one_life(folder: Path) -> None:
    """All that a store does in a round."""
    store = EmbeddedStore(folder)
    store.put(b"own update")
    part = store.assemble("r1", len(DATA))
    for i in range(3):
        part.write_chunk(i, chunk(i))
    part.seal_slice(0, 3)
    target = part.target(3, FILE.leaf_list[3 * 32 :], tail_name(3))
    for i in target.missing():
        target.write_chunk(i, chunk(3 + i))
    part.finish(FILE.digest)
    store.collect([FILE.digest])
    store.close()


def test_killed_at_every_step_nothing_is_half_there_and_the_rest_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(1000):
        folder = tmp_path / str(step)
        with monkeypatch.context() as patched:
            KillAt(patched, step)
            try:
                one_life(folder)
            except Killed:
                finished = False
            else:
                finished = True
        again = EmbeddedStore(folder)
        for digest in (FILE.digest, hash_bytes(b"own update").digest):
            if again.has(digest):
                assert hash_bytes(again.read(digest)).digest == digest
        part = again.assemble("r1", len(DATA))
        for i in range(5):
            if i not in part.missing():
                assert part.read_chunk(i) == chunk(i)
        again.close()
        one_life(folder)
        last = EmbeddedStore(folder)
        assert last.read(FILE.digest) == DATA
        assert last.held(tail_name(3)) == b"\x03"
        assert last.used() == len(DATA)
        assert everything(folder) == {f"objects/{FILE.digest.hex()}", f"objects/{FILE.digest.hex()}.leaves"}
        last.close()
        shutil.rmtree(folder)
        if finished:
            assert step > 20
            return
    pytest.fail("it never ran to its end")


def test_an_assembly_resumes_with_what_was_sealed_or_fetched(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    part = store.assemble("r1", len(DATA))
    for i in range(3):
        part.write_chunk(i, chunk(i))
    name = part.seal_slice(0, 2)
    part.target(3, FILE.leaf_list[3 * 32 :], tail_name(3)).write_chunk(1, chunk(4))
    again = EmbeddedStore(tmp_path)
    part = again.assemble("r1", len(DATA))
    assert part.missing() == [2, 3], "chunk 2 was neither sealed nor expected, so nobody knows if it is right"
    assert again.held(name) == b"\x03"
    assert again.held(tail_name(3)) == b"\x02"
    assert again.used() == 2 * CHUNK_SIZE + 321


def test_a_torn_chunk_is_not_taken_for_one_that_is_here(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    part = store.begin(FILE.digest, FILE.size, FILE.leaf_list)
    part.write_chunk(1, chunk(1))
    part.write_chunk(2, chunk(2))
    with next(tmp_path.glob("parts/*/data")).open("r+b") as raw:
        raw.seek(2 * CHUNK_SIZE + 100)
        raw.write(bytes(100))
    again = EmbeddedStore(tmp_path)
    assert again.begin(FILE.digest, FILE.size, FILE.leaf_list).missing() == [0, 2, 3, 4]


@pytest.mark.parametrize("damage", ["flip", "truncate", "lengthen", "leaves", "no leaves"])
def test_damage_to_a_whole_file_is_noticed_and_what_is_good_is_kept(tmp_path: Path, damage: str) -> None:
    store = EmbeddedStore(tmp_path)
    store.put(DATA)
    path = store.path(FILE.digest)
    leaves = path.with_name(path.name + ".leaves")
    store.close()
    if damage == "flip":
        with path.open("r+b") as raw:
            raw.seek(CHUNK_SIZE + 5)
            raw.write(b"flipped")
    elif damage == "truncate":
        os.truncate(path, 3 * CHUNK_SIZE + 10)
    elif damage == "lengthen":
        os.truncate(path, len(DATA) + 1)
    elif damage == "leaves":
        leaves.write_bytes(leaves.read_bytes()[:-50])
    else:
        leaves.unlink()
    again = EmbeddedStore(tmp_path)
    if damage == "flip":
        with pytest.raises(ContentCorrupt, match="Chunk 1 of"):
            again.read(FILE.digest)
    part = again.begin(FILE.digest, FILE.size, FILE.leaf_list)
    missing = {"flip": [1], "truncate": [3, 4]}.get(damage, [])
    assert part.missing() == missing
    for i in missing:
        part.write_chunk(i, chunk(i))
    part.finish(FILE.digest)
    assert again.read(FILE.digest) == DATA
    assert again.used() == len(DATA)


def test_a_file_whose_leaf_list_and_data_are_damaged_is_dropped(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    store.put(DATA)
    path = store.path(FILE.digest)
    path.write_bytes(b"something else")
    path.with_name(path.name + ".leaves").unlink()
    again = EmbeddedStore(tmp_path)
    assert not again.has(FILE.digest)
    assert everything(tmp_path) == set()


def test_quota(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, quota=len(DATA) + CHUNK_SIZE)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    store.put(source)
    with pytest.raises(QuotaExceeded, match="quota"):
        store.put(DATA[1:])
    moved = store.scratch()
    moved.write_bytes(DATA[1:])
    with pytest.raises(QuotaExceeded):
        store.put(moved, move=True)
    assert moved.exists()
    part = store.assemble("r1", len(DATA))
    part.write_chunk(0, bytes(CHUNK_SIZE))
    part.write_chunk(0, chunk(0))
    with pytest.raises(QuotaExceeded):
        part.write_chunk(1, chunk(1))
    assert part.missing() == [1, 2, 3, 4]
    assert store.used() == len(DATA) + CHUNK_SIZE
    part.discard()
    assert store.used() == len(DATA)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("act", ["put", "begin", "assemble", "write", "export"])
def test_a_full_disk_is_said_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, code: int
) -> None:
    store = EmbeddedStore(tmp_path / "store")
    kept = store.put(b"kept")
    part = store.assemble("r0", len(DATA))
    before = everything(tmp_path)

    def full(*args: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        patched.setattr(os, "fsync", full)
        acts: dict[str, Callable[[], object]] = {
            "put": lambda: store.put(DATA),
            "begin": lambda: store.begin(FILE.digest, FILE.size, FILE.leaf_list),
            "assemble": lambda: store.assemble("r1", 10),
            "write": lambda: part.write_chunk(1, chunk(1)),
            "export": lambda: store.export(kept.digest, tmp_path / "copy"),
        }
        with pytest.raises(QuotaExceeded, match="No room left on the disk of") as caught:
            acts[act]()
    assert "Free some space" in caught.value.mend
    assert everything(tmp_path) == before
    assert store.used() == 4
    assert part.missing() == [0, 1, 2, 3, 4]
    store.put(DATA)
    assert EmbeddedStore(tmp_path / "store").read(FILE.digest) == DATA


def test_nothing_waits_for_the_disk_until_it_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, path = EmbeddedStore(tmp_path / "store"), tmp_path / "update"
    path.write_bytes(DATA)
    flushed: list[str] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    assert store.put_unflushed(path) == FILE
    assert flushed == []
    store.flush(FILE.digest)
    name = FILE.digest.hex()
    assert flushed == [name, name + ".leaves", "objects"]


@pytest.mark.parametrize("lost", ["nothing", "record", "chunk", "end", "data", "all"])
def test_what_a_power_failure_leaves_of_an_unflushed_file_is_whole_or_fetched_again(tmp_path: Path, lost: str) -> None:
    store, path = EmbeddedStore(tmp_path / "store"), tmp_path / "update"
    path.write_bytes(DATA)
    store.put_unflushed(path)
    store.close()
    data = tmp_path / "store" / "objects" / FILE.digest.hex()
    if lost in ("record", "all"):
        os.truncate(data.with_name(data.name + ".leaves"), 0)
    if lost in ("data", "all"):
        os.truncate(data, 0)
    if lost == "end":
        os.truncate(data, len(DATA) - 400)
    if lost == "chunk":
        data.write_bytes(DATA[:CHUNK_SIZE] + bytes(CHUNK_SIZE) + DATA[2 * CHUNK_SIZE :])
    store = EmbeddedStore(tmp_path / "store")
    missing = {"nothing": [], "record": [], "chunk": [1], "end": [3, 4], "data": [*range(5)], "all": [*range(5)]}[lost]
    with contextlib.suppress(ContentCorrupt, ContentUnavailable):
        assert store.read(FILE.digest) == DATA
    part = store.begin(FILE.digest, FILE.size, FILE.leaf_list)
    assert part.missing() == missing
    for index in missing:
        part.write_chunk(index, chunk(index))
    part.finish(FILE.digest)
    assert store.read(FILE.digest) == DATA


def finished_unflushed(folder: Path) -> EmbeddedStore:
    """A store with the file as an assembly became it: chunks 1 and 2, a slice, were flushed before."""
    store = EmbeddedStore(folder)
    part = store.assemble("a", len(DATA))
    for index in (1, 2):
        part.write_chunk(index, chunk(index))
    assert part.seal_slice(1, 3) == SLICE
    part.flush()
    for index in (0, 3, 4):
        part.write_chunk(index, chunk(index))
    part.seal_slice(0, 1)
    part.seal_slice(3, 5)
    assert isinstance(part, PartFinishesUnflushed)
    part.finish_unflushed(FILE.digest)
    return store


SLICE = slice_digest(FILE.leaf_list[32:96])
NAME = FILE.digest.hex()


def test_a_finished_file_is_here_before_it_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    store = finished_unflushed(tmp_path)
    monkeypatch.setattr(os, "fsync", flushed.append)
    assert store.read(FILE.digest) == DATA
    assert store.path(FILE.digest).read_bytes() == DATA
    assert store.used() == len(DATA)
    part = store.assemble("a", len(DATA))
    part.finish(FILE.digest)
    assert flushed
    assert everything(tmp_path) == {f"objects/{NAME}", f"objects/{NAME}.leaves"}
    assert store.held(SLICE) == b"\x03"
    assert [part.read_chunk(i) for i in range(5)] == [chunk(i) for i in range(5)]


LOST: dict[str, list[int]] = {
    "nothing": [],
    "leaves": [],
    "name": [],
    "record": [0, 3, 4],
    "chunk": [0],
    "both": [0, 3, 4],
}


@pytest.mark.parametrize("lost", LOST)
def test_what_was_flushed_of_a_finished_file_outlasts_the_power(tmp_path: Path, lost: str) -> None:
    """Whatever the rest of it has become; what is lost is fetched again."""
    finished_unflushed(tmp_path).close()
    data, folder = tmp_path / "objects" / NAME, tmp_path / "parts" / "a-a"
    if lost in ("leaves", "both"):
        os.truncate(data.with_name(NAME + ".leaves"), 0)
    if lost == "name":
        data.unlink()
    if lost in ("record", "both"):
        os.truncate(folder / "record", 0)
    if lost == "chunk":
        with data.open("r+b") as file:
            file.write(bytes(CHUNK_SIZE))
    store = EmbeddedStore(tmp_path)
    assert [store.read_chunk(SLICE, i) for i in range(2)] == [chunk(1), chunk(2)]
    assert store.has(FILE.digest) == (not LOST[lost] and lost != "name")
    part = store.assemble("a", len(DATA)) if lost == "name" else store.begin(FILE.digest, FILE.size, FILE.leaf_list)
    assert part.missing() == LOST[lost]
    for index in LOST[lost]:
        part.write_chunk(index, chunk(index))
    part.finish(FILE.digest)
    assert store.read(FILE.digest) == DATA
    store.collect([FILE.digest])
    assert everything(tmp_path) == {f"objects/{NAME}", f"objects/{NAME}.leaves"}


def test_a_finished_file_that_does_not_fit_on_the_disk_is_a_part_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = finished_unflushed(tmp_path)
    part = store.assemble("a", len(DATA))
    with monkeypatch.context() as full:

        def refuse(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        full.setattr(os, "fsync", refuse)
        with pytest.raises(QuotaExceeded):
            part.flush()
    assert not store.has(FILE.digest)
    assert store.assemblies() == {"a"}
    assert store.used() == len(DATA)
    assert store.read_chunk(SLICE, 0) == chunk(1)
    part.finish(FILE.digest)
    assert store.read(FILE.digest) == DATA
    assert everything(tmp_path) == {f"objects/{NAME}", f"objects/{NAME}.leaves"}


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    finished_unflushed(tmp_path).close()
    assert EmbeddedStore(tmp_path).read(FILE.digest) == DATA


def test_a_finished_file_that_is_collected_before_it_is_flushed_leaves_nothing(tmp_path: Path) -> None:
    store = finished_unflushed(tmp_path)
    part = store.assemble("a", len(DATA))
    store.collect([])
    assert (store.used(), everything(tmp_path)) == (0, set())
    with pytest.raises(ContentUnavailable):
        store.flush(FILE.digest)
    part.flush()
    assert nothing_without_a_name(tmp_path)


def test_two_assemblies_of_one_file_need_one_copy_in_the_end(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    parts = [store.assemble(name, len(DATA)) for name in ("a", "b")]
    for part in parts:
        for i in range(5):
            part.write_chunk(i, chunk(i))
    names = [part.seal_slice(i, i + 2) for i, part in enumerate(parts)]
    for part in parts:
        part.finish(FILE.digest)
    assert store.used() == len(DATA)
    assert nothing_without_a_name(tmp_path)
    assert [part.read_chunk(1) for part in parts] == [chunk(1)] * 2
    assert [store.held(name) for name in names] == [b"\x03", b"\x03"]
    assert [store.held(name) for name in names] == [EmbeddedStore(tmp_path).held(name) for name in names]


@pytest.mark.parametrize("how", ["assembly", "put"])
def test_a_file_that_comes_in_another_way_ends_its_partial_file_well(tmp_path: Path, how: str) -> None:
    store = EmbeddedStore(tmp_path)
    partial = store.begin(FILE.digest, FILE.size, FILE.leaf_list)
    target = partial.target(0, FILE.leaf_list, FILE.digest)
    sealed = FILE.leaf_list[32:96]
    partial.target(1, sealed, slice_digest(sealed))
    for i in range(2):
        target.write_chunk(i, chunk(i))
    if how == "put":
        store.put(DATA)
    else:
        assembly = store.assemble("a", len(DATA))
        for i in range(5):
            assembly.write_chunk(i, chunk(i))
        assembly.finish(FILE.digest)
    target.write_chunk(2, chunk(2))  # was on its way
    assert target.missing() == []
    partial.finish(FILE.digest)
    assert [partial.read_chunk(i) for i in range(5)] == [chunk(i) for i in range(5)]
    assert store.held(slice_digest(sealed)) == b"\x03"
    assert store.used() == len(DATA)
    assert everything(tmp_path) == {f"objects/{FILE.digest.hex()}", f"objects/{FILE.digest.hex()}.leaves"}
    assert nothing_without_a_name(tmp_path)
    store.collect(())
    assert (store.used(), everything(tmp_path)) == (0, set())
    assert nothing_without_a_name(tmp_path)
    store.close()


def nothing_without_a_name(folder: Path) -> bool:
    """No file that was removed is still open, and takes room."""
    nameless = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if link.stat().st_nlink == 0:
                nameless.append(os.readlink(link))
    return not [target for target in nameless if target.startswith(str(folder))]


def test_a_finished_assembly_cannot_be_changed(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    part = store.assemble("a", len(DATA))
    for i in range(5):
        part.write_chunk(i, chunk(i))
    part.finish(FILE.digest)
    assert part.write_chunk(0, chunk(0)) == FILE.leaf_list[:32]
    with pytest.raises(ContentUnavailable, match="whole already"):
        part.write_chunk(0, chunk(1))
    assert store.read(FILE.digest) == DATA
    store.collect([])
    with pytest.raises(ContentUnavailable):
        part.read_chunk(0)
    assert store.assemble("a", len(DATA)).missing() == [0, 1, 2, 3, 4]


def test_many_threads_on_one_part(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    part = store.begin(FILE.digest, FILE.size, FILE.leaf_list)
    target = part.target(0, FILE.leaf_list, FILE.digest)
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for i in range(5):
                target.write_chunk((first + i) % 5, chunk((first + i) % 5))
                assert store.read_chunk(FILE.digest, (first + i) % 5) == chunk((first + i) % 5)
            part.finish(FILE.digest)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.read(FILE.digest) == DATA
    assert store.used() == len(DATA)
