"""What members decide while they train: papers go around by gossip, and enough signatures are a transaction."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmp2p import SwarmPeer
from swarmp2p.control.invitation import new_invite
from swarmp2p.control.paper_box import PaperBox
from swarmp2p.core.errors import BallotRefused, NotAMember, WrongChain
from swarmp2p.core.messages import Vote
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import NO_ADDRESS, Phase, Status, StopReason, VoteKind
from swarmp2p.failures import unwrapped
from swarmp2p.identity import keccak256
from swarmp2p.network.interface import topic_name
from swarmp2p.network.wire import encode_decision
from swarmp2p.peer.decision_papers import LONGEST, MOST_OF_ONE
from swarmp2p.testing.memory_control import MemoryControl
from swarmp2p.testing.memory_swarm import MEMORY_KNOBS, MemorySwarm, open_memory_swarm
from tests.peer.test_decision_papers import another_signature
from tests.peer.test_memory_swarm import NAMES, SEED, SMALL, learners, start

ROUNDS = 1000
"""More than any of these tests lets pass."""


class Members:
    """Peers that run until the test ends; one that is no member any more ends by itself."""

    def __init__(self, swarm: MemorySwarm, nursery: trio.Nursery) -> None:
        self.swarm = swarm
        self.peers: dict[str, SwarmPeer] = {}
        self.gone: dict[str, trio.Event] = {name: trio.Event() for name in NAMES}
        self._nursery = nursery

    async def start(self, *names: str) -> None:
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(self._nursery.start, self._run, name)

    async def _run(self, name: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            with unwrapped():
                async with self.swarm.peer(name, learners()[name]) as peer:
                    self.peers[name] = peer
                    task_status.started()
                    async for _ in peer.rounds():
                        pass
                    await trio.sleep_forever()
        except NotAMember:
            self.gone[name].set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a state of the contract or of what peers have heard."""
        while not condition():
            with trio.move_on_after(0.05):
                await self.swarm.chain.mined()

    def heads(self, name: str) -> int:
        """Round of the head that this peer sees."""
        return self.peers[name]._ctx.view.head_round

    def includes(self, name: str) -> bool:
        """Whether the head was merged from this member's update too."""
        model = self.swarm.chain.model
        index = model.members[self.swarm.keys[name].address].index
        return bool(model.results[model.head_round].included >> index & 1)

    async def all_sign(self, id_: str, *names: str) -> None:
        for name in names:
            await self.until(lambda name=name: id_ in self.peers[name].papers())  # type: ignore[misc]
            await self.peers[name].sign(id_)


async def with_members(
    folder: Path, test: Callable[[Members], Awaitable[None]], rounds: int = ROUNDS, **settings: Any
) -> MemorySwarm:
    # Rounds are short here: the model that is gone back to has to be held still.
    knobs = replace(MEMORY_KNOBS, keep_rounds=ROUNDS)
    async with open_memory_swarm(
        start(SMALL), NAMES, rounds=rounds, folder=folder, seed=SEED, knobs=knobs, **settings
    ) as swarm:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                members = Members(swarm, nursery)
                await members.start(*NAMES)
                # Round 1 waits for all that were to be there, the expelled one too, until collectTimeout has passed.
                await members.until(lambda: swarm.chain.model.merged_rounds > 0)
                await test(members)
                nursery.cancel_scope.cancel()
    return swarm


async def test_a_member_is_expelled_and_cut_off_while_the_others_go_on(tmp_path: Path) -> None:
    async def test(members: Members) -> None:
        swarm = members.swarm
        dave = swarm.keys["dave"].address
        ballot = await members.peers["alice"].propose(VoteKind.EXPEL, target=dave)
        await members.until(lambda: any(members.peers["bob"].papers()))
        (id_,) = members.peers["bob"].papers()
        assert members.peers["bob"].papers()[id_].body == ballot.vote
        await members.all_sign(id_, "bob", "carol")
        await members.gone["dave"].wait()
        for name in NAMES[:3]:
            await swarm.network.hosts[swarm.keys[name].address].wait_disconnected(dave)
        merged = swarm.chain.model.merged_rounds
        await members.until(lambda: swarm.chain.model.merged_rounds > merged + 1)
        await members.until(lambda: not any(members.peers[name].papers() for name in NAMES[:3]))
        assert not members.includes("dave")

    swarm = await with_members(tmp_path, test)
    assert swarm.chain.model.ballot == 1
    assert [event.args[1] for event in swarm.chain.model.events if event.name == "Expelled"] != []


