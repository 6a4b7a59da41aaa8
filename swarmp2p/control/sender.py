"""Sends transactions of one account: nonces, fees, the journal, and waiting until they are in a block.

Nonces are counted here, under a lock, since nodes answer "pending" too late for two transactions in a row; after
anything unexpected the node is asked again. A transaction is in the journal before it is on the wire, so a restarted
peer sends the same bytes again instead of doing a thing twice (docs/protocol.md, section 10).
"""

import logging
from collections.abc import Sequence
from typing import Any

import trio
from eth_account import Account
from eth_utils.address import to_checksum_address

from swarmp2p.control.abi_codec import Artefact
from swarmp2p.control.fees import FeeOracle, Fees
from swarmp2p.control.interface import PendingTransaction, Receipt, TransactionJournal
from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import TransactionFailed
from swarmp2p.core.types import Address
from swarmp2p.identity import keccak256

RECEIPT_TIMEOUT = 180.0
"""Seconds after which a transaction that is not in a block is given up (and stays in the journal)."""
REPLACE_AFTER = 30.0
"""Seconds after which it is sent again with higher fees."""
_RESEND_WAIT = 15.0
_GAS_MARGIN = (5, 4)
_GAS_EXTRA = 100_000
"""The state may change before the transaction runs: the submission that seals a round costs more than the one that was
estimated. Gas that is not used is not paid."""
_LONGEST_PAUSE = 0.5

_log = logging.getLogger(__name__)


