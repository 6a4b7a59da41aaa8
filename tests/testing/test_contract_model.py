"""The contract's model, rule by rule, where random calls would not tell what is meant (docs/protocol.md, section 4)."""

import hashlib
from dataclasses import replace

import pytest

from swarmp2p.core.config import Config
from swarmp2p.core.messages import Invite
from swarmp2p.core.types import NO_DIGEST, Address, Phase, StopReason
from swarmp2p.testing.contract_model import Block, ContractModel, Reverted

START = 1_800_000_000
FAR = 2**40 - 1
MEMBERS: list[Address] = [bytes([i + 1]) * 20 for i in range(6)]
STRANGER: Address = b"\xee" * 20
CONFIG = Config(
    genesis=b"g" * 32, size=2**20, schema=NO_DIGEST, update_size=2**20, update_schema=NO_DIGEST, rule=NO_DIGEST,
    purpose=NO_DIGEST, manifest=NO_DIGEST, initial_members=4, f=1, k_max=2, min_updates=2, frac_bps=5000,
    collect_timeout=600, grace=60, merge_timeout=600, max_missed=2, max_rounds=10, patience=0, abandon_after=86_400,
    k_invite=1, treasury=bytes(20),
    founders=tuple(MEMBERS[:4]),
)  # fmt: skip


