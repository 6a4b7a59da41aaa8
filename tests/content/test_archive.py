"""Reading a content folder without being its owner."""

import hashlib
from pathlib import Path

import pytest

from swarmp2p.content.archive import ContentArchive
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.unixfs import Hashed, hash_bytes
from swarmp2p.core.errors import ContentUnavailable
from swarmp2p.core.types import CHUNK_SIZE

DATA = b"".join(bytes([number]) * CHUNK_SIZE for number in range(1, 4)) + b"tail"
CHUNKS = [DATA[at : at + CHUNK_SIZE] for at in range(0, len(DATA), CHUNK_SIZE)]


def whole(folder: Path) -> Hashed:
    store = EmbeddedStore(folder)
    hashed = store.put(DATA)
    store.close()
    return hashed


def test_a_whole_file(tmp_path: Path) -> None:
    hashed = whole(tmp_path)
    archive = ContentArchive(tmp_path)
    assert archive.leaf_list(hashed.digest) == hashed.leaf_list
    assert [archive.read_chunk(hashed.digest, index) for index in range(4)] == CHUNKS


@pytest.mark.parametrize("held", [(0, 2), (3,), (0, 1, 2, 3)])
def test_a_partial_file_gives_what_it_has(tmp_path: Path, held: tuple[int, ...]) -> None:
    hashed, store = hash_bytes(DATA), EmbeddedStore(tmp_path)
    part = store.begin(hashed.digest, hashed.size, hashed.leaf_list)
    for index in held:
        part.write_chunk(index, CHUNKS[index])
    archive = ContentArchive(tmp_path)  # while the store is open
    assert archive.leaf_list(hashed.digest) == hashed.leaf_list
    for index in range(4):
        if index in held:
            assert archive.read_chunk(hashed.digest, index) == CHUNKS[index]
        else:
            with pytest.raises(ContentUnavailable):
                archive.read_chunk(hashed.digest, index)
    store.close()


def test_a_file_of_zeros_is_not_mistaken_for_one_that_has_not_come(tmp_path: Path) -> None:
    zeros = bytes(CHUNK_SIZE + 1)
    hashed, store = hash_bytes(zeros), EmbeddedStore(tmp_path)
    store.begin(hashed.digest, hashed.size, hashed.leaf_list).write_chunk(0, zeros[:CHUNK_SIZE])
    assert ContentArchive(tmp_path).read_chunk(hashed.digest, 0) == zeros[:CHUNK_SIZE]
    store.close()


def test_a_file_that_is_not_here(tmp_path: Path) -> None:
    whole(tmp_path)
    archive, other = ContentArchive(tmp_path), hashlib.sha256(b"other").digest()
    assert archive.leaf_list(other) is None
    with pytest.raises(ContentUnavailable):
        archive.read_chunk(other, 0)
    assert ContentArchive(tmp_path / "nowhere").leaf_list(other) is None


def test_a_rotten_file_is_read_as_it_is_and_left_alone(tmp_path: Path) -> None:
    hashed = whole(tmp_path)
    path = tmp_path / "objects" / hashed.digest.hex()
    path.write_bytes(DATA[:-1] + b"!")
    archive = ContentArchive(tmp_path)
    assert archive.read_chunk(hashed.digest, 3) == b"tai!"
    assert archive.leaf_list(hashed.digest) == hashed.leaf_list
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, path.name + ".leaves"]


@pytest.mark.parametrize("record", [None, b"nonsense"])
def test_without_its_record_a_files_own_leaf_list_is_given(tmp_path: Path, record: bytes | None) -> None:
    hashed = whole(tmp_path)
    path = tmp_path / "objects" / f"{hashed.digest.hex()}.leaves"
    path.unlink() if record is None else path.write_bytes(record)
    assert ContentArchive(tmp_path).leaf_list(hashed.digest) == hashed.leaf_list
    changed = b"!" + DATA[1:]
    path.with_suffix("").write_bytes(changed)
    assert ContentArchive(tmp_path).leaf_list(hashed.digest) == hash_bytes(changed).leaf_list
