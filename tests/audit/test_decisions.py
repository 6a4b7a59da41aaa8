"""Votes and invitations of an honest run: each needs its signatures, comes in its turn, and leads to what it says."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from swarmp2p.audit.report import Finding
from swarmp2p.core.history import Enrolled, Expelled, Left, Record, Reopened, RolledBack, Sealed, Stopped
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import VoteKind
from swarmp2p.identity import Key, keccak256
from tests.audit.eventful_run import eventful_run
from tests.audit.honest_run import Run
from tests.audit.test_eventful import OTHER, change, found, with_call, with_vote


@pytest.fixture(scope="module")
def run() -> Run:
    return eventful_run()


DECISIONS = [(Expelled, 3, 0), (RolledBack, 5, 1), (Stopped, 8, 2), (Reopened, 8, 3)]


@pytest.mark.parametrize(("kind", "round_", "number"), DECISIONS)
def test_a_vote_needs_more_than_half(run: Run, kind: type[Record], round_: int, number: int) -> None:
    fewer = change(run, kind, lambda each: with_call(each, signatures=each.call.signatures[1:]), round_)
    finding = found(run, fewer)
    assert (finding.round, finding.what) == (round_, f"signers of vote {number}")
    assert finding.expected.endswith("voters, without its target")
    twice = change(run, kind, lambda each: with_call(each, signatures=each.call.signatures[:1] * 5), round_)
    assert found(run, twice).found == "1"


def test_the_vote_of_the_expelled_and_of_who_left_does_not_count(run: Run) -> None:
    def signed_by(each: Any, name: str) -> Any:
        signature = run.keys[name].sign(signing_digest(each.call.vote, run.evidence.domain, keccak256))
        return with_call(each, signatures=(*each.call.signatures[1:], signature))

    for kind, round_, names in ((Expelled, 3, ("dave",)), (RolledBack, 5, ("dave", "erin"))):
        for name in names:
            changed = change(run, kind, lambda each, name=name: signed_by(each, name), round_)  # type: ignore[misc]
            assert found(run, changed).what.startswith("signers of vote")
    assert run.audit(change(run, RolledBack, lambda each: signed_by(each, "carol"))).finding is None


@pytest.mark.parametrize(("kind", "round_", "number"), DECISIONS)
def test_a_vote_is_for_what_happened_and_comes_in_its_turn(
    run: Run, kind: type[Record], round_: int, number: int
) -> None:
    for words, what in (
        ({"ballot": 7}, f"number of vote {number}"),
        ({"kind": VoteKind.EXPEL_AND_SLASH}, f"kind of vote {number}"),
        ({"arg": 5}, f"argument of vote {number}"),
        ({"deadline": 1}, f"time of vote {number}"),
    ):
        changed = change(run, kind, lambda each, words=words: with_vote(each, **words), round_)  # type: ignore[misc]
        assert found(run, changed).what == what
    relayed = change(run, kind, lambda each: replace(each, call=None), round_)
    assert found(run, relayed).what == f"execute transaction of vote {number}"


def test_an_expulsion_of_somebody_else(run: Run) -> None:
    changed = change(run, Expelled, lambda each: replace(each, address=run.address("carol")))
    assert found(run, changed).what == "target of vote 0"


def test_an_update_that_was_not_forced_out_although_the_expulsion_says_so(run: Run) -> None:
    kept = change(run, Expelled, lambda each: replace(each, banned=False))
    assert found(run, kept).what.startswith("whether the update of 0x")
    on_roster = change(run, Sealed, lambda each: replace(each, roster=31), 3)
    dave = run.address("dave").hex()
    assert found(run, on_roster) == Finding(3, f"roster at 0x{dave}", "without it, since a vote forced it out", "on it")


def test_going_back_leads_to_what_it_says(run: Run) -> None:
    for kind, what in ((RolledBack, "model that the swarm went back to"), (Reopened, "model that it reopened with")):
        assert found(run, change(run, kind, lambda each: replace(each, head=OTHER))).what == what

    def to(round_: int) -> Callable[[Any], Any]:
        return lambda each: with_vote(replace(each, to_round=round_), arg=round_)

    # The vote's signatures are for another round: that shows first.
    assert found(run, change(run, RolledBack, to(1))).what == "signers of vote 1"


def test_events_that_are_kept_back(run: Run) -> None:
    for kind, round_ in ((Left, 5), (Expelled, 3), (RolledBack, 6), (Reopened, 9), (Stopped, 8)):
        assert found(run, change(run, kind, lambda _: None)).round in (round_, round_ - 1)


def test_an_invitation_needs_founders_or_members(run: Run) -> None:
    for changed, what in (
        (lambda each: with_call(each, signatures=()), "signers of the invitation"),
        (lambda each: with_call(each, signatures=(Key.from_seed("x").sign(OTHER),)), "signers of the invitation"),
        (lambda each: with_call(each, sender=bytes(20)), "sender of the enrolment"),
        (lambda each: with_call(each, invite=replace(each.call.invite, term=1)), "term of the invitation"),
        (lambda each: with_call(each, invite=replace(each.call.invite, purpose=OTHER)), "purpose in the invitation"),
        (lambda each: with_call(each, invite=replace(each.call.invite, deadline=1)), "time of the enrolment"),
        (lambda each: with_call(each, invite=replace(each.call.invite, stake=1)), "stake in the invitation"),
        (lambda each: replace(each, max_weight=7), "max_weight of"),
        (lambda each: replace(each, index=7), "index of"),
        (lambda each: replace(each, call=None), "enrol transaction of"),
    ):
        finding = found(run, change(run, Enrolled, changed))
        assert finding.round == 1
        assert finding.what.startswith(what)
