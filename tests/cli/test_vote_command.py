"""Sending a ballot: what is told to the contract, and in which order."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from swarmp2p.cli import chain_access, cli
from swarmp2p.control.ballot import Ballot
from swarmp2p.core.errors import BallotRefused, TransactionFailed
from swarmp2p.core.messages import Vote
from swarmp2p.core.types import NO_ADDRESS, Phase, VoteKind
from swarmp2p.core.view import View
from swarmp2p.home import KEY_FILE
from swarmp2p.identity import save_key
from tests.control.test_ballot import CONTRACT, DOMAIN, KEYS, view


@dataclass
class Contract:
    """Takes down what it is told. Members 2, 3 and 4 are ACTIVE, and have expired."""

    refuses: bool = False
    said: list[Any] = field(default_factory=list)

    async def state(self) -> View:
        expired = [replace(each, expires=1) for each in view().members[2:]]
        alive = [replace(each, expires=2**40 - 1) for each in view().members[:2]]
        return replace(view(range(5)), phase=Phase.STOPPED, members=(*alive, *expired), active=0b11111)

    async def domain(self) -> bytes:
        return DOMAIN

    async def advance(self, idle: Sequence[int] = ()) -> None:
        self.said.append(list(idle))
        if self.refuses:
            raise TransactionFailed("The contract refused: NothingDue.", error="NothingDue")

    async def execute(self, vote: Vote, signatures: Sequence[bytes]) -> None:
        self.said.append((vote, len(signatures)))


@pytest.mark.parametrize(("signers", "refuses"), [((0, 1), False), ((0, 1), True), ((0,), False)])
def test_a_stopped_swarm_is_reopened_although_most_have_expired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signers: Sequence[int], refuses: bool
) -> None:
    contract = Contract(refuses)

    @asynccontextmanager
    async def open_contract(*_: object) -> AsyncIterator[Any]:
        yield contract, SimpleNamespace(chain_id=31415, contract=CONTRACT, rewards=None)

    monkeypatch.setattr(chain_access, "open_contract", open_contract)
    save_key(KEYS[0], tmp_path / KEY_FILE)
    vote = Vote(VoteKind.REOPEN, NO_ADDRESS, 99, 3, 2**40 - 1)
    paper = Ballot(31415, CONTRACT, vote)
    for each in signers:
        paper = paper.signed(KEYS[each], DOMAIN)
    paper.save(tmp_path / "ballot.json")
    (tmp_path / "swarm.toml").touch()
    arguments = ["vote", "send", tmp_path / "swarm.toml", tmp_path / "ballot.json", "--home", tmp_path]
    result: Result = CliRunner().invoke(cli, [str(each) for each in arguments])
    if len(signers) == 1:
        assert isinstance(result.exception, BallotRefused)
        assert contract.said == [], "nothing is spent on what would fail all the same"
    else:
        assert result.exception is None
        assert contract.said == [[2, 3, 4], (vote, 2)]
