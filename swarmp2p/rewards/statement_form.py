"""A pay statement for people, for programs and for spreadsheets."""

from collections.abc import Iterable
from typing import Any

from swarmp2p.rewards.amounts import Unit
from swarmp2p.rewards.settlement import Pay, Why
from swarmp2p.rewards.statement import AccountStatement, PayStatement


def lines(statement: PayStatement) -> Iterable[str]:
    """The statement for people."""
    show = statement.unit.show
    totals, terms = statement.totals, statement.terms
    yield f"A merged round pays {show(terms.per_round)}, {terms.attester_bps / 100:g} % of it to those who attested."
    yield f"pool   {show(totals.pool)}"
    yield f"owed   {show(totals.owed)}"
    yield f"stakes {show(totals.staked)}"
    for each in statement.rounds:
        mark = "" if each.settled else ", not settled yet"
        yield f"round {each.pay.round}: pot {show(each.pay.pot)}, paid {show(each.pay.paid)}{mark}"
        for pay in each.pay.pays:
            yield f"  0x{pay.account.hex()} weight {pay.weight}: {_reason(pay, statement.unit)}"
    if statement.waiting:
        yield f"not settled yet: rounds {', '.join(map(str, statement.waiting))}"
    for account in statement.accounts:
        yield f"0x{account.account.hex()}"
        for name, amount in _amounts(account).items():
            if amount:
                yield f"  {name:10} {show(amount)}"
        if account.held.forfeit:
            yield "  it signed a contradiction: any stake of it is forfeit"
        elif account.held.unstake_at:
            yield f"  its stake may be withdrawn from Unix time {account.held.unstake_at} on"


def _reason(pay: Pay, unit: Unit) -> str:
    if pay.why is None:
        bonus = f", {unit.show(pay.bonus)} of it for attesting" if pay.bonus else ""
        return unit.show(pay.total) + bonus
    since = f" in round {pay.since}" if pay.why is Why.EXPELLED else ""
    return f"nothing: {pay.why.value}{since}"


def _amounts(account: AccountStatement) -> dict[str, int]:
    held = account.held
    return {
        "earned": account.earned,
        "claimed": account.claimed,
        "owed": held.owed,
        "unsettled": account.unsettled,
        "stake": held.stake,
        "slashed": account.slashed,
        "funded": account.funded,
        "refunded": account.refunded,
        "refundable": held.refundable,
    }


def as_json(statement: PayStatement) -> dict[str, Any]:
    """The statement for programs. Amounts are texts: they are larger than what some readers of JSON take for a number."""
    terms, totals = statement.terms, statement.totals
    return {
        "token": "0x" + terms.token.hex(),
        "symbol": statement.unit.symbol,
        "decimals": statement.unit.decimals,
        "per_round": str(terms.per_round),
        "attester_bps": terms.attester_bps,
        "pool": str(totals.pool),
        "owed": str(totals.owed),
        "staked": str(totals.staked),
        "settled_round": totals.settled_round,
        "waiting": list(statement.waiting),
        "rounds": [
            {
                "round": each.pay.round,
                "settled": each.settled,
                "pot": str(each.pay.pot),
                "paid": str(each.pay.paid),
                "updates": [_pay_json(pay) for pay in each.pay.pays],
            }
            for each in statement.rounds
        ],
        "accounts": [
            {
                "address": "0x" + each.account.hex(),
                **{name: str(amount) for name, amount in _amounts(each).items()},
                "unstake_at": each.held.unstake_at,
                "forfeit": each.held.forfeit,
            }
            for each in statement.accounts
        ],
    }


def _pay_json(pay: Pay) -> dict[str, Any]:
    return {
        "address": "0x" + pay.account.hex(),
        "weight": pay.weight,
        "share": str(pay.share),
        "bonus": str(pay.bonus),
        "attested": pay.attested,
        "nothing_because": None if pay.why is None else pay.why.name.lower(),
        "expelled_in": pay.since or None,
    }


def as_csv(statement: PayStatement) -> str:
    """One row an update and round, with a head."""
    head = "round,settled,pot,address,weight,share,bonus,attested,nothing_because"
    rows = [
        f"{each.pay.round},{int(each.settled)},{each.pay.pot},0x{pay.account.hex()},{pay.weight},{pay.share},{pay.bonus},"
        f"{int(pay.attested)},{'' if pay.why is None else pay.why.name.lower()}"
        for each in statement.rounds
        for pay in each.pay.pays
    ]
    return "\n".join([head, *rows]) + "\n"
