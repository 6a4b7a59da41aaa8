"""What a reward policy has to keep to, in Python and as a contract: run these on one of your own.

A twin that agrees with its contract lets everybody foretell what a settlement will pay (rewards/settlement.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from swarmp2p.control.abi_codec import artefact
from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.money import Entry
from swarmp2p.core.types import Address
from swarmp2p.rewards.policy import RewardPolicy

MAX_POT = 2**128 - 1
MAX_WEIGHT = 2**32 - 1
MAX_ROUND = 2**32 - 1
POTS = (0, 1, 2, 3, 7, 1000, 10**18, MAX_POT)


def reward_cases(seed: int = 0, many: int = 30) -> Iterator[tuple[int, int, tuple[Entry, ...]]]:
    """(round, pot, included): the corners, and `many` by chance."""
    random = Random(seed)
    weights: list[Sequence[int]] = [
        [1], [MAX_WEIGHT], [1, 1], [1, MAX_WEIGHT], [MAX_WEIGHT, 1], [MAX_WEIGHT] * 3, [1, 2, 3, 4, 5], [1] * 256,
        [MAX_WEIGHT] * 256,
    ]  # fmt: skip
    for group in weights:
        for pot in POTS:
            yield 1, pot, _entries(random, group)
    for _ in range(many):
        group = [random.randint(1, MAX_WEIGHT) for _ in range(random.randint(1, 20))]
        yield random.randint(1, MAX_ROUND), random.randrange(2 ** random.randint(1, 128)), _entries(random, group)


def _entries(random: Random, weights: Sequence[int]) -> tuple[Entry, ...]:
    indexes = random.sample(range(256), len(weights))
    return tuple(
        Entry(random.randbytes(20), index, random.randbytes(32), weight)
        for index, weight in zip(indexes, weights, strict=True)
    )


def check_reward_policy(policy: RewardPolicy) -> None:
    """The rules of IRewardPolicy, on `reward_cases`.

    One share an update, none below nothing, together at most the pot; the same for the same arguments; and by update,
    not by place: who submitted first must not matter, or members would be paid for racing.

    Raises:
        AssertionError: saying which rule and on what.
    """
    for round_, pot, included in reward_cases():
        what = f"{policy.name}: round {round_}, pot {pot}, weights {[entry.weight for entry in included][:8]}"
        before = list(included)
        shares = list(policy.shares(round_, pot, before))
        assert before == list(included), f"{what}: it changes what it is given"
        assert len(shares) == len(included), f"{what}: {len(shares)} shares of {len(included)} updates"
        assert all(isinstance(share, int) and share >= 0 for share in shares), f"{what}: a share is no amount"
        assert sum(shares) <= pot, f"{what}: it gives away {sum(shares)}"
        assert list(policy.shares(round_, pot, included)) == shares, f"{what}: another time it decides otherwise"
        turned = list(policy.shares(round_, pot, included[::-1]))
        assert turned == shares[::-1], f"{what}: the order of submission decides"
        other = [replace(entry, digest=bytes(32)) for entry in included]
        assert list(policy.shares(round_, pot, other)) == shares, (
            f"{what}: the digest decides, which is anybody's choice"
        )


async def check_policy_contract(rpc: RpcClient, address: Address, twin: RewardPolicy) -> None:
    """Whether a deployed IRewardPolicy gives exactly what its Python twin gives, on `reward_cases`.

    Raises:
        AssertionError: saying on what they differ, or that the contract refuses. (It must never: a round that cannot be
            settled holds up all later ones.)
    """
    for round_, pot, included in reward_cases():
        what = f"{twin.name}: round {round_}, pot {pot}, weights {[entry.weight for entry in included][:8]}"
        try:
            found = await contract_shares(rpc, address, round_, pot, included)
        except NodeError as error:
            raise AssertionError(f"{what}: the contract refuses: {error.message}") from None
        wanted = list(twin.shares(round_, pot, included))
        assert found == wanted, f"{what}: the contract gives {found[:8]}, its twin {wanted[:8]}"


async def contract_shares(
    rpc: RpcClient, address: Address, round_: int, pot: int, included: Sequence[Entry]
) -> list[int]:
    """What a deployed policy gives. Raises NodeError when it refuses."""
    function = artefact("EqualShares").functions["shares"]
    entries = [("0x" + entry.account.hex(), entry.index, entry.digest, entry.weight) for entry in included]
    data = function.encode(round_, pot, entries)
    output = await rpc.call("eth_call", {"to": "0x" + address.hex(), "data": "0x" + data.hex()}, "latest")
    (shares,) = function.decode(bytes.fromhex(output[2:]))
    return list(shares)