def keccak(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def swarm(members: int = 4, **changes: int) -> ContractModel:
    config = replace(CONFIG, **changes)  # type: ignore[arg-type]
    model = ContractModel.deploy(config, b"s" * 32, keccak, Block(1, START))
    for member in MEMBERS[:members]:
        enrol(model, member)
    return model


def enrol(model: ContractModel, member: Address) -> None:
    model.enrol(member, Invite(member, 0, 10, FAR, 0, NO_DIGEST, FAR), MEMBERS[:1], b"")


def submit(model: ContractModel, *members: int, flags: int = 0) -> None:
    for member in members:
        model.submit_update(MEMBERS[member], model.round, keccak(bytes([model.round, member])), 1, 0, flags)


def finalize(model: ContractModel, excluded: int = 0, merged: bytes = b"m" * 32) -> None:
    signatures = [((1 << model.k) - 1, member) for member in MEMBERS[:2]]
    model.finalize(STRANGER, model.round, excluded, merged, (b"s" * 32,) * model.k, signatures)


def one_round(model: ContractModel, *members: int) -> None:
    submit(model, *members)
    finalize(model)


def refused(name: str) -> pytest.RaisesExc[Reverted]:
    return pytest.RaisesExc(Reverted, match=f"^{name}$")


def test_a_round_goes_from_collecting_to_the_next_head() -> None:
    model = swarm()
    submit(model, 0, 1, 2)
    assert model.phase is Phase.COLLECTING
    submit(model, 3)
    assert (model.phase, model.k) == (Phase.MERGING, 2)
    finalize(model)
    assert (model.phase, model.round, model.head, model.head_round) == (Phase.COLLECTING, 2, b"m" * 32, 1)
    assert model.results[1].included == 0b1111


def test_round_1_waits_for_all_initial_members() -> None:
    model = swarm(members=3)
    submit(model, 0, 1, 2)
    assert model.phase is Phase.COLLECTING


def test_the_seal_waits_for_who_is_waited_for_and_not_for_as_many() -> None:
    model = swarm(frac_bps=10_000)
    one_round(model, 0, 1, 2, 3)
    enrol(model, MEMBERS[4])  # waited for from the next round on
    submit(model, 0, 1, 2, 4)
    assert (model.count, model.wait_for.bit_count(), model.phase) == (4, 4, Phase.COLLECTING)
    submit(model, 3)
    assert model.phase is Phase.MERGING


def test_grace_after_the_threshold() -> None:
    model = swarm()
    one_round(model, 0, 1, 2, 3)
    submit(model, 0, 1)
    assert model.seal_at == START + 60
    with refused("NothingDue"):
        model.advance(STRANGER, ())
    model.block.timestamp += 60
    model.advance(STRANGER, ())
    assert (model.phase, model.state().roster) == (Phase.MERGING, 0b11)


def test_an_extension_lowers_the_threshold_and_waits_for_the_same_members() -> None:
    model = swarm()
    submit(model, 0, 1)
    model.block.timestamp += 599
    with refused("NothingDue"):
        model.advance(STRANGER, ())
    model.block.timestamp += 1
    model.advance(STRANGER, ())
    assert (model.threshold, model.seal_at, model.wait_for) == (2, START + 660, 0b1111)
    submit(model, 2, 3)
    assert model.phase is Phase.MERGING


def test_too_few_updates_wait_visibly_and_go_on_by_themselves() -> None:
    model = swarm()
    submit(model, 0)
    model.block.timestamp += 5000
    with refused("NothingDue"):
        model.advance(STRANGER, ())
    submit(model, 1)
    assert model.extend_at == START + 9 * 600


def test_a_merge_that_nobody_finalizes_is_aborted_by_anyone() -> None:
    model = swarm()
    submit(model, 0, 1, 2, 3)
    model.block.timestamp += 600
    model.advance(STRANGER, ())
    assert (model.phase, model.round, model.head_round, model.results) == (Phase.COLLECTING, 2, 0, {})


def test_q_members_abort_at_once() -> None:
    model = swarm()
    submit(model, 0, 1, 2, 3)
    with refused("TooFewSigners"):
        model.finalize(STRANGER, 1, 0b1110, NO_DIGEST, (), [(0, MEMBERS[0])])
    model.finalize(STRANGER, 1, 0b1110, NO_DIGEST, (), [(0, MEMBERS[0]), (0, MEMBERS[1])])
    assert (model.round, model.head_round) == (2, 0)


def test_half_of_the_updates_stay_and_the_excluded_become_idle() -> None:
    model = swarm()
    submit(model, 0, 1, 2, 3)
    with refused("TooFewIncluded"):
        finalize(model, excluded=0b1110)
    finalize(model, excluded=0b1100)
    assert (model.active, model.wait_for, model.state().included) == (0b0011, 0b0011, 0b0011)
    model.ready(MEMBERS[2])
    assert (model.active, model.wait_for) == (0b0111, 0b0011)


def test_a_slice_that_one_member_attested_is_not_covered() -> None:
    model = swarm()
    submit(model, 0, 1, 2, 3)
    with refused("NotCovered"):
        model.finalize(STRANGER, 1, 0, b"m" * 32, (b"s" * 32,) * 2, [(0b11, MEMBERS[0]), (0b01, MEMBERS[1])])
    with refused("DuplicateSigner"):
        model.finalize(STRANGER, 1, 0, b"m" * 32, (b"s" * 32,) * 2, [(0b11, MEMBERS[0]), (0b11, MEMBERS[0])])
    with refused("NotAuthorised"):
        model.finalize(STRANGER, 1, 0, b"m" * 32, (b"s" * 32,) * 2, [(0b11, MEMBERS[0]), (0b11, STRANGER)])


def test_who_misses_rounds_in_a_row_is_no_longer_waited_for() -> None:
    model = swarm()
    one_round(model, 0, 1, 2, 3)
    for _ in range(2):
        submit(model, 0, 1, 2)
        model.block.timestamp += 60
        model.advance(STRANGER, (3,))
        finalize(model)
    model.advance(STRANGER, (3,))
    assert (model.active, model.wait_for) == (0b0111, 0b1111)
    submit(model, 0, 1, 2)
    model.block.timestamp += 60
    model.advance(STRANGER, ())
    finalize(model)
    assert model.wait_for == 0b0111


def test_a_majority_of_reports_stops_the_swarm_and_one_liar_does_not() -> None:
    model = swarm()
    one_round(model, 0, 1, 2, 3)
    submit(model, 0, 1, 2, flags=4)
    submit(model, 3, flags=5)
    assert (model.phase, model.stale, model.judged_round) == (Phase.MERGING, 1, 1)
    finalize(model, merged=b"n" * 32)
    submit(model, 0, 1, 2, flags=5)
    submit(model, 3, flags=4)
    assert (model.phase, model.stop_reason, model.best) == (Phase.STOPPED, StopReason.TARGET, b"n" * 32)


def test_patience_and_rounds_end_it_too() -> None:
    model = swarm(patience=1)
    one_round(model, 0, 1, 2, 3)
    submit(model, 0, 1, 2, 3, flags=4)
    assert model.stop_reason is StopReason.PATIENCE
    model = swarm(max_rounds=1)
    one_round(model, 0, 1, 2, 3)
    assert model.stop_reason is StopReason.MAX_ROUNDS
    model.report(MEMBERS[0], 1, 6)
    with refused("AlreadyReported"):
        model.report(MEMBERS[0], 1, 6)
    for member in MEMBERS[1:4]:
        model.report(member, 1, 6)
    assert (model.best_round, model.state().reported) == (1, 0b1111)


def test_a_refused_call_changes_nothing_and_a_clone_is_independent() -> None:
    model = swarm()
    before = model.state()
    with refused("BadFlags"):
        submit(model, 0, flags=3)
    assert model.state() is before
    twin = model.clone()
    submit(twin, 0)
    assert model.state() is before
    assert twin.state().count == 1
