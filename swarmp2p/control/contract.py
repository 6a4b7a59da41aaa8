"""The swarm's contract as a peer uses it, on any EVM chain."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import trio
from eth_abi.abi import encode

from swarmp2p.control.abi_codec import artefact, config_from, config_tuple, decode_state, member_from
from swarmp2p.control.creation import Deployed, check_creation, create, creation_code, require_contract
from swarmp2p.control.heights import Heights
from swarmp2p.control.hexadecimal import from_hex, to_hex
from swarmp2p.control.interface import Receipt, RoundResult, TransactionJournal
from swarmp2p.control.node import is_data
from swarmp2p.control.rpc import NodeError, RpcClient, call_each
from swarmp2p.control.sender import Sender
from swarmp2p.core.config import Config
from swarmp2p.core.errors import ConfigError, TransactionFailed, WrongChain
from swarmp2p.core.messages import Attestation, Invite, Signed, Vote
from swarmp2p.core.types import Address, Bitmap, Digest, ReportFlag
from swarmp2p.core.view import Member, View
from swarmp2p.identity import keccak256

MAX_ADDRESSES = 256
"""Bytes of a member's multiaddrs, joined by newlines."""
_ADVANCE_GAS = 1_500_000
_CHAIN_LAGS = 2.0
"""Seconds by which the latest block may be old before a refused `advance` is sent all the same."""


