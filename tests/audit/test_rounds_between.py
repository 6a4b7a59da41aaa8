"""Rounds that merged nothing, renewed and late members, and signers that attested different slices."""

from dataclasses import dataclass, field, replace
from typing import Any

from swarmp2p.audit.check import check_chain
from swarmp2p.audit.report import Report, RoundReport
from swarmp2p.control.invitation import Invitation, new_invite
from swarmp2p.control.manifest import Rewards
from swarmp2p.core.history import Stopped
from swarmp2p.core.messages import Attestation, Signed, Vote
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import CHUNK_SIZE, NO_ADDRESS, NO_DIGEST, Digest, Phase, ReportFlag, VoteKind
from swarmp2p.identity import Key, keccak256
from swarmp2p.testing.local_swarm import local_draft
from swarmp2p.testing.memory_control import MEMORY_CHAIN_ID, MEMORY_CONTRACT, MemoryChain, MemoryControl

FAR = 2**40 - 1


@dataclass
class Chain:
    """A swarm of two to start with, moved by hand; the first is the founder."""

    keys: list[Key] = field(default_factory=lambda: [Key.from_seed(f"between {number}") for number in range(5)])
    now: float = 1_800_000_000.0
    rounds: int = 9
    rewards: Rewards | None = None

    def __post_init__(self) -> None:
        draft = local_draft((self.keys[0].address,), 2, self.rounds, ("memory:",), f=1, k_max=2, rewards=self.rewards)
        founded = draft.with_genesis(b"\x01" * 32, 3 * CHUNK_SIZE, b"\x02" * 32)
        self.manifest = founded.with_contract(MEMORY_CHAIN_ID, MEMORY_CONTRACT)
        self.chain = MemoryChain(self.manifest.config(), lambda: self.now)

    def control(self, member: int) -> MemoryControl:
        return self.chain.control(self.keys[member].address)

    async def enrol(self, member: int, *, weight: int = 100, expires: int = FAR) -> None:
        me, config = self.keys[member].address, self.chain.model.config
        invite = new_invite(self.chain.model.member_of(me), config.purpose, weight, expires, expires)
        signed = Invitation(MEMORY_CHAIN_ID, MEMORY_CONTRACT, invite).signed(self.keys[0], self.chain.domain)
        await self.control(member).enrol(invite, signed.signatures, ["/ip4/192.0.2.1/tcp/1"])

    async def vote(self, kind: VoteKind, *members: int, target: int | None = None, arg: int = 0) -> None:
        """Signed by these, carried out at once."""
        whom = NO_ADDRESS if target is None else self.keys[target].address
        vote = Vote(kind, whom, arg, self.chain.model.ballot, FAR)
        digest = signing_digest(vote, self.chain.domain, keccak256)
        await self.control(0).execute(vote, [self.keys[member].sign(digest) for member in members])

    async def submit(self, **weights: int) -> None:
        """Updates of the members `m0` to `m4`."""
        round_ = self.chain.model.round
        for name, weight in weights.items():
            digest = keccak256(f"{round_} {name}".encode())
            await self.control(int(name[1:])).submit_update(round_, digest, weight, 0, ReportFlag(0))

    async def finalize(self, merged: Digest, masks: dict[int, int], excluded: int = 0) -> None:
        """With an attestation of each of these members over these slices."""
        model = self.chain.model
        slices = () if merged == NO_DIGEST else tuple(keccak256(merged + bytes([each])) for each in range(model.k))
        signed = []
        for member, mask in masks.items():
            body = Attestation(model.round, model.inputs, excluded, merged, slices, mask)
            key = self.keys[member]
            signed.append(Signed(body, key.address, key.sign(signing_digest(body, self.chain.domain, keccak256))))
        await self.control(0).finalize(model.round, excluded, merged, slices, signed)

    def report(self) -> Report:
        report = check_chain(self.chain.evidence(), self.manifest)
        assert report.finding is None, report.finding
        return report

    def audit(self) -> list[RoundReport]:
        return self.report().rounds


async def test_aborted_rounds_are_no_part_of_the_lineage() -> None:
    swarm = Chain()
    await swarm.enrol(0)
    await swarm.enrol(1)
    assert swarm.audit() == []
    await swarm.submit(m0=10, m1=20)
    await swarm.finalize(NO_DIGEST, {0: 0, 1: 0})
    await swarm.submit(m0=10, m1=20)
    swarm.now += 10_000
    await swarm.control(1).advance()
    assert swarm.audit() == []
    await swarm.submit(m1=20, m0=10)
    await swarm.finalize(b"\x03" * 32, {1: 3, 0: 3})
    await swarm.submit(m0=10)
    (merged,) = swarm.audit()
    assert (merged.round, merged.parent_round, merged.parent) == (3, 0, swarm.manifest.genesis)
    assert [(each.index, each.weight) for each in merged.inputs] == [(1, 20), (0, 10)]


