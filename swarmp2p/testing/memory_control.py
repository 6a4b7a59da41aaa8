"""The contract's model in the place of a chain: the control layer for tests within one process, without delay."""

from collections.abc import Callable, Sequence

import trio

from swarmp2p.audit.evidence import Evidence
from swarmp2p.control.abi_codec import artefact
from swarmp2p.control.history import RECORDS
from swarmp2p.control.interface import Control, Receipt, RoundResult
from swarmp2p.core.config import Config
from swarmp2p.core.errors import TransactionFailed
from swarmp2p.core.history import Call, EnrolCall, ExecuteCall, FinalizeCall, Record, SubmitCall
from swarmp2p.core.messages import Attestation, Invite, Signed, Vote
from swarmp2p.core.typed import Domain, domain_separator, signing_digest
from swarmp2p.core.types import Address, Bitmap, Digest, ReportFlag
from swarmp2p.core.view import Member, View
from swarmp2p.identity import keccak256, recover
from swarmp2p.testing.contract_model import Block, ContractModel, Reverted

MEMORY_CHAIN_ID = 1337
MEMORY_CONTRACT: Address = b"\xc0" * 20
NOBODY: Address = bytes(20)
"""Stands for whoever an invalid signature names."""


class MemoryChain:
    """A contract model that several peers of one process share. Mines each call at once; time is the caller's clock."""

    def __init__(self, config: Config, now: Callable[[], float]) -> None:
        self._now = now
        salt = keccak256(b"memory chain" + config.genesis)
        self.model = ContractModel.deploy(config, salt, keccak256, Block(1, int(now())))
        domain = Domain(MEMORY_CHAIN_ID, MEMORY_CONTRACT, salt)
        self.domain = domain_separator(domain, keccak256)
        self._mined = trio.Event()
        self._records: list[Record] = []
        self._recorded = 0
        self._record(None)

    def transact(self, call: Callable[[ContractModel], None], sent: Call | None = None) -> Receipt:
        """Run one call in a block of its own.

        Args:
            sent: what an audit sees of the transaction.

        Raises:
            TransactionFailed: the model reverts; nothing has changed.
        """
        block = self.model.block
        block.number += 1
        block.timestamp = max(block.timestamp, int(self._now()))
        try:
            call(self.model)
        except Reverted as error:
            raise TransactionFailed(f"The contract refused: {error.name}.", error=error.name) from None
        sealed = any(event.name == "Sealed" for event in self.model.events[self._recorded :])
        self._record(sent)
        self._mined.set()
        self._mined = trio.Event()
        return Receipt(hash=bytes(32), block_number=block.number, gas_used=0, sealed=sealed)

    def _record(self, sent: Call | None) -> None:
        """Take down the events of the last call."""
        block = self.model.block
        for event in self.model.events[self._recorded :]:
            if event.name in RECORDS:
                inputs = artefact().events[event.name].inputs
                values = {entry["name"]: value for entry, value in zip(inputs, event.args, strict=True)}
                # A stop is no vote's doing unless a vote was what was sent.
                call = None if event.name == "Stopped" and not isinstance(sent, ExecuteCall) else sent
                self._records.append(RECORDS[event.name](values, block.number, block.timestamp, call))
        self._recorded = len(self.model.events)

    def result(self, round_: int) -> RoundResult:
        """What a merged round left behind."""
        result = self.model.results[round_]
        return RoundResult(
            result.merged, result.included, result.parent_round, result.block_number, result.timestamp, result.inputs,
            result.attesters,
        )  # fmt: skip

    def evidence(self) -> Evidence:
        """What an audit of this chain goes by."""
        model = self.model
        results = {round_: self.result(round_) for round_ in model.results}
        return Evidence(
            MEMORY_CHAIN_ID, MEMORY_CONTRACT, self.domain, model.config, model.state(), results, tuple(self._records)
        )

    async def mined(self) -> None:
        """Wait for the next block."""
        await self._mined.wait()

    def control(self, account: Address) -> "MemoryControl":
        """The contract as this account uses it."""
        return MemoryControl(self, account)