class Sender:
    """Transactions of one key. One Sender a key and process: two would take each other's nonces."""

    def __init__(
        self, rpc: RpcClient, secret: bytes, artefact: Artefact, journal: TransactionJournal | None = None
    ) -> None:
        self._rpc = rpc
        self._account = Account.from_key(secret)
        self.address: Address = bytes.fromhex(self._account.address[2:])
        self._artefact = artefact
        self._journal = journal
        self._fees = FeeOracle(rpc)
        self._lock = trio.Lock()
        self._nonce: int | None = None
        self._chain_id: int | None = rpc.chain_id

    async def send(self, intent: str, to: Address | None, data: bytes, *, gas: int | None = None) -> Receipt:
        """Send a transaction and wait until it is in a block.

        Args:
            intent: what it is for. If the journal has one for the same that may still get in, that one is sent.
            to: the contract, or None to deploy one.
            gas: limit to use unasked; else the node is asked, which also finds out at no cost if it would revert.

        Raises:
            TransactionFailed: the contract or the node refused it, or it did not get in.
            ChainUnreachable: no node answers; it may have been sent, and is in the journal.
        """
        async with self._lock:
            sent = await self._resume(intent)
            if sent is None:
                limit = gas if gas is not None else await self._estimate(to, data)
                sent = await self._send_new(intent, to, data, limit)
        return await self._finish(intent, sent)

    async def resend_pending(self) -> None:
        """After a restart: send what the journal holds again, in order, and wait a little for it."""
        if self._journal is None:
            return
        async with self._lock:
            for entry in sorted(await trio.to_thread.run_sync(self._journal.pending), key=lambda entry: entry.nonce):
                sent = await self._resend(entry)
                if sent is None:
                    continue
                try:
                    with trio.move_on_after(_RESEND_WAIT):
                        await self._finish(entry.intent, sent)
                except TransactionFailed as error:
                    _log.info("the transaction %s of the last run failed: %s", entry.intent, error)

    # ---- sending

    async def _resume(self, intent: str) -> "_Sent | None":
        if self._journal is None:
            return None
        for entry in await trio.to_thread.run_sync(self._journal.pending):
            if entry.intent == intent:
                return await self._resend(entry)
        return None

    async def _resend(self, entry: PendingTransaction) -> "_Sent | None":
        sent = _Sent([keccak256(entry.raw)], entry.nonce, b"", None, 0, None)
        if await self._receipt(sent) is not None:
            return sent
        used = int(await self._rpc.call("eth_getTransactionCount", self._account.address, "latest"), 16)
        if used <= entry.nonce and await self._offer(entry.raw):
            self._nonce = None
            return sent
        # Another transaction has its nonce, or the node will not have it any more.
        await self._done(entry.intent)
        return None

    async def _offer(self, raw: bytes) -> bool:
        try:
            await self._rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
        except NodeError as error:
            return _already_there(error)
        return True

    async def _estimate(self, to: Address | None, data: bytes) -> int:
        call = {"from": self._account.address, "data": "0x" + data.hex()}
        if to is not None:
            call["to"] = "0x" + to.hex()
        try:
            estimate = int(await self._rpc.call("eth_estimateGas", call), 16)
        except NodeError as error:
            raise self.refusal(error) from None
        times, by = _GAS_MARGIN
        return estimate * times // by + _GAS_EXTRA

    async def _send_new(self, intent: str, to: Address | None, data: bytes, gas: int) -> "_Sent":
        for last in (False, True):
            fees = await self._fees.fees()
            nonce = await self._next_nonce()
            sent = _Sent([], nonce, data, to, gas, fees)
            # Only an accepted transaction moves the counter; anything else, cancelling included, asks the node again.
            self._nonce = None
            try:
                await self._publish(intent, sent)
            except NodeError as error:
                self._fees.forget()
                if last or not _worth_another(error):
                    await self._done(intent)
                    raise self.refusal(error) from None
                continue
            self._nonce = nonce + 1
            return sent
        raise AssertionError("unreachable")

    async def _publish(self, intent: str, sent: "_Sent") -> None:
        raw, hash_ = await self._sign(sent)
        if self._journal is not None:
            await trio.to_thread.run_sync(self._journal.save, intent, sent.nonce, raw)
        sent.hashes.append(hash_)
        try:
            await self._rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
        except NodeError as error:
            if _already_there(error) or await self._receipt(sent) is not None:
                return
            sent.hashes.pop()
            raise

    async def _sign(self, sent: "_Sent") -> tuple[bytes, bytes]:
        assert sent.fees is not None
        if self._chain_id is None:
            self._chain_id = int(await self._rpc.call("eth_chainId"), 16)
        fields: dict[str, Any] = {
            "nonce": sent.nonce,
            "gas": sent.gas,
            "value": 0,
            "data": sent.data,
            "chainId": self._chain_id,
            **sent.fees.fields(),
        }
        if sent.to is not None:
            fields["to"] = to_checksum_address(sent.to)
        signed = self._account.sign_transaction(fields)
        return bytes(signed.raw_transaction), bytes(signed.hash)

    async def _next_nonce(self) -> int:
        if self._nonce is None:
            self._nonce = int(await self._rpc.call("eth_getTransactionCount", self._account.address, "pending"), 16)
        return self._nonce

    # ---- waiting

    async def _finish(self, intent: str, sent: "_Sent") -> Receipt:
        receipt = await self._wait(intent, sent)
        await self._done(intent)
        number = int(receipt["blockNumber"], 16)
        if int(receipt["status"], 16) != 1:
            raise await self._why_reverted(sent, number)
        created = receipt.get("contractAddress")
        return Receipt(
            hash=bytes.fromhex(receipt["transactionHash"][2:]),
            block_number=number,
            gas_used=int(receipt["gasUsed"], 16),
            contract=None if created is None else bytes.fromhex(created[2:]),
        )

    async def _wait(self, intent: str, sent: "_Sent") -> dict[str, Any]:
        deadline = trio.current_time() + RECEIPT_TIMEOUT
        replace_at = trio.current_time() + REPLACE_AFTER
        pause = 0.02
        while (receipt := await self._receipt(sent)) is None:
            now = trio.current_time()
            if now >= deadline:
                raise TransactionFailed(
                    f"A transaction ({intent}) is in no block after {RECEIPT_TIMEOUT:.0f} s.",
                    "Check that the chain makes blocks, and that the account has money for gas.",
                    error="NotMined",
                )
            if now >= replace_at:
                replace_at = now + REPLACE_AFTER
                await self._replace(intent, sent)
            await trio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 1.5)
        return receipt

    async def _receipt(self, sent: "_Sent") -> dict[str, Any] | None:
        for hash_ in sent.hashes:
            receipt: dict[str, Any] | None = await self._rpc.call("eth_getTransactionReceipt", "0x" + hash_.hex())
            if receipt is not None:
                return receipt
        return None

    async def _replace(self, intent: str, sent: "_Sent") -> None:
        """Offer more for the same nonce: a transaction with too low a tip blocks all that come after it."""
        if sent.fees is None:
            return
        sent.fees = sent.fees.raised()
        async with self._lock:
            try:
                await self._publish(intent, sent)
            except NodeError as error:
                _log.info("could not replace the transaction %s: %s", intent, error.message)

    async def _done(self, intent: str) -> None:
        if self._journal is not None:
            await trio.to_thread.run_sync(self._journal.done, intent)

    async def _why_reverted(self, sent: "_Sent", number: int) -> TransactionFailed:
        """A transaction in a block that failed: run it again on the block before, to learn the reason."""
        call = {"from": self._account.address, "data": "0x" + sent.data.hex(), "gas": hex(sent.gas or 10_000_000)}
        if sent.to is not None:
            call["to"] = "0x" + sent.to.hex()
        try:
            if sent.data:
                await self._rpc.call("eth_call", call, hex(number - 1))
        except NodeError as error:
            return self.refusal(error)
        return TransactionFailed(
            "The contract refused the transaction.", "Look at the state of the swarm and try again.", error="Reverted"
        )

    def refusal(self, error: NodeError) -> TransactionFailed:
        """What a node's error means, in the contract's own words if it has some."""
        described = self._artefact.describe_revert(error.data)
        if described:
            name = self._artefact.error_name(error.data)
            return TransactionFailed(f"The contract refused it: {described}.", error=name)
        if "insufficient funds" in error.message or "enough funds" in error.message:
            return TransactionFailed(
                f"The account 0x{self.address.hex()} has not enough money for gas.",
                "Fund it: on the embedded chain and anvil with the faucet, else by a transfer.",
                error="InsufficientFunds",
            )
        return TransactionFailed(f"The node refused the transaction: {error.message}.", error=error.message)


class _Sent:
    """A transaction on its way; more than one hash after a replacement. `fees` is None if it came from the journal."""

    __slots__ = ("data", "fees", "gas", "hashes", "nonce", "to")

    def __init__(
        self, hashes: list[bytes], nonce: int, data: bytes, to: Address | None, gas: int, fees: Fees | None
    ) -> None:
        self.hashes = hashes
        self.nonce = nonce
        self.data = data
        self.to = to
        self.gas = gas
        self.fees = fees


_KNOWN: Sequence[str] = ("already known", "known transaction", "already imported", "transaction already")
_TRY_AGAIN: Sequence[str] = (
    "nonce too", "nonce is too", "invalid nonce", "underpriced", "less than block base fee", "fee too low",
    "below current base fee", "max fee per gas", "gas price below", "nonce",
)  # fmt: skip


def _already_there(error: NodeError) -> bool:
    return any(words in error.message.lower() for words in _KNOWN)


def _worth_another(error: NodeError) -> bool:
    """Whether a fresh nonce and fresh fees may help."""
    return any(words in error.message.lower() for words in _TRY_AGAIN)