async def test_members_that_come_late_renew_and_attest_some_slices_only() -> None:
    swarm = Chain()
    await swarm.enrol(0)
    await swarm.enrol(1, expires=int(swarm.now) + 100)
    await swarm.submit(m0=10, m1=20)
    await swarm.finalize(b"\x03" * 32, {0: 3, 1: 3})
    await swarm.enrol(2)
    swarm.now += 200
    await swarm.enrol(1, weight=500)
    await swarm.submit(m0=10, m2=30, m1=400)
    await swarm.finalize(b"\x04" * 32, {0: 1, 1: 3, 2: 2}, excluded=1)
    first, second = swarm.audit()
    assert (second.parent_round, second.parent) == (1, first.merged)
    assert {each.index for each in second.included} == {1, 2}
    assert [each.address for each in second.included] == sorted(key.address for key in swarm.keys[1:3])
    assert set(second.signers) == {key.address for key in swarm.keys[:3]}


async def begun(*, members: int = 2, **settings: Any) -> Chain:
    """A swarm whose first round was merged by the first two; the others came after."""
    swarm = Chain(**settings)
    await swarm.enrol(0)
    await swarm.enrol(1)
    await swarm.submit(m0=10, m1=20)
    await swarm.finalize(b"\x03" * 32, {0: 3, 1: 3})
    for member in range(2, members):
        await swarm.enrol(member)
    return swarm


async def next_round(swarm: Chain) -> None:
    """A round of all that are waited for: newcomers are, from then on."""
    await swarm.submit(m0=10, m1=10)
    await swarm.finalize(keccak256(bytes([swarm.chain.model.round])), {0: 3, 1: 3})


async def test_an_index_is_anothers_from_the_next_round_on() -> None:
    swarm = await begun(members=3)
    await next_round(swarm)
    await swarm.submit(m2=30)
    await swarm.control(2).leave()
    await swarm.enrol(3)
    # The update of who left stays; the newcomer has an index of its own as long as that one is held.
    await swarm.submit(m3=40, m0=10, m1=10)
    await swarm.finalize(b"\x05" * 32, {0: 3, 1: 3})
    await swarm.enrol(4)
    await swarm.submit(m4=50, m3=40, m0=10, m1=10)
    await swarm.finalize(b"\x06" * 32, {0: 3, 4: 3})
    before, after = swarm.audit()[2:]
    assert [(each.address, each.index) for each in before.inputs][:2] == [
        (swarm.keys[2].address, 2),
        (swarm.keys[3].address, 3),
    ]
    assert (after.inputs[0].address, after.inputs[0].index) == (swarm.keys[4].address, 2)
    assert swarm.keys[4].address in after.signers


async def test_who_comes_back_within_the_round_has_its_index_again_and_later_another_one() -> None:
    swarm = await begun(members=3)
    await next_round(swarm)
    await swarm.submit(m2=30)
    await swarm.control(2).leave()
    await swarm.enrol(2)
    await swarm.submit(m0=10, m1=10)
    await swarm.finalize(b"\x05" * 32, {0: 3, 2: 3})
    await swarm.control(2).leave()
    await next_round(swarm)
    await swarm.enrol(3)
    await swarm.enrol(2)
    assert [swarm.chain.model.members[swarm.keys[each].address].index for each in (3, 2)] == [2, 3]
    await swarm.submit(m2=10, m3=10, m0=10, m1=10)
    await swarm.finalize(b"\x07" * 32, {0: 3, 2: 3})
    assert len(swarm.audit()) == 5


async def test_what_was_forced_out_counts_for_neither_floor_nor_slices() -> None:
    swarm = await begun(members=4)
    await next_round(swarm)
    await swarm.submit(m3=40, m2=30, m1=20)
    await swarm.vote(VoteKind.EXPEL, 0, 1, 2, target=3)
    await swarm.submit(m0=10)
    # Three on the roster: two of them have to be in, of four it would be two as well; of two, one.
    await swarm.vote(VoteKind.EXPEL, 0, 1, target=2)
    await swarm.finalize(b"\x05" * 32, {0: 3, 1: 3}, excluded=1 << 3 | 1)
    last = swarm.audit()[-1]
    assert [(each.index, each.banned, each.included) for each in last.inputs] == [
        (3, True, False),
        (2, False, True),
        (1, False, True),
        (0, False, False),
    ]
    await swarm.vote(VoteKind.EXPEL_AND_SLASH, 0, 1, target=3)
    assert [each.vote.kind for each in swarm.report().votes][-1] == VoteKind.EXPEL_AND_SLASH