async def test_one_that_attested_is_expelled_before_the_merge_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others do its part again, and the round is merged: it does not wait for its abort."""
    finalize, targets = MemoryControl.finalize, list[bytes]()

    async def too_late(control: MemoryControl, round_: int, *arguments: Any) -> Any:
        chain = control._chain
        if not targets:
            targets.extend(signed.signer for signed in arguments[-1] if signed.signer != control.account)
            others = [account for account in chain.model.members if account != targets[0]]
            vote = Vote(VoteKind.EXPEL, targets[0], 0, chain.model.ballot, chain.model.block.timestamp + 1000)
            chain.transact(lambda model: model.execute(control.account, vote, others))
        # The contract refuses it now, unless it is called off before: its sender sees the expulsion too.
        return await finalize(control, round_, *arguments)

    async def test(members: Members) -> None:
        model = members.swarm.chain.model
        monkeypatch.setattr(MemoryControl, "finalize", too_late)
        merged = model.merged_rounds
        await members.until(lambda: model.merged_rounds > merged + 1)
        assert model.members[targets[0]].standing is Status.BARRED
        assert [event for event in model.events if event.name == "Aborted"] == []

    await with_members(tmp_path, test)


async def test_too_few_signatures_change_nothing(tmp_path: Path) -> None:
    async def test(members: Members) -> None:
        await members.peers["alice"].propose(VoteKind.STOP)
        await members.until(lambda: any(members.peers["bob"].papers()))
        (id_,) = members.peers["bob"].papers()
        await members.all_sign(id_, "bob")
        merged = members.swarm.chain.model.merged_rounds
        await members.until(lambda: members.swarm.chain.model.merged_rounds > merged + 2)
        assert members.swarm.chain.model.phase is not Phase.STOPPED

    await with_members(tmp_path, test)


@pytest.mark.parametrize("rule", ["weighted_mean", "fedavgm"])
async def test_the_swarm_goes_back_stops_and_trains_on(tmp_path: Path, rule: str) -> None:
    """Also where the next merge reads the model before the one that is gone back to."""

    async def test(members: Members) -> None:
        model, alice = members.swarm.chain.model, members.peers["alice"]
        await members.until(lambda: members.heads("alice") >= 2)
        with pytest.raises(BallotRefused, match="has not stopped"):
            await alice.propose(VoteKind.REOPEN, arg=ROUNDS)
        for kind, arg in ((VoteKind.ROLLBACK, 1), (VoteKind.STOP, 0), (VoteKind.REOPEN, 2 * ROUNDS)):
            ballots = model.ballot
            await alice.propose(kind, arg=arg)
            await members.until(lambda: any(alice.papers()))
            (id_,) = alice.papers()
            await members.all_sign(id_, "bob", "carol", "dave")
            await members.until(lambda ballots=ballots: model.ballot > ballots)  # type: ignore[misc]
            if kind is VoteKind.STOP:
                assert (model.phase, model.stop_reason) == (Phase.STOPPED, StopReason.VOTE)
            await members.until(lambda: not any(peer.papers() for peer in members.peers.values()))
        merged = model.merged_rounds
        await members.until(lambda: model.merged_rounds > merged + 1)

    swarm = await with_members(tmp_path, test, rule=rule)
    names = [event.name for event in swarm.chain.model.events]
    assert names.index("RolledBack") < names.index("Stopped") < names.index("Reopened")


async def test_who_leaves_is_gone_and_who_is_invited_by_members_comes_back(tmp_path: Path) -> None:
    async def test(members: Members) -> None:
        swarm, dave = members.swarm, members.swarm.keys["dave"].address
        await members.peers["dave"].leave()
        await members.gone["dave"].wait()
        merged = swarm.chain.model.merged_rounds
        await members.until(lambda: swarm.chain.model.merged_rounds > merged + 1)
        await members.peers["bob"].invite(dave, max_weight=10)
        await members.until(lambda: any(members.peers["carol"].papers()))
        (id_,) = members.peers["carol"].papers()
        await members.all_sign(id_, "carol")
        # Bob and carol are more than half of three; the founder, alice, need not sign.
        await members.until(lambda: len(members.peers["bob"].papers()[id_].signatures) == 2)
        paper = members.peers["bob"].papers()[id_]
        swarm.invitations["dave"] = paper  # type: ignore[assignment]
        await members.start("dave")
        await members.until(lambda: members.includes("dave"))

    await with_members(tmp_path, test)


async def test_who_has_expired_is_cut_off_until_it_is_renewed(tmp_path: Path) -> None:
    async def test(members: Members) -> None:
        swarm, dave = members.swarm, members.swarm.keys["dave"].address
        alice = swarm.network.hosts[swarm.keys["alice"].address]
        member = swarm.chain.model.members[dave]
        now = int(time.time())
        short = new_invite(swarm.chain.model.member_of(dave), swarm.manifest.purpose_digest, 10, now + 2, now + 10)
        await swarm.renew(short)
        await alice.wait_disconnected(dave)
        assert members.peers["dave"].status().trouble is not None
        merged = swarm.chain.model.merged_rounds
        await members.until(lambda: swarm.chain.model.merged_rounds > merged + 1)
        assert not members.includes("dave")
        far = now + 100_000
        await swarm.renew(new_invite(swarm.chain.model.member_of(dave), swarm.manifest.purpose_digest, 10, far, far))
        await alice.wait_connected([dave])
        await members.until(lambda: members.includes("dave"))
        assert member.term == 3
        assert members.peers["dave"].status().trouble is None

    await with_members(tmp_path, test)


async def test_a_member_that_floods_is_expelled_all_the_same(tmp_path: Path) -> None:
    """Dave makes 300 signatures of one text, and brings 40 texts, some of them for ever."""

    async def test(members: Members) -> None:
        swarm, dave = members.swarm, members.swarm.keys["dave"]
        topic = topic_name(swarm.manifest.chain_id, swarm.manifest.contract, "decisions")
        host, domain, far = swarm.network.hosts[dave.address], swarm.chain.domain, int(time.time()) + 1000

        async def bring(vote: Vote, nonce: int) -> None:
            digest = signing_digest(vote, domain, keccak256)
            await host.publish(topic, encode_decision(vote, another_signature(dave, digest, nonce)))
            await trio.sleep(0.002)

        for nonce in range(300):
            await bring(Vote(VoteKind.STOP, NO_ADDRESS, 0, swarm.chain.model.ballot, far), 7 + nonce)
        for number in range(40):
            deadline = far + number if number % 2 else 2 * far + LONGEST
            await bring(Vote(VoteKind.STOP, NO_ADDRESS, 0, swarm.chain.model.ballot, deadline), 7)
        await members.until(lambda: len(members.peers["bob"].papers()) == MOST_OF_ONE)
        ballot = await members.peers["alice"].propose(VoteKind.EXPEL, target=dave.address)
        for name in ("bob", "carol"):
            await members.until(lambda name=name: ballot.vote in bodies(members.peers[name]))  # type: ignore[misc]
            (id_,) = [id_ for id_, paper in members.peers[name].papers().items() if paper.body == ballot.vote]
            files = PaperBox(tmp_path / name / "papers").papers()
            assert len(files) == MOST_OF_ONE + 1
            assert {len(paper.signatures) for paper in files.values() if paper.body != ballot.vote} == {1}
            await members.peers[name].sign(id_)
        await members.gone["dave"].wait()

    await with_members(tmp_path, test)


def bodies(peer: SwarmPeer) -> list[object]:
    return [paper.body for paper in peer.papers().values()]


async def test_trouble_with_disk_and_chain_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    papers, add, execute = PaperBox.papers, PaperBox.add, MemoryControl.execute
    errors = iter([WrongChain("There is no contract.", ""), OSError(28, "No space left on device")])
    tried: list[Exception] = []

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def ill(control: MemoryControl, *arguments: Any) -> Any:
        for error in errors:
            tried.append(error)
            raise error
        return await execute(control, *arguments)

    async def test(members: Members) -> None:
        monkeypatch.setattr(MemoryControl, "execute", ill)
        monkeypatch.setattr(PaperBox, "papers", full)
        await trio.sleep(1.5)
        monkeypatch.setattr(PaperBox, "papers", papers)
        ballot = await members.peers["alice"].propose(VoteKind.STOP)
        monkeypatch.setattr(PaperBox, "add", full)
        await trio.sleep(1.5)
        monkeypatch.setattr(PaperBox, "add", add)
        for name in ("bob", "carol"):
            await members.until(lambda name=name: ballot.vote in bodies(members.peers[name]))  # type: ignore[misc]
            (id_,) = members.peers[name].papers()
            await members.peers[name].sign(id_)
        await members.until(lambda: members.swarm.chain.model.phase is Phase.STOPPED)
        assert len(tried) == 2

    await with_members(tmp_path, test)
