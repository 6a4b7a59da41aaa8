"""Invariant 8: a peer that is killed at any step, and comes back from its disk, ends where it would have ended anyway."""

from dataclasses import replace
from itertools import product

import pytest

from swarmp2p.core.config import Config
from swarmp2p.testing.simulator import Outcome, World, draw
from swarmp2p.testing.simulator.plan import Outage, PeerPlan, Plan

HEAD_LOST = "head lost with its only holder (f = 0)"


def quiet_plan(victim_outages: list[Outage]) -> Plan:
    """Four honest peers, two slices, three rounds, no other faults."""
    plan = draw(0)
    config: Config = replace(
        plan.config, initial_members=4, f=1, k_max=2, size=2**20, min_updates=2, frac_bps=10_000, max_rounds=3,
        patience=0, founders=tuple(peer.address for peer in plan.peers[:4]),
    )  # fmt: skip
    peers = [PeerPlan(address, train_time=1.0 + i / 10) for i, address in enumerate(config.founders)]
    peers[0].outages = victim_outages
    return replace(
        plan, config=config, peers=peers, loss=0.0, duplicates=0.0, fetch_loss=0.0, block_time=0.05,
        transaction_loss=0.0, undialable=frozenset(), improves=1.0,
    )  # fmt: skip


def run(outages: list[Outage]) -> tuple[Outcome, World]:
    world = World(quiet_plan(outages))
    return world.run(), world


def test_the_plan_is_quiet() -> None:
    outcome, world = run([])
    assert outcome.violations == []
    assert (outcome.finalized, outcome.aborted, outcome.eligible_finalized) == (3, 0, 3)
    assert len(world.plan.peers) == 4


@pytest.mark.parametrize("first", range(1, 11))
def test_killed_at_every_boundary(first: int) -> None:
    # A run of the victim has about 100 boundaries; this test takes every tenth of them.
    for boundary in range(first, 121, 10):
        outcome, world = run([Outage(0.3, at_boundary=boundary)])
        assert outcome.violations == [], boundary
        assert (outcome.finalized, outcome.stalled) == (3, []), boundary
        assert all(peer.finished and peer.store.applied == outcome.head for peer in world.peers), boundary


def test_killed_again_and_again() -> None:
    outcome, world = run([Outage(0.3, at_boundary=7) for _ in range(12)])
    assert outcome.violations == []
    assert outcome.finalized == 3
    assert all(peer.finished and peer.store.applied == outcome.head for peer in world.peers)
    assert outcome.faults["crash"] > 5


@pytest.mark.parametrize("victim", range(4))
def test_killed_for_ever_at_every_boundary(victim: int) -> None:
    plan = quiet_plan([])
    config = replace(plan.config, k_max=1, frac_bps=5000)
    for boundary in range(1 + victim % 2, 110, 2):
        peers = [PeerPlan(peer.address, peer.train_time) for peer in plan.peers]
        peers[victim].outages = [Outage(float("inf"), at_boundary=boundary)]
        world = World(replace(plan, config=config, peers=peers))
        outcome = world.run()
        assert outcome.violations == [], boundary
        assert outcome.end == "MAX_ROUNDS", boundary
        assert all(peer.finished for peer in world.peers if peer.id != victim), boundary


def test_with_f_0_a_death_may_cost_the_head_and_nothing_else() -> None:
    # One attestation is enough then, so the only one who holds the merged model may be the one who dies.
    plan = quiet_plan([])
    config = replace(plan.config, initial_members=3, f=0, k_max=1, frac_bps=5000)
    lost = 0
    for boundary, victim in product(range(1, 110, 3), range(3)):  # each leads in some round
        peers = [PeerPlan(peer.address, peer.train_time) for peer in plan.peers[:3]]
        peers[victim].outages = [Outage(float("inf"), at_boundary=boundary)]
        outcome = World(replace(plan, config=config, peers=peers)).run()
        assert outcome.violations == [], boundary
        assert outcome.end == "MAX_ROUNDS" or outcome.faults[HEAD_LOST], boundary
        lost += outcome.faults[HEAD_LOST]
    assert 0 < lost < 30
