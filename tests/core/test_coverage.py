"""Coverage of slices by attestations (docs/protocol.md, section 4, finalize)."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.core.coverage import choose_cover, coverage, covers

ks = st.integers(1, 16)
by_member = st.dictionaries(st.binary(min_size=20, max_size=20), st.integers(0, 2**20), max_size=24)


@given(by_member, ks)
def test_counts_are_those_of_the_definition(masks: dict[bytes, int], k: int) -> None:
    assert coverage(masks.values(), k) == tuple(sum(mask >> j & 1 for mask in masks.values()) for j in range(k))


@given(by_member, ks, st.integers(1, 4))
def test_a_chosen_cover_suffices_and_nobody_in_it_can_be_spared(masks: dict[bytes, int], k: int, q: int) -> None:
    chosen = choose_cover(masks, k, q)
    assert (chosen is not None) == covers(masks.values(), k, q)
    if chosen is None:
        return
    assert list(chosen) == sorted(set(chosen))
    assert covers([masks[member] for member in chosen], k, q)
    for member in chosen:
        assert not covers([masks[other] for other in chosen if other != member], k, q)


@given(by_member, ks, st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_arrival(
    masks: dict[bytes, int], k: int, q: int, random: Random
) -> None:
    items = list(masks.items())
    random.shuffle(items)
    assert choose_cover(dict(items), k, q) == choose_cover(masks, k, q)


def test_no_slices_are_never_covered() -> None:
    assert not covers([1, 1], 0, 1)


def test_bits_beyond_the_slices_do_not_count() -> None:
    assert coverage([0b100, 0b111], 2) == (1, 1)