class SwarmContract:
    """One swarm. Implements `interface.Control`.

    Args:
        rpc: its nodes. Not closed here.
        address: of the contract.
        secret: 32-byte key of the account that signs transactions. One SwarmContract a key and process.
        journal: where transactions are written before they are sent; None for a tool that sends one and ends.
        clock: Unix seconds.
    """

    def __init__(
        self,
        rpc: RpcClient,
        address: Address,
        secret: bytes,
        journal: TransactionJournal | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rpc = rpc
        self.address = address
        self._artefact = artefact()
        self._sender = Sender(rpc, secret, self._artefact, journal)
        self.account: Address = self._sender.address
        self._clock = clock
        self._last: tuple[str, View] | None = None
        self._newest: View | None = None
        self._heights = Heights()
        self._domain: bytes | None = None

    # ---- reading

    async def check(self, manifest: Digest | None = None) -> Config:
        """Whether a swarm is there, and that of this manifest; its configuration.

        Raises:
            WrongChain: no contract, or another one.
        """
        await require_contract(self._rpc, self.address)
        config = await self.config()
        if manifest is not None and config.manifest != manifest:
            raise WrongChain(
                f"The contract {to_hex(self.address)} was founded with another manifest.",
                "Use the swarm.toml that `swarmp2p found` wrote for this contract, unchanged.",
            )
        return config

    async def check_creation(self, config: Config, transaction: bytes) -> None:
        """Whether this transaction deployed it, as this release's swarm with this configuration.

        Raises:
            WrongChain: it is something else that only answers alike. ConfigError: the transaction is not named.
        """
        creation = creation_code(self._artefact, config_tuple(config))
        what = "a swarm with the manifest's configuration"
        await check_creation(self._rpc, self.address, transaction, creation, what)

    @property
    def notices_at_once(self) -> bool:
        """The node has a long poll."""
        return self._rpc.long_polls

    async def config(self) -> Config:
        """The immutable configuration (section 2)."""
        (values,) = await self._read("config")
        return config_from(values)

    async def domain(self) -> bytes:
        """EIP-712 domain separator, 32 bytes."""
        if self._domain is None:
            (self._domain,) = await self._read("domainSeparator")
        assert self._domain is not None
        return self._domain

    async def state(self) -> View:
        """The protocol's view(), at the latest block. The same object as long as nothing at all has changed.

        A state of an older block than the last one is given only if no node has a newer one for a while.
        """
        view = await self._latest()
        if not self._heights.believes(view.block_number, trio.current_time()):
            if await self._rpc.move_to_highest():
                view = await self._latest()
            if not self._heights.believes(view.block_number, trio.current_time()) and self._newest is not None:
                return self._newest
        self._newest = view
        return view

    async def _latest(self) -> View:
        try:
            output = await self._call("state", b"")
            if self._last is None or self._last[0] != output:
                self._last = (output, decode_state(_output("state", output)))
        except (TransactionFailed, WrongChain):
            # The node may be far behind: there was no contract yet.
            self._rpc.pass_over()
            raise
        return self._last[1]

    async def wait_for_change(self, seen: View | None, timeout: float) -> View:
        """Return the state as soon as it differs from `seen`, or the latest one after `timeout` seconds.

        A new block alone is no change.
        """
        deadline = trio.current_time() + timeout
        if seen is not None and seen is self._newest:  # read just now: the next block is what is waited for
            await self._rpc.wait_for_block(seen.block_number, timeout, is_latest=True)
        while True:
            view = await self.state()
            left = deadline - trio.current_time()
            if seen is None or not _same(view, seen) or left <= 0:
                return view
            await self._rpc.wait_for_block(view.block_number, left, is_latest=True)

    def look(self) -> None:
        """See `Control.look`."""
        self._rpc.look()

    async def leaders(self, round_: int) -> tuple[Address, ...]:
        """Workers of rank 0 for each slice of a round that is MERGING."""
        (addresses,) = await self._read("leaders", round_)
        return tuple(from_hex(address) for address in addresses)

    async def result(self, round_: int) -> RoundResult:
        """What the contract keeps of a round."""
        (values,) = await self._read("result", round_)
        return RoundResult(*values)

    async def addresses(self) -> dict[Address, tuple[str, ...]]:
        """Multiaddrs of every member that holds an index: bootstrap records. Not checked here."""
        members = [member.address for member in (await self.state()).members]
        function = self._artefact.functions["addressesOf"]
        outputs = await call_each(self._rpc, self.address, [function.encode(to_hex(member)) for member in members])
        found: dict[Address, tuple[str, ...]] = {}
        for member, output in zip(members, outputs, strict=True):
            (joined,) = function.decode(_output("addressesOf", output))
            found[member] = tuple(line for line in joined.decode("utf-8", "replace").split("\n") if line)
        return found

    # ---- transactions

    async def enrol(self, invite: Invite, signatures: Sequence[bytes], addresses: Sequence[str]) -> Receipt:
        """Join with an invitation (section 4)."""
        values = (
            to_hex(invite.invitee), invite.term, invite.max_weight, invite.expires, invite.stake, invite.purpose,
            invite.deadline,
        )  # fmt: skip
        return await self._send_named(f"enrol:{invite.term}", "enrol", values, list(signatures), _joined(addresses))

    async def set_addresses(self, addresses: Sequence[str]) -> Receipt:
        """Change the own multiaddrs."""
        joined = _joined(addresses)
        return await self._send(f"addresses:{joined.hex()}", "setAddresses", joined)

    async def ready(self) -> Receipt:
        """IDLE to ACTIVE."""
        return await self._send("ready", "ready")

    async def submit_update(self, round_: int, digest: Digest, weight: int, metric: int, flags: ReportFlag) -> Receipt:
        """Record the own update of a round; the report on the head rides along. `metric` has 6 decimals."""
        receipt = await self._send(f"submit:{round_}", "submitUpdate", round_, digest, weight, metric, int(flags))
        return replace(receipt, sealed=self._artefact.events["Sealed"].topic in receipt.topics)

    async def advance(self, idle: Sequence[int] = ()) -> Receipt:
        """The due transition, and members that missed too much become IDLE."""
        try:
            return await self._send("advance", "advance", sorted(idle))
        except TransactionFailed:
            # The node judged by the time of its latest block. If that is old, the next block may see the deadline past.
            head = await self._rpc.call("eth_getBlockByNumber", "latest", False)
            if head is None or not self._is_old(int(head["timestamp"], 16)):
                raise
            return await self._send("advance", "advance", sorted(idle), gas=_ADVANCE_GAS)

    async def finalize(
        self, round_: int, excluded: Bitmap, merged: Digest, slices: Sequence[Digest], signatures: Sequence[Signed]
    ) -> Receipt:
        """The merged model of a round, with attestations; merged = NO_DIGEST and no slices aborts the round."""
        entries = []
        for signed in sorted(signatures, key=lambda signed: signed.signer):
            if not isinstance(signed.body, Attestation):
                raise TypeError("finalize takes attestations")
            entries.append((signed.body.mask, signed.signature))
        return await self._send(f"finalize:{round_}", "finalize", round_, excluded, merged, list(slices), entries)

    async def member(self, account: Address) -> Member:
        """One account: also one that left, was expelled or was never enrolled (status NONE, term 0)."""
        (values,) = await self._read("memberOf", to_hex(account))
        return member_from(values)

    async def leave(self) -> Receipt:
        """End the own membership; the index is free from the next round on."""
        return await self._send("leave", "leave")

    async def execute(self, vote: Vote, signatures: Sequence[bytes]) -> Receipt:
        """Carry out what more than half of the voters signed (section 4)."""
        values = (int(vote.kind), to_hex(vote.target), vote.arg, vote.ballot, vote.deadline)
        return await self._send_named(f"vote:{vote.ballot}", "execute", values, list(signatures))

    async def stop_abandoned(self) -> Receipt:
        """Stop a swarm that has merged nothing for abandon_after seconds."""
        return await self._send("stop", "stopAbandoned")

    async def report(self, metric: int, flags: ReportFlag) -> Receipt:
        """After STOPPED: a report on the last head."""
        return await self._send("report", "report", metric, int(flags))

    async def resend_pending(self) -> None:
        """After a restart: send journaled transactions again, those that may not be in a block."""
        await self._sender.resend_pending()

    # ---- plumbing

    async def _send(self, intent: str, name: str, *arguments: Any, gas: int | None = None) -> Receipt:
        data = self._artefact.functions[name].encode(*arguments)
        return await self._sender.send(intent, self.address, data, gas=gas)

    async def _send_named(self, intent: str, name: str, *arguments: Any) -> Receipt:
        """The intent names its content too: a journaled transaction that says something else is not what is wanted."""
        content = keccak256(self._artefact.functions[name].encode(*arguments))[:8].hex()
        return await self._send(f"{intent}:{content}", name, *arguments)

    async def _read(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        function = self._artefact.functions[name]
        return function.decode(_output(name, await self._call(name, encode(function.inputs, arguments))))

    async def _call(self, name: str, arguments: bytes) -> str:
        """The output as the node writes it, in hex."""
        data = to_hex(self._artefact.functions[name].selector + arguments)
        try:
            output: str = await self._rpc.call(
                "eth_call", {"to": to_hex(self.address), "data": data}, "latest", usable=is_data
            )
        except NodeError as error:
            raise self._sender.refusal(error) from None
        return output

    def _is_old(self, timestamp: int) -> bool:
        return self._clock() - timestamp > _CHAIN_LAGS


async def deploy(rpc: RpcClient, secret: bytes, config: Config, journal: TransactionJournal | None = None) -> Address:
    """Found a swarm: deploy its contract. Returns the address.

    Raises:
        TransactionFailed: the constructor refused the configuration, or there is no money for gas.
    """
    return (await create_swarm(rpc, secret, config, journal)).address


async def create_swarm(
    rpc: RpcClient, secret: bytes, config: Config, journal: TransactionJournal | None = None
) -> Deployed:
    """`deploy` that also tells the transaction, which a manifest names."""
    return await create(rpc, secret, "Swarm", artefact(), journal, config_tuple(config))


def _same(view: View, seen: View) -> bool:
    return replace(view, block_number=seen.block_number, block_timestamp=seen.block_timestamp) == seen


def _joined(addresses: Sequence[str]) -> bytes:
    joined = "\n".join(addresses).encode()
    if len(joined) > MAX_ADDRESSES:
        raise ConfigError(
            f"The multiaddrs take {len(joined)} bytes, and the contract keeps {MAX_ADDRESSES}.", "Announce fewer."
        )
    return joined


def _output(name: str, output: str) -> bytes:
    if not is_data(output) or len(output) <= 2:
        raise WrongChain(
            f"Nothing answers {name}(): there is no swarm's contract at this address.",
            "Check the contract's address and the RPC URL.",
        )
    return from_hex(output)
