"""Permutation, workers and ranks (docs/protocol.md, section 5)."""

from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.core.election import duty_width, leaders, permutation, rank_of, round_seed, worker
from swarmp2p.core.types import bits, word
from swarmp2p.identity import keccak256

rosters = st.sets(st.integers(0, 255), min_size=1, max_size=64).map(lambda s: sum(1 << i for i in s))
seeds = st.binary(min_size=32, max_size=32)


@given(rosters, seeds)
def test_a_permutation_holds_each_member_once_in_the_order_of_the_hashes(roster: int, seed: bytes) -> None:
    order = permutation(roster, seed, keccak256)
    assert sorted(order) == list(bits(roster))
    hashes = [int.from_bytes(keccak256(seed + word(index)), "big") for index in order]
    assert hashes == sorted(hashes)


@given(rosters, seeds, st.data())
def test_rank_and_worker_are_inverse(roster: int, seed: bytes, data: st.DataObject) -> None:
    order = permutation(roster, seed, keccak256)
    k = data.draw(st.integers(1, min(16, len(order))))
    slice_ = data.draw(st.integers(0, k - 1))
    for position, index in enumerate(order):
        rank = rank_of(position, slice_, k, len(order))
        assert 0 <= rank < len(order)
        assert worker(order, slice_, rank, k) == index
        assert worker(order, slice_, rank + len(order), k) == index


@given(rosters, seeds, st.data())
def test_leaders_are_distinct(roster: int, seed: bytes, data: st.DataObject) -> None:
    order = permutation(roster, seed, keccak256)
    k = data.draw(st.integers(1, min(16, len(order))))
    assert len(set(leaders(order, k))) == k


@given(rosters, seeds, st.data())
def test_work_at_the_first_ranks_is_spread_evenly(roster: int, seed: bytes, data: st.DataObject) -> None:
    order = permutation(roster, seed, keccak256)
    n = len(order)
    k, q = data.draw(st.integers(1, min(16, n))), data.draw(st.integers(1, min(4, n)))
    load = [sum(rank_of(position, j, k, n) < q for j in range(k)) for position in range(n)]
    assert sum(load) == k * q
    assert max(load) <= -(-k * q // n) + 1


@given(st.integers(1, 256), st.integers(1, 256), st.integers(0, 10**9))
def test_duty_widens_by_doubling_up_to_everybody(q: int, members: int, doublings: int) -> None:
    width = duty_width(q, doublings, members)
    assert width == min(members, q * 2 ** min(doublings, 300))
    assert duty_width(q, doublings + 1, members) >= width


@given(seeds, st.integers(1, 2**32 - 2), seeds)
def test_a_seed_is_of_one_round_and_one_head(salt: bytes, round_: int, head: bytes) -> None:
    seed = round_seed(salt, round_, head, keccak256)
    assert seed != round_seed(salt, round_ + 1, head, keccak256)
    assert seed == keccak256(salt + round_.to_bytes(32, "big") + head)
