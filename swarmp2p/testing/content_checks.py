"""What every content store must do: run on the embedded store, on the one in memory, and on any other."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from swarmp2p.content.interface import ContentStore, PartFinishesUnflushed
from swarmp2p.content.unixfs import HASH_SIZE, Hashed, hash_bytes, leaf_at, slice_digest
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import CHUNK_SIZE

_SIZES = (0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE, 5 * CHUNK_SIZE + 77)


def check_content_store(maker: Callable[[], ContentStore]) -> None:
    """Check an implementation of `ContentStore`; AssertionError says what it does wrong.

    Args:
        maker: makes a new empty store at each call, without a quota below 10 MiB; the check closes it.
    """
    for check in (
        _check_files,
        _check_refusals,
        _check_partial_file,
        _check_assembly,
        _check_finishing_unflushed,
        _check_equal_slices,
        _check_donors,
        _check_collect,
    ):
        store = maker()
        try:
            check(store)
        finally:
            store.close()


def _sample(size: int) -> bytes:
    return b"".join(bytes([i & 255, i >> 8 & 255, i >> 16 & 255]) for i in range(-(-size // 3)))[:size]


def _piece(data: bytes, index: int) -> bytes:
    return data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]


def _refuses(error: type[Exception], function: Callable[[], object]) -> bool:
    try:
        function()
    except error:
        return True
    return False


def _check_files(store: ContentStore) -> None:
    for size in _SIZES:
        data = _sample(size)
        hashed = hash_bytes(data)
        assert not store.has(hashed.digest)
        assert store.leaf_list(hashed.digest) is None
        assert store.held(hashed.digest) is None
        assert store.put(data) == hashed, "put tells digest, size and leaf list"
        assert store.put(data) == hashed, "putting twice is the same as once"
        assert store.has(hashed.digest)
        assert store.size(hashed.digest) == size
        assert store.read(hashed.digest) == data
        assert store.read(hashed.digest, 5, 10) == data[5:15]
        assert store.read(hashed.digest, CHUNK_SIZE - 3, 7) == data[CHUNK_SIZE - 3 : CHUNK_SIZE + 4], "over a border"
        assert store.read(hashed.digest, size + 5, 7) == b""
        assert store.path(hashed.digest).read_bytes() == data
        assert store.leaf_list(hashed.digest) == hashed.leaf_list
        _check_held(store, hashed, set(range(len(hashed.leaf_list) // HASH_SIZE)))
        assert store.begin(hashed.digest, size, hashed.leaf_list).missing() == []
    assert store.used() == sum(_SIZES)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        store.export(hashed.digest, copy)
        assert copy.read_bytes() == data
        assert [path.name for path in Path(folder).iterdir()] == ["copy"]
        copy.write_bytes(b"from a file")
        assert store.put(copy) == hash_bytes(b"from a file")
        assert copy.exists()
        scratch = store.scratch()
        scratch.write_bytes(b"moved")
        assert store.put(scratch, move=True) == hash_bytes(b"moved")
        assert not scratch.exists()


def _check_held(store: ContentStore, hashed: Hashed, indexes: set[int]) -> None:
    bitmap = store.held(hashed.digest)
    assert bitmap is not None
    assert {i for i in range(8 * len(bitmap)) if bitmap[i // 8] >> i % 8 & 1} == indexes


def _check_refusals(store: ContentStore) -> None:
    data = _sample(2 * CHUNK_SIZE)
    hashed = hash_bytes(data)
    assert _refuses(ContentUnavailable, lambda: store.size(hashed.digest))
    assert _refuses(ContentUnavailable, lambda: store.read(hashed.digest))
    assert _refuses(ContentUnavailable, lambda: store.path(hashed.digest))
    assert _refuses(ContentUnavailable, lambda: store.read_chunk(hashed.digest, 0))
    assert _refuses(ContentCorrupt, lambda: store.begin(hashed.digest, hashed.size, bytes(len(hashed.leaf_list))))
    assert _refuses(ContentCorrupt, lambda: store.begin(hashed.digest, hashed.size, hashed.leaf_list[:-1]))
    assert _refuses(ContentCorrupt, lambda: store.begin(hashed.digest, hashed.size - 1, hashed.leaf_list))
    for name in ("", "A", "a/b", "..", "x" * 65):
        assert _refuses(ValueError, lambda name=name: store.assemble(name, 1)), name  # type: ignore[misc]
    store.put(data)
    for index in (-1, 2):
        assert _refuses(ContentUnavailable, lambda index=index: store.read_chunk(hashed.digest, index))  # type: ignore[misc]


def _check_partial_file(store: ContentStore) -> None:
    data = _sample(3 * CHUNK_SIZE + 9)
    hashed = hash_bytes(data)
    part = store.begin(hashed.digest, hashed.size, hashed.leaf_list)
    target = part.target(0, hashed.leaf_list, hashed.digest)
    assert (target.object, target.leaf_list) == (hashed.digest, hashed.leaf_list)
    assert store.leaf_list(hashed.digest) == hashed.leaf_list, "served before any chunk is here"
    assert target.missing() == [0, 1, 2, 3]
    target.write_chunk(2, memoryview(_piece(data, 2)))
    target.write_chunk(3, _piece(data, 3))
    assert _refuses(ContentCorrupt, lambda: target.write_chunk(0, _piece(data, 1)))
    assert _refuses(ContentCorrupt, lambda: target.write_chunk(3, _piece(data, 3)[:-1]))
    assert target.missing() == [0, 1]
    assert target.missing(1, 3) == [1]
    _check_held(store, hashed, {2, 3})
    assert store.used() == CHUNK_SIZE + 9
    assert store.read_chunk(hashed.digest, 3) == _piece(data, 3)
    assert _refuses(ContentUnavailable, lambda: store.read_chunk(hashed.digest, 0))
    assert not store.has(hashed.digest)
    assert store.digests() == {hashed.digest}
    assert _refuses(ContentUnavailable, lambda: part.finish(hashed.digest))
    target.write_chunk(0, _piece(data, 0))
    target.write_chunk(1, _piece(data, 1))
    part.finish(hashed.digest)
    part.finish(hashed.digest)
    assert store.read(hashed.digest) == data
    assert store.used() == len(data)


def _check_assembly(store: ContentStore) -> None:
    data = _sample(5 * CHUNK_SIZE + 1)
    hashed = hash_bytes(data)
    part = store.assemble("round-1", len(data))
    assert _refuses(ValueError, lambda: store.assemble("round-1", 1))
    assert (part.size, part.chunks) == (len(data), 6)
    for index in (3, 4, 5):
        leaf = part.write_chunk(index, _piece(data, index))
        assert leaf == leaf_at(hashed.leaf_list, index)
    assert _refuses(ValueError, lambda: part.write_chunk(0, b"short"))
    assert _refuses(ValueError, lambda: part.write_chunk(6, b""))
    assert _refuses(ContentUnavailable, lambda: part.seal_slice(2, 6))
    name = part.seal_slice(3, 6)
    assert name == slice_digest(hashed.leaf_list[3 * HASH_SIZE :])
    assert store.held(name) == b"\x07"
    assert store.read_chunk(name, 1) == _piece(data, 4)
    assert store.leaf_list(name) == part.leaf_list(3, 6)
    assert part.leaf_list(2, 6) is None

    others = hashed.leaf_list[: 3 * HASH_SIZE]
    other = slice_digest(others)
    assert _refuses(ContentCorrupt, lambda: part.target(0, others, name))
    target = part.target(0, others, other)
    assert store.held(other) == b"\x00"
    for index in target.missing():
        target.write_chunk(index, _piece(data, index))
    assert _refuses(ContentCorrupt, lambda: part.finish(other))
    assert store.assemblies() == {"round-1"}
    part.finish(hashed.digest)
    assert store.read(hashed.digest) == data
    assert store.assemblies() == set()
    assert store.used() == len(data), "no second copy"
    assert store.read_chunk(other, 2) == _piece(data, 2), "slices stay served"
    again = store.assemble("round-1", len(data))
    assert again.missing() == [], "an assembly goes on under its name when it has become a file"
    assert again.read_chunk(1) == part.read_chunk(1) == _piece(data, 1)
    third = again.seal_slice(1, 4)
    assert store.read_chunk(third, 2) == _piece(data, 3)


def _check_finishing_unflushed(store: ContentStore) -> None:
    data = _sample(CHUNK_SIZE + 3)
    hashed = hash_bytes(data)
    part = store.assemble("unflushed", len(data))
    if not isinstance(part, PartFinishesUnflushed):
        return
    part.write_chunk(0, _piece(data, 0))
    assert _refuses(ContentUnavailable, lambda: part.finish_unflushed(hashed.digest))
    part.write_chunk(1, _piece(data, 1))
    assert _refuses(ContentCorrupt, lambda: part.finish_unflushed(bytes(32)))
    part.finish_unflushed(hashed.digest)
    assert store.read(hashed.digest) == data
    part.finish_unflushed(hashed.digest)
    part.flush()
    part.flush()
    assert store.read(hashed.digest) == data
    assert store.used() == len(data)


def _check_equal_slices(store: ContentStore) -> None:
    zeros = bytes(CHUNK_SIZE)
    data = b"1" * CHUNK_SIZE + 2 * zeros + b"4" * CHUNK_SIZE
    part = store.assemble("equal", len(data))
    part.write_chunk(1, zeros)
    name = part.seal_slice(1, 2)
    target = part.target(2, hash_bytes(zeros).leaf_list, name)
    store.put(b"something else")
    assert store.held(name) == b"\x01", "a slice stays served when another one is to become equal to it"
    assert store.read_chunk(name, 0) == zeros
    assert target.missing() == [0]
    target.write_chunk(0, zeros)
    assert target.missing() == []
    part.write_chunk(0, _piece(data, 0))
    part.write_chunk(3, _piece(data, 3))
    part.finish(hash_bytes(data).digest)
    assert store.read(hash_bytes(data).digest) == data


def _check_donors(store: ContentStore) -> None:
    data = _sample(3 * CHUNK_SIZE)
    hashed = hash_bytes(data)
    assembly = store.assemble("a", len(data))
    assembly.write_chunk(1, _piece(data, 1))
    assembly.write_chunk(2, bytes(CHUNK_SIZE))
    assert store.begin(hashed.digest, hashed.size, hashed.leaf_list).missing() == [0, 2]


def _check_collect(store: ContentStore) -> None:
    kept, dropped = store.put(b"kept"), store.put(b"dropped")
    data = _sample(2 * CHUNK_SIZE)
    hashed = hash_bytes(data)
    part = store.begin(hashed.digest, hashed.size, hashed.leaf_list)
    part.write_chunk(0, _piece(data, 0))
    assembly, old = store.assemble("kept", len(data)), store.assemble("old", len(data))
    assembly.write_chunk(1, _piece(data, 1))
    assert store.collect([kept.digest], ["kept"]) == len(b"dropped") + CHUNK_SIZE
    assert store.has(kept.digest)
    assert not store.has(dropped.digest)
    assert store.held(hashed.digest) is None
    assert store.assemblies() == {"kept"}
    assert _refuses(ContentUnavailable, lambda: part.write_chunk(1, _piece(data, 1)))
    assert _refuses(ContentUnavailable, lambda: old.write_chunk(1, _piece(data, 1)))
    assert assembly.read_chunk(1) == _piece(data, 1)
    assembly.discard()
    assembly.discard()
    assert store.assemblies() == set()
    assert store.used() == len(b"kept")
    assert store.put(b"dropped") == dropped
    assert store.read(dropped.digest) == b"dropped"
