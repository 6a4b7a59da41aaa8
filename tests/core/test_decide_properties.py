"""Whatever a peer has seen: what `decide` wants is repeatable, acceptable, and wakes it in time."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from swarmp2p.core.actions import Action, Merge, SendFinalize, Sign, Wake
from swarmp2p.core.config import Config
from swarmp2p.core.coverage import covers
from swarmp2p.core.decide import decide, observe
from swarmp2p.core.messages import Attestation, Claim
from swarmp2p.core.store import Report, RoundStore, Store
from swarmp2p.core.threshold import inclusion_floor
from swarmp2p.core.types import NO_DIGEST, Reason, ReportFlag, Status, bits
from swarmp2p.core.view import View
from swarmp2p.identity import keccak256
from tests.core.builders import (
    CONFIG,
    HEAD,
    KNOBS,
    T0,
    a_store,
    attestation,
    claim,
    collecting,
    compute,
    in_round,
    member,
    merging,
    objection,
    of,
    own_update,
    slice_of,
    stopped,
)

digests = st.sampled_from((None, b"x" * 32))
later = st.one_of(st.floats(0, 20), st.floats(0, 2000))


@st.composite
def rounds(draw: st.DrawFn) -> tuple[View, Store, Config]:
    """A member of a round that merges, with any evidence at hand."""
    n = draw(st.integers(2, 7))
    k = draw(st.integers(1, min(3, n)))
    config = replace(CONFIG, f=draw(st.integers(0, min(2, n - 1))))
    people = st.integers(0, n - 1)
    statuses = st.sampled_from((Status.IDLE, Status.ACTIVE, Status.ACTIVE, Status.ACTIVE))
    roster = draw(st.integers(1, 2**n - 1))
    view = merging(
        n, k, roster=roster, submitted=roster, count=roster.bit_count(),
        members=tuple(member(i, status=draw(statuses)) for i in range(n)),
    )  # fmt: skip
    if k > view.count:
        view = replace(view, k=view.count)
    store = a_store(draw(people))
    current = in_round(view, store, lists=False)
    current.leaf_lists = draw(st.one_of(st.just(set(range(n))), st.sets(people)))
    excluded = st.sampled_from((0, 0, 0, 1, 0b10))
    for _ in range(draw(st.integers(0, 12))):
        current.add(claim(draw(people), draw(st.integers(0, view.k - 1)), draw(digests), draw(excluded)))
    for _ in range(draw(st.integers(0, 4))):
        current.add(objection(draw(people), draw(people), draw(st.sampled_from(Reason)), draw(st.integers(0, 3))))
    for _ in range(draw(st.integers(0, 5))):
        merged = draw(st.sampled_from((b"m" * 32, b"m" * 32, NO_DIGEST, b"x" * 32)))
        mask = draw(st.integers(0, 2**view.k - 1))
        current.add(attestation(draw(people), mask, view.k, merged, draw(excluded)))
    for slice_ in range(view.k):
        if draw(st.booleans()):
            compute(current, slice_, draw(digests), draw(excluded))
    if draw(st.booleans()):
        current.slices_held = set()
    current.slice_lists |= {slice_of(j) for j in range(view.k) if draw(st.booleans())}
    current.failing = draw(st.dictionaries(people, st.floats(T0, T0 + 10), max_size=2))
    current.invalid = draw(st.dictionaries(people, st.integers(0, 3), max_size=1))
    current.roots = {(0, tuple(slice_of(j) for j in range(view.k))): b"m" * 32} if draw(st.booleans()) else {}
    return view, store, config


@st.composite
def others(draw: st.DrawFn) -> tuple[View, Store, Config]:
    """A round that collects, or a swarm that has ended."""
    submitted = draw(st.integers(0, 15))
    view = draw(st.sampled_from((collecting, stopped)))(4)
    view = replace(
        view, submitted=submitted, count=submitted.bit_count(), seal_at=draw(st.sampled_from((0, int(T0) + 60))),
        extend_at=draw(st.sampled_from((0, int(T0) + 600))), reported=draw(st.integers(0, 15)),
        members=tuple(member(i, status=draw(st.sampled_from(Status))) for i in range(4)),
    )  # fmt: skip
    store = a_store(draw(st.integers(0, 4)))
    store.applied = draw(st.sampled_from((None, HEAD)))
    store.held = draw(st.sampled_from((set[bytes](), {HEAD})))
    store.update = draw(st.sampled_from((None, own_update(), own_update(base=b"x" * 32))))
    store.report = draw(st.sampled_from((None, Report(HEAD, 1, ReportFlag.HAS_REPORT))))
    return view, store, CONFIG


situations = st.one_of(rounds(), others())


def think(view: View, store: Store, config: Config, now: float) -> list[Action]:
    observe(view, store, config, now)
    return list(decide(view, store, config, KNOBS, now, keccak256))


@given(situations, later)
@settings(max_examples=400)
def test_deciding_again_changes_nothing_and_nothing_is_wanted_twice(
    situation: tuple[View, Store, Config], passed: float
) -> None:
    view, store, config = situation
    actions = think(view, store, config, T0 + passed)
    assert think(view, store, config, T0 + passed) == actions
    assert len(set(actions)) == len(actions)


@given(situations, later)
@settings(max_examples=400)
def test_a_wake_up_is_in_the_future_and_until_then_nothing_changes(
    situation: tuple[View, Store, Config], passed: float
) -> None:
    view, store, config = situation
    now = T0 + passed
    actions = think(view, store, config, now)
    wakes = [wake.at for wake in of(Wake, actions)]
    assert all(at > now for at in wakes)
    until = min(wakes, default=now + 10_000)
    for moment in (now + (until - now) / 2, until - (until - now) / 100):
        if now < moment < until:
            again = think(view, store, config, moment)
            assert [a for a in again if not isinstance(a, Wake)] == [a for a in actions if not isinstance(a, Wake)]


@given(rounds(), later)
@settings(max_examples=400)
def test_what_is_signed_is_what_was_done(situation: tuple[View, Store, Config], passed: float) -> None:
    view, store, config = situation
    actions = think(view, store, config, T0 + passed)
    current = store.round
    assert current is not None
    mine = current.signed.get(store.me, {})
    for body in (action.body for action in of(Sign, actions)):
        if isinstance(body, Claim):
            assert current.computed[body.excluded, body.slice] == body.digest
            assert ("claim", body.excluded, body.slice) not in mine
        if isinstance(body, Attestation):
            check_attestation(view, current, config, body, store.me)


def check_attestation(view: View, current: RoundStore, config: Config, body: Attestation, me: bytes) -> None:
    included = view.submitted & ~body.excluded
    own = [
        m.body for m in current.signed.get(me, {}).values()
        if isinstance(m.body, Attestation) and m.body.excluded == body.excluded
    ]  # fmt: skip
    assert all((known.merged, known.slices) == (body.merged, body.slices) for known in own)
    before = own[0].mask if own else 0
    if body.merged == NO_DIGEST:
        assert included.bit_count() < inclusion_floor(view.roster.bit_count())
        return
    assert body.mask & ~before, "it says something new"
    assert current.roots[body.excluded, body.slices] == body.merged
    for slice_, digest in enumerate(body.slices):
        recomputed = current.computed.get((body.excluded, slice_)) == digest
        held = (body.excluded, slice_, digest) in current.slices_held
        claimants = current.claims(body.excluded, slice_).get(digest, set())
        if body.mask >> slice_ & 1:
            assert (recomputed and held) or before >> slice_ & 1
        else:
            assert len(claimants) >= config.q


@given(rounds(), later)
@settings(max_examples=400)
def test_what_is_finalized_is_what_the_contract_accepts(situation: tuple[View, Store, Config], passed: float) -> None:
    view, store, config = situation
    think(view, store, config, T0)
    for send in of(SendFinalize, think(view, store, config, T0 + passed)):
        signers = [signed.signer for signed in send.signatures]
        assert len(set(signers)) == len(signers)
        masks = []
        for signed in send.signatures:
            assert isinstance(signed.body, Attestation)
            content = (signed.body.excluded, signed.body.merged, signed.body.slices)
            assert content == (send.excluded, send.merged, send.slices)
            masks.append(signed.body.mask)
        assert not send.excluded & ~view.submitted
        if send.merged == NO_DIGEST:
            assert len(signers) >= config.q
        else:
            assert covers(masks, view.k, config.q)
            assert (view.submitted & ~send.excluded).bit_count() >= inclusion_floor(view.roster.bit_count())


@given(rounds(), later)
@settings(max_examples=400)
def test_exclusions_only_grow(situation: tuple[View, Store, Config], passed: float) -> None:
    view, store, config = situation
    before = {merge.excluded for merge in of(Merge, think(view, store, config, T0 + passed))}
    current = store.round
    assert current is not None
    for index in bits(view.roster):
        for by in range(config.q):
            current.add(objection(by, index, Reason.UNAVAILABLE))
        after = {merge.excluded for merge in of(Merge, think(view, store, config, T0 + passed))}
        assert all(one & ~other == 0 for one in before for other in after)
        before = after or before


def test_a_full_swarm_of_64_asks_a_member_for_few_actions() -> None:
    view = merging(64, 16)
    store = a_store()
    current = in_round(view, store)
    for by in range(64):
        for slice_ in range(16):
            current.add(claim(by, slice_))
        current.add(attestation(by, 1 << by % 16, 16))
    actions = think(view, store, replace(CONFIG, f=3), T0 + 10)
    assert len(of(SendFinalize, actions)) <= 1
    assert len(actions) < 100
