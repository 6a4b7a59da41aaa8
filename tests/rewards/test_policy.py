"""Reward policies: the rules, and that a contract and its twin agree to the last unit."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings

from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.treasury import POLICIES
from swarmp2p.core.errors import ConfigError
from swarmp2p.core.money import Entry
from swarmp2p.rewards.policy import EqualShares, RewardPolicy, WeightShares, policy_of
from swarmp2p.testing.reward_checks import check_policy_contract, check_reward_policy
from tests.control.paid_swarm import paid_swarm
from tests.rewards.policy_on_evm import PolicyOnEvm
from tests.rewards.strategies import amounts, entries, entry

ALL = (EqualShares(), WeightShares())


@cache
def on_evm(contract: str) -> PolicyOnEvm:
    return PolicyOnEvm(contract)


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
def test_the_rules_are_kept(policy: RewardPolicy) -> None:
    check_reward_policy(policy)


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
@given(pot=amounts, included=entries)
@settings(max_examples=60, deadline=None)
def test_the_contract_gives_the_same(policy: RewardPolicy, pot: int, included: tuple[Entry, ...]) -> None:
    assert on_evm(POLICIES[policy.name]).shares(7, pot, included) == list(policy.shares(7, pot, included))


@given(pot=amounts, included=entries)
def test_little_is_left(pot: int, included: tuple[Entry, ...]) -> None:
    """Rounding down loses less than a unit a member; nobody gets more than a unit less than its part."""
    total = sum(each.weight for each in included)
    for policy, parts in ((EqualShares(), [1] * len(included)), (WeightShares(), [each.weight for each in included])):
        shares = policy.shares(1, pot, included)
        whole = len(included) if policy.name == "equal" else total
        assert pot - sum(shares) < len(included)
        assert all(0 <= pot * part - share * whole < whole for part, share in zip(parts, shares, strict=True))


def test_no_weight_at_all() -> None:
    none = [entry(0, 0), entry(1, 0)]
    assert WeightShares().shares(1, 100, none) == [0, 0] == on_evm("WeightShares").shares(1, 100, none)


def test_policies_by_name() -> None:
    assert set(POLICIES) == {policy_of(name).name for name in POLICIES}
    with pytest.raises(ConfigError, match='it has "equal", "weight"'):
        policy_of("0x" + "ab" * 20)


class Racing:
    """The first one gets what rounding leaves."""

    name = "racing"

    def shares(self, round_: int, pot: int, included: Sequence[Entry]) -> list[int]:
        share, rest = divmod(pot, len(included))
        return [share + rest, *[share] * (len(included) - 1)]


class Generous(EqualShares):
    """Rounds up."""

    def shares(self, round_: int, pot: int, included: Sequence[Entry]) -> list[int]:
        return [-(-pot // len(included)) for _ in included]


class Forgetful(EqualShares):
    """Pays all but one."""

    def shares(self, round_: int, pot: int, included: Sequence[Entry]) -> list[int]:
        return super().shares(round_, pot, included)[1:]


class Lucky(EqualShares):
    """By the digest."""

    def shares(self, round_: int, pot: int, included: Sequence[Entry]) -> list[int]:
        return [share * (each.digest[0] & 1) for share, each in zip(super().shares(round_, pot, included), included)]  # noqa: B905


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (Racing(), "order of submission"),
        (Generous(), "gives away"),
        (Forgetful(), "0 shares of 1"),
        (Lucky(), "digest"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_unfair_policies_are_named(policy: RewardPolicy, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_reward_policy(policy)


async def test_deployed_policies(tmp_path: Path) -> None:
    with trio.fail_after(120):
        async with paid_swarm(tmp_path, 1, policy="weight", f=0, min_updates=1) as swarm:
            address = (await swarm.treasury(0).terms()).policy
            await check_policy_contract(swarm.rpc, address, WeightShares())
            with pytest.raises(AssertionError, match="equal: round 1, pot 2, weights"):
                await check_policy_contract(swarm.rpc, address, EqualShares())
            with pytest.raises(AssertionError, match="the contract refuses"):
                await check_policy_contract(swarm.rpc, swarm.manifest.contract, EqualShares())
            assert (await SwarmContract(swarm.rpc, swarm.manifest.contract, swarm.keys[0].secret).state()).round == 1
