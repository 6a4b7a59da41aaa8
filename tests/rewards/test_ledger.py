"""The books kept from events. (tests/control/test_treasury.py holds them to the contract's.)"""

from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.core.money import (
    Account,
    Claimed,
    Earned,
    Funded,
    MoneyRecord,
    Refunded,
    Settled,
    Slashed,
    Staked,
    Unstaked,
    UnstakeRequested,
)
from swarmp2p.rewards.ledger import Ledger
from swarmp2p.rewards.pool import Level, worth
from tests.rewards.strategies import amounts

ANN, BOB = b"a" * 20, b"b" * 20
moves = st.lists(st.tuples(st.sampled_from(["ann", "bob", "pay"]), st.integers(0, 2**100)), max_size=20)


@given(moves)
def test_all_parts_together_are_never_more_than_the_pool(done: list[tuple[str, int]]) -> None:
    ledger = Ledger()
    for who, amount in done:
        if who == "pay":
            ledger.enter(Settled(1, amount, min(amount, ledger.pool)))
        else:
            ledger.enter(Funded(ANN if who == "ann" else BOB, amount))
        left = ledger.account(ANN).refundable + ledger.account(BOB).refundable
        assert 0 <= left <= ledger.pool
    while ledger.pool:
        ledger.enter(Settled(2, ledger.pool, ledger.pool))
    assert ledger.account(ANN).refundable == ledger.account(BOB).refundable == 0


@given(amounts, st.integers(1, 2**128 - 1), amounts)
def test_a_payment_takes_the_same_fraction_of_all(amount: int, pool: int, paid: int) -> None:
    amount, paid = min(amount, pool), min(paid, pool)
    level = Level().spend(pool, paid)
    exact = amount * (pool - paid) // pool
    left = worth(amount, Level(), level)
    assert left <= exact
    # Below a 2^48th it is nobody's; above, the level keeps 48 bits or more.
    if (pool - paid) * 2**48 > pool:
        assert exact - left <= 1 + exact // 2**47


def test_who_pays_in_later_keeps_what_is_its_own() -> None:
    ledger = Ledger([Funded(ANN, 100), Settled(1, 90, 90), Funded(BOB, 100), Settled(2, 55, 55)])
    assert ledger.account(ANN).refundable == 4
    assert ledger.account(BOB).refundable == 49
    assert ledger.pool == 55


def test_stakes_and_pay() -> None:
    records: list[MoneyRecord] = [
        Staked(ANN, 50),
        Staked(BOB, 50),
        UnstakeRequested(ANN, 77),
        Earned(1, ANN, 5, 1),
        Settled(1, 10, 6),
    ]
    ledger = Ledger([Funded(BOB, 10), *records])
    assert ledger.account(ANN) == Account(6, 50, 0, 77, False)
    assert (ledger.pool, ledger.owed, ledger.staked) == (4, 6, 100)
    ledger.enter(Claimed(ANN, 6))
    ledger.enter(Staked(ANN, 1))
    assert ledger.account(ANN) == Account(0, 51, 0, 0, False)
    ledger.enter(Slashed(BOB, 50, True))
    assert ledger.account(BOB) == Account(0, 0, 4 - 1, 0, True)  # rounded down, by the level too
    ledger.enter(Unstaked(ANN, 51))
    ledger.enter(Refunded(BOB, 3))
    assert (ledger.pool, ledger.owed, ledger.staked) == (51, 0, 0)
    assert ledger.accounts == (ANN, BOB)
    assert ledger.account(b"c" * 20) == Account(0, 0, 0, 0, False)
