"""How a round's money is shared among those whose updates were merged: twins of contracts/src/policies, bit for bit.

Contribution cannot be proven. That an update was merged says that it had the right form, not that it helped; the number of
examples is what a member declares. So a policy is as good as the members' trust in what it goes by, and none here goes by
rank, time or speed, which a member could gain by playing.
"""

from collections.abc import Sequence
from typing import Protocol

from swarmp2p.core.errors import ConfigError
from swarmp2p.core.money import Entry


class RewardPolicy(Protocol):
    """What IRewardPolicy is on the chain. `swarmp2p.testing.reward_checks` has the checks for one of your own."""

    @property
    def name(self) -> str:
        """As `[rewards] policy` in a manifest names it."""

    def shares(self, round_: int, pot: int, included: Sequence[Entry]) -> Sequence[int]:
        """The shares of one round, from nothing but the arguments.

        Args:
            round_: that was merged.
            pot: what there is to share, in the token's smallest unit, below 2^128.
            included: updates to pay, in the order of submission; not empty.

        Returns:
            One share an entry, in their order; together at most `pot`. What is left of it stays in the pool.
        """


class EqualShares:
    """The same for everybody whose update was merged: floor(pot / n) each."""

    name = "equal"

    def shares(self, round_: int, pot: int, included: Sequence[Entry]) -> list[int]:
        """floor(pot / n) each, whoever declared what."""
        return [pot // len(included) for _ in included]


class WeightShares:
    """By the weight in the merge: floor(pot w_i / sum of w) each.

    The weight is the number of examples as a member declares it: who declares more than it has gains, up to what its
    invitation allows. For members that know each other.
    """

    name = "weight"

    def shares(self, round_: int, pot: int, included: Sequence[Entry]) -> list[int]:
        """floor(pot w_i / W) each; nothing for anybody if all weights are 0, which no swarm accepts."""
        total = sum(entry.weight for entry in included)
        return [pot * entry.weight // total if total else 0 for entry in included]


_POLICIES: dict[str, RewardPolicy] = {policy.name: policy for policy in (EqualShares(), WeightShares())}


def policy_of(name: str) -> RewardPolicy:
    """The policy that a manifest names.

    Raises:
        ConfigError: it is a contract of somebody else's, or nothing at all.
    """
    if name not in _POLICIES:
        known = ", ".join(f'"{each}"' for each in sorted(_POLICIES))
        raise ConfigError(
            f"There is no reward policy {name!r} in this release; it has {known}.",
            "What a contract of your own pays shows once a round is settled.",
        )
    return _POLICIES[name]
