"""What the control layer offers to the peer: one interface, whatever chain is behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from swarmp2p.core.config import Config
from swarmp2p.core.messages import Invite, Signed, Vote
from swarmp2p.core.types import Address, Bitmap, Digest, ReportFlag
from swarmp2p.core.view import Member, View


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that the chain accepted and that did what it was sent for."""

    hash: bytes
    block_number: int
    gas_used: int
    contract: Address | None = None
    """Address of the contract that it created, if it was a deployment."""
    topics: tuple[bytes, ...] = ()
    """The first topic of each of its logs: what events it caused."""
    sealed: bool = False
    """Whether it was the submission that sealed a round."""


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What the contract keeps of a round (`results[round]`); `merged` is NO_DIGEST if it merged nothing."""

    merged: Digest
    included: Bitmap
    parent_round: int
    block_number: int
    timestamp: int
    """Unix seconds of that chain block."""
    inputs: Digest
    """The sealed hash over the inputs; NO_DIGEST in a swarm without a treasury, as `attesters` is 0."""
    attesters: Bitmap
    """Members whose attestations finalized it."""


class PendingTransaction(Protocol):
    """A transaction that was signed and perhaps sent, as a journal gives it back."""

    @property
    def intent(self) -> str:
        """What it is for; a replacement has the same."""

    @property
    def nonce(self) -> int:
        """Its nonce."""

    @property
    def raw(self) -> bytes:
        """The signed transaction itself, as eth_sendRawTransaction takes it."""


class TransactionJournal(Protocol):
    """Where signed transactions are written before they are sent (docs/protocol.md, section 10). Methods may block."""

    def save(self, intent: str, nonce: int, raw: bytes) -> None:
        """Write down; on disk when it returns. Of the intent's earlier ones those with the same nonce stay."""

    def done(self, intent: str) -> None:
        """One of the intent's transactions is in a block, or none can be in one any more: forget them."""

    def pending(self) -> Sequence[PendingTransaction]:
        """What was saved and is not done, in the order in which it was saved."""


class Control(Protocol):
    """The contract as a peer uses it. Every method raises ChainUnreachable when no endpoint answers; the transactions
    raise TransactionFailed when the contract refuses, before anything is spent if it can be known before."""

    @property
    def address(self) -> Address:
        """Address of the contract."""

    @property
    def account(self) -> Address:
        """Address that signs the transactions."""

    @property
    def notices_at_once(self) -> bool:
        """Whether `wait_for_change` returns as soon as there is a new block, so that hints of others tell nothing new."""

    async def config(self) -> Config:
        """The immutable configuration (section 2)."""
        ...

    async def domain(self) -> bytes:
        """EIP-712 domain separator, 32 bytes."""
        ...

    async def state(self) -> View:
        """The protocol's view(), at the latest block."""
        ...

    async def wait_for_change(self, seen: View | None, timeout: float) -> View:
        """Return the state as soon as it differs from `seen`, or the unchanged one after `timeout` seconds."""
        ...

    def look(self) -> None:
        """The chain has probably changed: `wait_for_change` does not wait for its next look."""

    async def leaders(self, round_: int) -> tuple[Address, ...]: ...

    async def result(self, round_: int) -> RoundResult: ...

    async def addresses(self) -> dict[Address, tuple[str, ...]]:
        """Multiaddrs of every member that holds an index."""
        ...

    async def enrol(self, invite: Invite, signatures: Sequence[bytes], addresses: Sequence[str]) -> Receipt: ...

    async def set_addresses(self, addresses: Sequence[str]) -> Receipt: ...

    async def ready(self) -> Receipt: ...

    async def submit_update(
        self, round_: int, digest: Digest, weight: int, metric: int, flags: ReportFlag
    ) -> Receipt: ...

    async def advance(self, idle: Sequence[int] = ()) -> Receipt: ...

    async def finalize(
        self, round_: int, excluded: Bitmap, merged: Digest, slices: Sequence[Digest], signatures: Sequence[Signed]
    ) -> Receipt:
        """Send the merged model with attestations that cover every slice. They are sorted by signer here."""
        ...

    async def member(self, account: Address) -> Member:
        """One account: also one that left, was expelled or was never enrolled (status NONE, term 0)."""
        ...

    async def leave(self) -> Receipt:
        """End the own membership; the index is free from the next round on."""
        ...

    async def execute(self, vote: Vote, signatures: Sequence[bytes]) -> Receipt:
        """Carry out what more than half of the voters signed; anybody may send it."""
        ...

    async def stop_abandoned(self) -> Receipt:
        """Stop a swarm that has merged nothing for abandon_after seconds; anybody may send it."""
        ...

    async def report(self, metric: int, flags: ReportFlag) -> Receipt: ...

    async def resend_pending(self) -> None:
        """After a restart: send journaled transactions again, those that may not be in a block."""
        ...
