"""Cutting a model into slices (docs/protocol.md, section 5)."""

import hashlib
import itertools

from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.core.slices import chunk_range, leaders_in_force, slice_digest, slice_of, stretches


@given(st.integers(1, 255), st.integers(1, 256), st.integers(1, 5000))
def test_slices_partition_the_chunks_evenly(k_max: int, members: int, chunks: int) -> None:
    k = leaders_in_force(k_max, members, chunks)
    assert 1 <= k <= min(k_max, members, chunks)
    parts = [chunk_range(slice_, k, chunks) for slice_ in range(k)]
    assert [chunk for part in parts for chunk in part] == list(range(chunks))
    sizes = {len(part) for part in parts}
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    for slice_, part in enumerate(parts):
        assert {slice_of(part.start, k, chunks), slice_of(part.stop - 1, k, chunks)} == {slice_}


def test_one_chunk_has_one_leader() -> None:
    assert leaders_in_force(16, 64, 1) == 1


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20))
def test_a_slice_digest_is_the_hash_of_its_leaf_list(leaves: list[bytes]) -> None:
    assert slice_digest(iter(leaves)) == hashlib.sha256(b"".join(leaves)).digest()


@given(st.sets(st.integers(0, 40)))
def test_stretches_are_the_same_chunks_in_as_few_ranges_as_there_can_be(chunks: set[int]) -> None:
    ranges = list(stretches(chunks))
    assert [chunk for first, end in ranges for chunk in range(first, end)] == sorted(chunks)
    assert all(end < first for (_, end), (first, _) in itertools.pairwise(ranges))