class MemoryControl(Control):
    """`Control` on a `MemoryChain`."""

    def __init__(self, chain: MemoryChain, account: Address) -> None:
        self._chain = chain
        self._account = account

    @property
    def address(self) -> Address:
        """Address of the contract."""
        return MEMORY_CONTRACT

    @property
    def account(self) -> Address:
        """Address that signs the transactions."""
        return self._account

    @property
    def notices_at_once(self) -> bool:
        """It does."""
        return True

    async def config(self) -> Config:
        """The immutable configuration."""
        await trio.lowlevel.checkpoint()
        return self._chain.model.config

    async def domain(self) -> bytes:
        """EIP-712 domain separator."""
        await trio.lowlevel.checkpoint()
        return self._chain.domain

    async def state(self) -> View:
        """The model's view."""
        await trio.lowlevel.checkpoint()
        return self._chain.model.state()

    async def wait_for_change(self, seen: View | None, timeout: float) -> View:
        """The state as soon as it differs from `seen`."""
        with trio.move_on_after(timeout):
            while seen is not None and self._chain.model.state() == seen:
                await self._chain.mined()
        return await self.state()

    def look(self) -> None:
        """It never has to look."""

    async def leaders(self, round_: int) -> tuple[Address, ...]:
        """Workers of rank 0."""
        await trio.lowlevel.checkpoint()
        return tuple(self._chain.model.leaders(round_))

    async def result(self, round_: int) -> RoundResult:
        """What a round left behind."""
        await trio.lowlevel.checkpoint()
        return self._chain.result(round_)

    async def addresses(self) -> dict[Address, tuple[str, ...]]:
        """Recorded multiaddrs."""
        await trio.lowlevel.checkpoint()
        return {account: tuple(text.decode().split("\n")) for account, text in self._chain.model.addresses.items()}

    async def _send(self, call: Callable[[ContractModel], None], sent: Call | None = None) -> Receipt:
        await trio.lowlevel.checkpoint()
        return self._chain.transact(call, sent)

    async def enrol(self, invite: Invite, signatures: Sequence[bytes], addresses: Sequence[str]) -> Receipt:
        """Join by invitation."""
        digest = signing_digest(invite, self._chain.domain, keccak256)
        signers = [recover(digest, signature) or NOBODY for signature in signatures]
        text = "\n".join(addresses).encode()
        return await self._send(
            lambda model: model.enrol(self._account, invite, signers, text),
            EnrolCall(self._account, invite, tuple(signatures)),
        )

    async def set_addresses(self, addresses: Sequence[str]) -> Receipt:
        """Record multiaddrs."""
        text = "\n".join(addresses).encode()
        return await self._send(lambda model: model.set_addresses(self._account, text))

    async def ready(self) -> Receipt:
        """IDLE to ACTIVE."""
        return await self._send(lambda model: model.ready(self._account))

    async def submit_update(self, round_: int, digest: Digest, weight: int, metric: int, flags: ReportFlag) -> Receipt:
        """Submit an update."""
        return await self._send(
            lambda model: model.submit_update(self._account, round_, digest, weight, metric, flags),
            SubmitCall(self._account, round_, digest, weight),
        )

    async def advance(self, idle: Sequence[int] = ()) -> Receipt:
        """The due transition."""
        return await self._send(lambda model: model.advance(self._account, tuple(idle)))

    async def finalize(
        self, round_: int, excluded: Bitmap, merged: Digest, slices: Sequence[Digest], signatures: Sequence[Signed]
    ) -> Receipt:
        """The merged model, with signatures that are recovered here as the contract does."""
        inputs = self._chain.model.inputs

        def signer(mask: int, signature: bytes) -> Address:
            body = Attestation(round_, inputs, excluded, merged, tuple(slices), mask)
            return recover(signing_digest(body, self._chain.domain, keccak256), signature) or NOBODY

        masks = [(s.body.mask if isinstance(s.body, Attestation) else 0, s.signature) for s in signatures]
        signed = [(mask, signer(mask, signature)) for mask, signature in masks]
        return await self._send(
            lambda model: model.finalize(self._account, round_, excluded, merged, tuple(slices), signed),
            FinalizeCall(round_, excluded, merged, tuple(slices), tuple(masks)),
        )

    async def leave(self) -> Receipt:
        """End the own membership."""
        return await self._send(lambda model: model.leave(self._account))

    async def execute(self, vote: Vote, signatures: Sequence[bytes]) -> Receipt:
        """Carry out a vote, with signatures that are recovered here as the contract does."""
        digest = signing_digest(vote, self._chain.domain, keccak256)
        signers = [recover(digest, signature) or NOBODY for signature in signatures]
        return await self._send(
            lambda model: model.execute(self._account, vote, signers), ExecuteCall(vote, tuple(signatures))
        )

    async def stop_abandoned(self) -> Receipt:
        """Stop an abandoned swarm."""
        return await self._send(lambda model: model.stop_abandoned(self._account))

    async def member(self, account: Address) -> Member:
        """One account, whatever its status."""
        await trio.lowlevel.checkpoint()
        return self._chain.model.member_of(account)

    async def report(self, metric: int, flags: ReportFlag) -> Receipt:
        """Report after STOPPED."""
        return await self._send(lambda model: model.report(self._account, metric, flags))

    async def resend_pending(self) -> None:
        """Nothing is ever pending."""
        await trio.lowlevel.checkpoint()