async def test_a_seal_that_an_expulsion_makes_possible_is_told_of_before_it() -> None:
    swarm = await begun(members=4)
    await next_round(swarm)
    await swarm.submit(m0=10, m1=20, m3=40)
    # Member 2 is the only one that is waited for still.
    await swarm.vote(VoteKind.EXPEL, 0, 1, 3, target=2)
    await swarm.finalize(b"\x05" * 32, {0: 3, 1: 3})
    await swarm.submit(m3=40, m0=10)
    await swarm.control(1).leave()
    assert len(swarm.audit()) == 3
    await swarm.finalize(b"\x06" * 32, {0: 3, 3: 3})
    assert len(swarm.audit()) == 4


async def test_expelled_with_its_update_as_the_last_that_was_waited_for_leaves() -> None:
    swarm = await begun(members=4)
    await next_round(swarm)
    await swarm.submit(m0=10, m1=20, m3=40)
    await swarm.control(2).leave()
    await swarm.finalize(NO_DIGEST, {0: 0, 1: 0})
    await swarm.submit(m3=40, m0=10)
    swarm.now += 1000
    await swarm.control(0).advance()
    await swarm.vote(VoteKind.EXPEL, 0, 1, target=3)
    assert swarm.chain.model.members[swarm.keys[3].address].expelled_in == swarm.chain.model.round
    assert len(swarm.audit()) == 2


async def test_rollbacks_of_rollbacks_and_a_reopening_behind_the_head() -> None:
    swarm = await begun()
    for _ in range(3):
        await next_round(swarm)
    await swarm.vote(VoteKind.ROLLBACK, 0, 1, arg=2)
    await next_round(swarm)
    await swarm.vote(VoteKind.ROLLBACK, 0, 1, arg=0)
    await next_round(swarm)
    assert [(each.round, each.parent_round, each.left_by) for each in swarm.audit()] == [
        (1, 0, 1), (2, 1, 1), (3, 2, 0), (4, 3, 0), (6, 2, 1), (8, 0, None),
    ]  # fmt: skip
    await swarm.vote(VoteKind.STOP, 0, 1)
    await swarm.vote(VoteKind.REOPEN, 0, 1, arg=20)
    await next_round(swarm)
    report = swarm.report()
    assert [(each.round, each.parent_round) for each in report.lineage] == [(10, 0)]
    assert report.rounds[-2].left_by == 3


async def test_an_abandoned_swarm_that_is_reopened() -> None:
    swarm = await begun()
    swarm.now += swarm.manifest.abandon_after + 1
    await swarm.control(1).stop_abandoned()
    assert len(swarm.audit()) == 1
    evidence = swarm.chain.evidence()
    early = [
        replace(each, block_timestamp=each.block_timestamp - 10) if isinstance(each, Stopped) else each
        for each in evidence.records
    ]
    finding = check_chain(replace(evidence, records=tuple(early)), swarm.manifest).finding
    assert finding is not None
    assert finding.what == "time when it was abandoned"
    await swarm.vote(VoteKind.REOPEN, 0, 1, arg=5)
    await next_round(swarm)
    # Nothing was judged: the genesis is the best model still.
    assert [(each.round, each.left_by) for each in swarm.audit()] == [(1, 0), (3, None)]


async def test_members_that_are_idle_do_not_count_for_the_majority() -> None:
    swarm = await begun(members=4)
    for _ in range(5):
        await swarm.submit(m0=10, m1=10)
        if swarm.chain.model.phase == Phase.COLLECTING:
            swarm.now += 1000
            await swarm.control(0).advance()
        await swarm.finalize(keccak256(bytes([swarm.chain.model.round])), {0: 3, 1: 3})
    await swarm.control(0).advance([2, 3])
    await swarm.vote(VoteKind.ROLLBACK, 0, 1, arg=1)
    assert swarm.report().votes[0].voters == 2
    await swarm.control(2).ready()
    await swarm.vote(VoteKind.STOP, 0, 2)
    assert swarm.report().votes[1].voters == 3


async def test_what_is_kept_for_pay_is_what_was_sealed_and_who_signed() -> None:
    swarm = await begun(rewards=Rewards(b"\x01" * 20, "equal", 5, treasury=b"\x02" * 20))
    assert len(swarm.audit()) == 1
    evidence = swarm.chain.evidence()
    for words, what in (
        ({"inputs": b"\x0d" * 32}, "hash over the inputs that the contract keeps for pay"),
        ({"attesters": 1}, "attesters that the contract keeps for pay"),
    ):
        results = {1: replace(evidence.results[1], **words)}
        finding = check_chain(replace(evidence, results=results), swarm.manifest).finding
        assert finding is not None
        assert (finding.round, finding.what) == (1, what)
    config = replace(evidence.config, treasury=b"\x03" * 20)
    finding = check_chain(replace(evidence, config=config), swarm.manifest).finding
    assert finding is not None
    assert finding.what == "treasury in the contract's configuration"
