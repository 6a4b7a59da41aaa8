"""Small views and stores for tests of `decide`, and one call that observes and decides."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from swarmp2p.core.actions import Action, Sign
from swarmp2p.core.config import Config, Knobs
from swarmp2p.core.decide import decide, observe
from swarmp2p.core.election import permutation
from swarmp2p.core.messages import Attestation, Claim, Objection, Signed
from swarmp2p.core.store import RoundStore, Store, Update
from swarmp2p.core.types import NO_DIGEST, Address, Bitmap, Digest, Phase, Reason, Status, StopReason
from swarmp2p.core.view import Member, View
from swarmp2p.identity import keccak256

GENESIS = b"g" * 32
HEAD = b"h" * 32
INPUTS = b"i" * 32
SEED = b"s" * 32
T0 = 1_800_000_000.0
"""A time of the present: its float resolution is that of real runs."""

KNOBS = Knobs()
TIMEOUT = KNOBS.leader_timeout
CONFIG = Config(
    genesis=GENESIS, size=2**23, schema=NO_DIGEST, update_size=2**23, update_schema=NO_DIGEST, rule=NO_DIGEST,
    purpose=NO_DIGEST, manifest=NO_DIGEST, initial_members=4, f=1, k_max=16, min_updates=2, frac_bps=5000,
    collect_timeout=600, grace=60, merge_timeout=600, max_missed=3, max_rounds=100, patience=0, abandon_after=86_400,
    k_invite=1, treasury=bytes(20), founders=(),
)  # fmt: skip

A = TypeVar("A")
B = TypeVar("B", Attestation, Claim, Objection)


def address(index: int) -> Address:
    return bytes([0xA0]) + bytes([index]) * 19


def update_of(index: int) -> Digest:
    return b"u" + bytes([index]) * 31


def slice_of(slice_: int) -> Digest:
    return b"c" + bytes([slice_]) * 31


MERGED = b"m" * 32
BOTH = (slice_of(0), slice_of(1))
"""The slices of a merge by two leaders."""


def member(index: int, **changes: Any) -> Member:
    known = Member(index, address(index), Status.ACTIVE, 1, 10, 2**40 - 1, 3, 3, 1, update_of(index))
    return replace(known, **changes)


def collecting(size: int = 4, submitted: Bitmap = 0, **changes: Any) -> View:
    """Round 3 collects, on the head of round 2."""
    everybody = (1 << size) - 1
    view = View(
        salt=b"t" * 32, round=3, phase=Phase.COLLECTING, opened_at=int(T0), seal_at=0, sealed_at=0,
        count=submitted.bit_count(), threshold=2, k=0, inputs=INPUTS, seed=SEED, submitted=submitted,
        wait_for=everybody, roster=0, active=everybody, banned=0, sealed_rounds=2, head=HEAD, head_round=2,
        merged_rounds=2, best=HEAD, best_round=2, judged_round=1, stale=0, ballot=0, max_rounds=100,
        stop_reason=StopReason.NONE, reports=0, reached=0, improved=0, metric_sum=0, metric_weight=0, reported=0,
        included=everybody, members=tuple(member(i, last_round=2, seq=2) for i in range(size)), block_number=9,
        block_timestamp=int(T0), voters=everybody,
    )  # fmt: skip
    return replace(view, **changes)


def merging(size: int = 4, k: int = 2, **changes: Any) -> View:
    """Round 3 merges: all have submitted."""
    everybody = (1 << size) - 1
    view = replace(
        collecting(size, everybody), phase=Phase.MERGING, sealed_at=int(T0), roster=everybody, k=k, sealed_rounds=3,
        members=tuple(member(i) for i in range(size)),
    )  # fmt: skip
    return replace(view, **changes)


def stopped(size: int = 4, **changes: Any) -> View:
    view = replace(merging(size), phase=Phase.STOPPED, head_round=3, stop_reason=StopReason.MAX_ROUNDS)
    return replace(view, **changes)


def a_store(me: int = 0, **changes: Any) -> Store:
    """A peer that has applied the head."""
    store = Store(address(me), weight=5, applied=HEAD, held={HEAD}, started_at=T0 - 1000)
    for name, value in changes.items():
        setattr(store, name, value)
    return store


def own_update(me: int = 0, base: Digest = HEAD) -> Update:
    return Update(base, update_of(me), 5)


def wanted(view: View, store: Store, now: float = T0, config: Config = CONFIG, knobs: Knobs = KNOBS) -> list[Action]:
    """What `decide` wants; that it is idempotent is checked at every call."""
    observe(view, store, config, now)
    actions = decide(view, store, config, knobs, now, keccak256)
    observe(view, store, config, now)
    assert decide(view, store, config, knobs, now, keccak256) == actions
    return list(actions)


def of(kind: type[A], actions: Iterable[Action]) -> list[A]:
    return [action for action in actions if isinstance(action, kind)]


def in_round(view: View, store: Store, now: float = T0, *, lists: bool = True) -> RoundStore:
    """The store of a round whose seal this peer sees now, the leaf lists of all updates being held."""
    observe(view, store, CONFIG, now)
    assert store.round is not None
    if lists:
        store.round.leaf_lists = {m.index for m in view.members}
    return store.round


def at_position(view: View, position: int) -> int:
    """The index of the member at this place of the round's order."""
    return permutation(view.roster, view.seed, keccak256)[position]


def claim(by: int, slice_: int, digest: Digest | None = None, excluded: Bitmap = 0) -> Signed:
    body = Claim(3, INPUTS, excluded, slice_, slice_of(slice_) if digest is None else digest)
    return Signed(body, address(by), bytes([by]) * 65)


def attestation(
    by: int, mask: int, k: int = 2, merged: Digest = b"m" * 32, excluded: Bitmap = 0, slices: tuple[Digest, ...] = ()
) -> Signed:
    parts = () if merged == NO_DIGEST else slices or tuple(slice_of(j) for j in range(k))
    return Signed(Attestation(3, INPUTS, excluded, merged, parts, mask), address(by), bytes([by]) * 65)


def objection(by: int, about: int, reason: Reason, chunk: int = 0) -> Signed:
    return Signed(Objection(3, INPUTS, about, reason, chunk), address(by), bytes([by]) * 65)


def compute(current: RoundStore, slice_: int, digest: Digest | None = None, excluded: Bitmap = 0) -> None:
    """What a `Merge` leaves behind."""
    found = slice_of(slice_) if digest is None else digest
    current.computed[excluded, slice_] = found
    current.slice_lists.add(found)
    current.slices_held.add((excluded, slice_, found))


def bodies(actions: Iterable[Action], kind: type[B]) -> list[B]:
    """What is to be signed, of one kind."""
    return [action.body for action in of(Sign, actions) if isinstance(action.body, kind)]
