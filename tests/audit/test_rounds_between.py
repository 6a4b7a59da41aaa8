"""Rounds that merged nothing, renewed and late members, and signers that attested different slices."""

from dataclasses import dataclass, field
from typing import Any

from swarmp2p.audit.check import check_chain
from swarmp2p.control.invitation import Invitation, new_invite
from swarmp2p.core.messages import Attestation, Signed
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import CHUNK_SIZE, NO_DIGEST, Digest, ReportFlag
from swarmp2p.identity import Key, keccak256
from swarmp2p.testing.local_swarm import local_draft
from swarmp2p.testing.memory_control import MEMORY_CHAIN_ID, MEMORY_CONTRACT, MemoryChain, MemoryControl

FAR = 2**40 - 1


@dataclass
class Chain:
    """A swarm of three, moved by hand."""

    keys: list[Key] = field(default_factory=lambda: [Key.from_seed(f"between {number}") for number in range(3)])
    now: float = 1_800_000_000.0

    def __post_init__(self) -> None:
        draft = local_draft((self.keys[0].address,), 2, 9, ("memory:",), f=1, k_max=2)
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

    async def submit(self, **weights: int) -> None:
        """Updates of the members `m0` to `m2`."""
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

    def audit(self) -> Any:
        report = check_chain(self.chain.evidence(), self.manifest)
        assert report.finding is None, report.finding
        return report.rounds


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
    assert [each.address for each in second.included] == sorted(key.address for key in swarm.keys[1:])
    assert set(second.signers) == {key.address for key in swarm.keys}
