"""Who earned what and why, in words, JSON and a table."""

import json

import pytest

from swarmp2p.core.history import Enrolled, Expelled, Record
from swarmp2p.core.money import Account, Claimed, Earned, Funded, MoneyRecord, Settled, Slashed, Staked, Terms, Totals
from swarmp2p.rewards.amounts import Unit
from swarmp2p.rewards.policy import EqualShares
from swarmp2p.rewards.settlement import Why
from swarmp2p.rewards.statement import Books, PayStatement, statement_of
from swarmp2p.rewards.statement_form import as_csv, as_json, lines
from tests.rewards.strategies import entry
from tests.rewards.test_settlement import Result, merged, update

ANN, BOB, CAT = (entry(index, 1).account for index in range(3))
FUNDER = b"f" * 20
RECORDS: tuple[Record, ...] = (
    *(Enrolled(account, index, 9, 9) for index, account in enumerate((ANN, BOB, CAT))),
    update(1, 0), update(1, 1), update(1, 2), merged(1, 0b011),
    update(2, 0), update(2, 1), merged(2, 0b011),
    Expelled(3, BOB, True, False),
    update(3, 0), update(3, 1), merged(3, 0b011),
    update(5, 0), merged(5, 0b001),
)  # fmt: skip
MONEY: tuple[MoneyRecord, ...] = (
    Funded(FUNDER, 260), Staked(BOB, 7), Staked(CAT, 7),
    Earned(1, ANN, 45, 10), Earned(1, BOB, 45, 0), Settled(1, 100, 100),
    Earned(2, ANN, 50, 0), Earned(2, BOB, 50, 0), Settled(2, 100, 100),
    Claimed(ANN, 105), Slashed(CAT, 7, True),
)  # fmt: skip
RESULTS = {1: Result(0b011, 0b101), 2: Result(0b011, 0), 3: Result(0b011, 0b001), 5: Result(1, 1)}


def books(policy: EqualShares | None) -> Books:
    accounts = {
        ANN: Account(0, 0, 0, 0, False),
        BOB: Account(95, 7, 0, 1234, False),
        CAT: Account(0, 0, 0, 0, True),
        FUNDER: Account(0, 0, 60, 0, False),
        b"n" * 20: Account(0, 0, 0, 0, False),
    }
    terms, totals = Terms(bytes(20), bytes(20), 100, 1000, 0), Totals(67, 95, 7, 2)
    return Books(RECORDS, MONEY, RESULTS, accounts, terms, totals, policy, Unit("SWM", 1))


@pytest.fixture
def statement() -> PayStatement:
    return statement_of(books(EqualShares()))


def test_settled_and_foretold(statement: PayStatement) -> None:
    assert [(each.pay.round, each.settled, each.pay.pot, each.pay.paid) for each in statement.rounds] == [
        (1, True, 100, 100), (2, True, 100, 100), (3, False, 67, 67), (5, False, 0, 0),
    ]  # fmt: skip
    reasons = [[pay.why for pay in each.pay.pays] for each in statement.rounds]
    assert reasons == [[None, None, Why.EXCLUDED], [None, None], [None, Why.EXPELLED], [Why.POOL_EMPTY]]
    ann = statement.account(ANN)
    assert ann is not None
    assert (ann.earned, ann.claimed, ann.unsettled) == (105, 105, 67)
    assert [each.account for each in statement.accounts] == sorted([ANN, BOB, CAT, FUNDER])
    assert statement.account(b"n" * 20) is None


def test_words(statement: PayStatement) -> None:
    text = list(lines(statement))
    assert text[0] == "A merged round pays 100 (10 SWM), 10 % of it to those who attested."
    assert f"  0x{ANN.hex()} weight 1: 55 (5.5 SWM), 10 (1 SWM) of it for attesting" in text
    assert f"  0x{CAT.hex()} weight 1: nothing: left out of the merge" in text
    assert f"  0x{BOB.hex()} weight 1: nothing: expelled in round 3" in text
    assert f"  0x{ANN.hex()} weight 1: nothing: the pool was empty" in text
    assert "round 3: pot 67 (6.7 SWM), paid 67 (6.7 SWM), not settled yet" in text
    assert "  it signed a contradiction: any stake of it is forfeit" in text
    assert "  its stake may be withdrawn from Unix time 1234 on" in text


def test_programs(statement: PayStatement) -> None:
    body = json.loads(json.dumps(as_json(statement)))
    assert body["rounds"][2]["updates"][1] == {
        "address": "0x" + BOB.hex(), "weight": 1, "share": "0", "bonus": "0", "attested": False,
        "nothing_because": "expelled", "expelled_in": 3,
    }  # fmt: skip
    assert body["accounts"][0]["address"] == "0x" + ANN.hex()
    assert (body["accounts"][0]["earned"], body["pool"]) == ("105", "67")
    rows = as_csv(statement).splitlines()
    assert len(rows) == 1 + 8
    assert rows[1] == f"1,1,100,0x{ANN.hex()},1,45,10,1,"
    assert rows[3] == f"1,1,100,0x{CAT.hex()},1,0,0,1,excluded"


def test_a_foreign_policy_is_not_foretold() -> None:
    statement = statement_of(books(None))
    assert [each.pay.round for each in statement.rounds] == [1, 2]
    assert statement.waiting == (3, 5)
    assert "not settled yet: rounds 3, 5" in list(lines(statement))


def test_amounts() -> None:
    assert Unit("SWM", 18).show(1_500_000_000_000_000_000) == "1500000000000000000 (1.5 SWM)"
    assert Unit("SWM", 2).show(0) == "0 (0 SWM)"
    assert Unit("units", 0).show(12) == "12 units"
