"""A head that nobody serves is merged again from the kept updates (docs/protocol.md, section 6)."""

import hashlib
from dataclasses import replace

from swarmp2p.core.actions import BuildRoot, FetchFile, Merge, Wake
from swarmp2p.core.config import Config, Knobs
from swarmp2p.core.decide import decide, observe
from swarmp2p.core.store import Store
from swarmp2p.core.types import NO_DIGEST, Phase, Status, StopReason
from swarmp2p.core.view import Member, View

HEAD = b"h" * 32
INPUTS = b"i" * 32
KNOBS = Knobs()
CONFIG = Config(
    genesis=b"g" * 32, size=2**20, schema=NO_DIGEST, update_size=2**20, update_schema=NO_DIGEST, rule=NO_DIGEST,
    purpose=NO_DIGEST, manifest=NO_DIGEST, initial_members=3, f=0, k_max=2, min_updates=2, frac_bps=5000,
    collect_timeout=600, grace=60, merge_timeout=100, max_missed=2, max_rounds=10, patience=0, abandon_after=86_400,
    k_invite=1, treasury=bytes(20), founders=(),
)  # fmt: skip


def member(index: int) -> Member:
    return Member(index, bytes([index]) * 20, Status.ACTIVE, 1, 10, 2**40 - 1, 1, 1, 1, bytes([index]) * 32)


def sealed() -> View:
    return View(
        salt=NO_DIGEST, round=1, phase=Phase.MERGING, opened_at=0, seal_at=0, sealed_at=1, count=3, threshold=3, k=2,
        inputs=INPUTS, seed=b"s" * 32, submitted=0b111, wait_for=0b111, roster=0b111, active=0b111, banned=0,
        sealed_rounds=1, head=CONFIG.genesis, head_round=0, merged_rounds=0, best=CONFIG.genesis, best_round=0,
        judged_round=0, stale=0, ballot=0, max_rounds=10, stop_reason=StopReason.NONE, reports=0, reached=0, improved=0,
        metric_sum=0, metric_weight=0, reported=0, included=0, members=tuple(member(i) for i in range(3)),
        block_number=5, block_timestamp=5,
    )  # fmt: skip


def merged() -> View:
    """The next round; member 2's update was excluded, and member 0 has submitted another one already."""
    other = replace(member(0), digest=b"o" * 32, last_round=2)
    return replace(
        sealed(), phase=Phase.COLLECTING, round=2, k=0, roster=0, submitted=1, count=1, head=HEAD, head_round=1,
        included=0b011, members=(other, member(1), member(2)), inputs=b"j" * 32,
    )  # fmt: skip


def keccak(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def wanted(view: View, store: Store, now: float) -> list[object]:
    observe(view, store, CONFIG, now)
    kinds = (FetchFile, Merge, BuildRoot)
    return [a for a in decide(view, store, CONFIG, KNOBS, now, keccak) if isinstance(a, kinds)]


def store_that_saw_the_seal() -> Store:
    store = Store(me=member(1).address, weight=1, applied=CONFIG.genesis, held={CONFIG.genesis})
    observe(sealed(), store, CONFIG, 10.0)
    return store


def test_for_a_merge_timeout_the_head_is_only_asked_for() -> None:
    store = store_that_saw_the_seal()
    assert wanted(merged(), store, 20.0) == [FetchFile(HEAD, 1)]
    assert Wake(120.0) in decide(merged(), store, CONFIG, KNOBS, 20.0, keccak)
    assert wanted(merged(), store, 119.0) == [FetchFile(HEAD, 1)]


def test_then_it_is_merged_from_the_updates_that_were_sealed() -> None:
    store = store_that_saw_the_seal()
    wanted(merged(), store, 20.0)
    merges = [Merge(1, INPUTS, 0b100, slice_) for slice_ in range(2)]
    assert wanted(merged(), store, 120.0) == [FetchFile(HEAD, 1), *merges]
    assert store.round is not None
    assert [m.digest for m in store.round.members] == [bytes([i]) * 32 for i in range(3)]
    store.round.computed[0b100, 0] = b"a" * 32
    assert wanted(merged(), store, 121.0) == [FetchFile(HEAD, 1), merges[1]]
    store.round.computed[0b100, 1] = b"b" * 32
    slices = (b"a" * 32, b"b" * 32)
    assert wanted(merged(), store, 122.0) == [FetchFile(HEAD, 1), BuildRoot(1, 0b100, slices)]
    store.round.roots[0b100, slices] = HEAD
    assert wanted(merged(), store, 123.0) == [FetchFile(HEAD, 1)]


def test_who_did_not_see_the_seal_can_only_ask() -> None:
    store = Store(me=member(1).address, weight=1)
    wanted(merged(), store, 20.0)
    assert wanted(merged(), store, 500.0) == [FetchFile(HEAD, 1)]


def test_another_head_is_missing_from_another_time_on() -> None:
    store = store_that_saw_the_seal()
    wanted(merged(), store, 20.0)
    assert store.head_missing == (HEAD, 20.0)
    observe(replace(merged(), head=b"x" * 32), store, CONFIG, 50.0)
    assert store.head_missing == (b"x" * 32, 50.0)
    store.held.add(b"x" * 32)
    observe(replace(merged(), head=b"x" * 32), store, CONFIG, 60.0)
    assert store.head_missing is None
