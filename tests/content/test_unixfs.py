import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiformats import CID

from swarmp2p.content.unixfs import (
    HASH_SIZE,
    LINKS_PER_NODE,
    chunk_count,
    chunk_length,
    cid,
    cid_text,
    hash_bytes,
    hash_file,
    parse_cid,
    root,
)
from swarmp2p.core.errors import ConfigError, ContentCorrupt
from swarmp2p.core.types import CHUNK_SIZE
from tests.content.unixfs_reference import reference_digest

VECTORS = json.loads((Path(__file__).parents[2] / "interop/vectors/cid.json").read_text())["vectors"]
HELLO = cid(hashlib.sha256(b"hello").digest(), 5)


def sample(size: int) -> bytes:
    return ((np.arange(size, dtype=np.uint64) * np.uint64(2654435761)) >> np.uint64(13)).astype(np.uint8).tobytes()


@pytest.mark.parametrize("vector", VECTORS, ids=[str(v["size"]) for v in VECTORS])
def test_cids_are_those_of_kubo(vector: dict[str, object], tmp_path: Path) -> None:
    size, text = int(str(vector["size"])), str(vector["cid"])
    data = sample(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    hashed = hash_file(path)
    assert hashed == hash_bytes(data)
    assert hashed.size == size
    assert str(cid(hashed.digest, size)) == text
    assert parse_cid(text, size) == hashed.digest


def boundary_counts() -> st.SearchStrategy[int]:
    """Numbers of chunks around those where the tree gets another node or level."""
    near = [
        n + d
        for n in (1, LINKS_PER_NODE, 2 * LINKS_PER_NODE, LINKS_PER_NODE**2, LINKS_PER_NODE**2 + LINKS_PER_NODE)
        for d in (-1, 0, 1, 2)
    ]
    return st.sampled_from([n for n in near if n > 0]) | st.integers(1, 3 * LINKS_PER_NODE)


@settings(deadline=None, max_examples=60)
@given(count=boundary_counts(), last=st.integers(1, CHUNK_SIZE) | st.just(CHUNK_SIZE), seed=st.binary(max_size=4))
def test_roots_agree_with_a_slow_reference(count: int, last: int, seed: bytes) -> None:
    leaves = [hashlib.sha256(seed + i.to_bytes(4, "big")).digest() for i in range(count)]
    size = (count - 1) * CHUNK_SIZE + last
    assert chunk_count(size) == count
    assert chunk_length(count - 1, size) == last
    made = root(b"".join(leaves), size)
    assert made.digest == reference_digest(leaves, size)
    assert (made.digest in made.nodes) == (count > 1)
    for digest, block in made.nodes.items():
        assert hashlib.sha256(block).digest() == digest


@pytest.mark.parametrize("length", [0, 31, 33, HASH_SIZE, 3 * HASH_SIZE])
def test_a_leaf_list_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ContentCorrupt, match="2 chunks"):
        root(bytes(length), CHUNK_SIZE + 1)


def test_a_cid_written_by_hand_is_the_same() -> None:
    for size in (0, CHUNK_SIZE, CHUNK_SIZE + 1):
        digest = hash_bytes(sample(size)).digest
        assert cid_text(digest, size) == str(cid(digest, size))


def test_a_cid_in_another_base_is_the_same() -> None:
    assert parse_cid(HELLO.encode("base58btc")) == parse_cid(HELLO) == HELLO.raw_digest


@pytest.mark.parametrize(
    ("text", "size", "says"),
    [
        ("", None, "not a CID"),
        ("hello", None, "not a CID"),
        (str(HELLO)[:-1], None, "not a CID|CIDv1 with"),
        ("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n", None, "is a CIDv0"),
        ("bafkqaaa", None, "identity"),
        (str(CID("base32", 1, "dag-cbor", ("sha2-256", bytes(32)))), None, "dag-cbor"),
        (str(HELLO), CHUNK_SIZE + 1, "codec raw"),
        (str(cid(bytes(32), CHUNK_SIZE + 1)), CHUNK_SIZE, "codec dag-pb"),
    ],
)
def test_what_is_no_cid_of_ours_is_refused_with_the_reason(text: str, size: int | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse_cid(text, size)
    assert "swarmp2p cid FILE" in caught.value.mend or size is not None


@given(st.text(max_size=80))
def test_no_text_makes_it_raise_anything_else(text: str) -> None:
    try:
        parse_cid(text)
    except ConfigError:
        return


PEAK = """
import resource, sys
from swarmp2p.content.unixfs import hash_file
hash_file(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_stays_flat(tmp_path: Path) -> None:
    def peak_kib(size: int) -> int:
        path = tmp_path / str(size)
        path.touch()
        os.truncate(path, size)  # sparse: takes no room, hashes like any other
        run = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
        return int(run.stdout)

    assert peak_kib(1 << 30) - peak_kib(1 << 20) <= 20 * 1024
