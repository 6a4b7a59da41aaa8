"""Sends transactions of one account: nonces, fees, the journal, and waiting until they are in a block.

A nonce is the one that the node answers, past those that are on their way from here: nodes answer "pending" too late for
two transactions in a row, and a counter of our own would be wrong after a reorganisation. A transaction is in the journal
before it is on the wire, so a restarted peer sends the same bytes again instead of doing a thing twice (docs/protocol.md,
section 10). While it is in no block it is looked after: sent again, offered more for, and what holds it up is cleared.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import trio

from swarmp2p.control.abi_codec import Artefact
from swarmp2p.control.fees import FeeOracle
from swarmp2p.control.interface import PendingTransaction, Receipt, TransactionJournal
from swarmp2p.control.nonces import Nonces
from swarmp2p.control.refusal import already_there, nonce_is_used, refusal, worth_another
from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.control.transaction import Sent, Transaction, is_receipt
from swarmp2p.core.errors import ChainUnreachable, TransactionFailed
from swarmp2p.core.types import Address
from swarmp2p.identity import Key, keccak256

RECEIPT_TIMEOUT = 180.0
"""Seconds after which a transaction that is not in a block is given up (and stays in the journal)."""
REPLACE_AFTER = 30.0
"""Seconds after which it is sent again with higher fees."""
LOOK_AFTER = 5.0
"""Seconds between two looks at what may hold it up."""
_RESEND_WAIT = 15.0
_GAS_MARGIN = (5, 4)
_GAS_EXTRA = 100_000
"""The state may change before the transaction runs: the submission that seals a round costs more than the one that was
estimated. Gas that is not used is not paid."""
_FILLER_GAS = 21_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_MOST_CLEARED = 16

_log = logging.getLogger(__name__)


class Sender:
    """Transactions of one key. One Sender a key and process: two would take each other's nonces."""

    def __init__(
        self, rpc: RpcClient, secret: bytes, artefact: Artefact, journal: TransactionJournal | None = None
    ) -> None:
        self._rpc = rpc
        self._secret = secret
        self.address: Address = Key(secret).address
        self._artefact = artefact
        self._journal = journal
        self._fees = FeeOracle(rpc, self.address)
        self._lock = trio.Lock()
        self._nonces = Nonces(rpc, self.address)
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
        return await self._finish(sent)

    async def resend_pending(self) -> None:
        """After a restart: send what the journal holds again, in order, and wait a little for it."""
        async with self._lock:
            resent = [await self._resend(entries) for entries in await self._journaled()]
        with trio.move_on_after(_RESEND_WAIT):
            for sent in resent:
                try:
                    if sent is not None:
                        await self._finish(sent)
                except TransactionFailed as error:
                    _log.info("the transaction %s of the last run failed: %s", sent and sent.intent, error)

    def refusal(self, error: NodeError) -> TransactionFailed:
        """What a node's error means, in the contract's own words if it has some."""
        return refusal(error, self._artefact, self.address)

    # ---- resuming

    async def _journaled(self) -> list[list[PendingTransaction]]:
        """What is in the journal: for each intent, by nonce, the transaction and its replacements in order."""
        if self._journal is None:
            return []
        entries = await trio.to_thread.run_sync(self._journal.pending)
        in_order = sorted(entries, key=lambda entry: (entry.nonce, entry.intent))
        return [list(group) for _, group in groupby(in_order, key=lambda entry: (entry.nonce, entry.intent))]

    async def _resume(self, intent: str) -> Sent | None:
        for entries in await self._journaled():
            if entries[0].intent == intent:
                return await self._resend(entries)
        return None

    async def _resend(self, entries: Sequence[PendingTransaction]) -> Sent | None:
        """None if the transaction can never get in: another one has its nonce, or the node will not have it."""
        sent = Sent.journaled(entries)
        if await self._receipt(sent) is not None:
            return sent
        if await self._nonces.used() <= sent.nonce:
            for raw in reversed(sent.raws):
                if await self._offer(raw):
                    self._nonces.given(sent.nonce)
                    if sent.transaction.fees.below(await self._fees.fees()):
                        await self._replace(sent)
                    return sent
        # It may have come into a block in between.
        elif await self._receipt(sent) is not None:
            return sent
        await self._done(sent.intent)
        return None

    # ---- sending

    async def _estimate(self, to: Address | None, data: bytes) -> int:
        call = {"from": "0x" + self.address.hex(), "data": "0x" + data.hex()}
        if to is not None:
            call["to"] = "0x" + to.hex()
        try:
            estimate = await self._rpc.number("eth_estimateGas", call)
        except NodeError as error:
            raise self.refusal(error) from None
        times, by = _GAS_MARGIN
        return estimate * times // by + _GAS_EXTRA

    async def _send_new(self, intent: str, to: Address | None, data: bytes, gas: int) -> Sent:
        for last in (False, True):
            fees = await self._fees.fees()
            sent = Sent(intent, Transaction(await self._nonces.next(), to, data, gas, fees))
            try:
                await self._publish(sent)
            except NodeError as error:
                self._fees.forget()
                if last or not worth_another(error):
                    await self._done(intent)
                    raise self.refusal(error) from None
                continue
            return sent
        raise AssertionError("unreachable")

    async def _publish(self, sent: Sent) -> None:
        raw = await self._sign(sent.transaction)
        if self._journal is not None:
            await trio.to_thread.run_sync(self._journal.save, sent.intent, sent.nonce, raw)
        sent.raws.append(raw)
        try:
            await self._rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
        except NodeError as error:
            # The answer to an earlier try may be lost: then the nonce is used by this very transaction.
            if not already_there(error) and not (nonce_is_used(error) and await self._is_in(sent)):
                sent.raws.pop()
                raise
        self._nonces.given(sent.nonce)

    async def _is_in(self, sent: Sent) -> bool:
        """Whether it is in a block; nodes may know the nonce a moment before they know the receipt."""
        if await self._receipt(sent) is not None:
            return True
        await trio.sleep(_LONGEST_PAUSE)
        return await self._receipt(sent) is not None

    async def _offer(self, raw: bytes) -> bool:
        try:
            await self._rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
        except NodeError as error:
            return already_there(error)
        return True

    async def _sign(self, transaction: Transaction) -> bytes:
        if self._chain_id is None:
            self._chain_id = await self._rpc.number("eth_chainId")
        return transaction.sign(self._secret, self._chain_id)

    # ---- waiting

    async def _finish(self, sent: Sent) -> Receipt:
        with self._nonces.waiting_for(sent.nonce):
            receipt = await self._wait(sent)
        await self._done(sent.intent)
        number = int(receipt["blockNumber"], 16)
        if int(receipt["status"], 16) != 1:
            raise await self._why_reverted(sent.transaction, number)
        created = receipt.get("contractAddress")
        return Receipt(
            hash=bytes.fromhex(receipt["transactionHash"][2:]),
            block_number=number,
            gas_used=int(receipt["gasUsed"], 16),
            contract=None if created is None else bytes.fromhex(created[2:]),
            topics=tuple(bytes.fromhex(log["topics"][0][2:]) for log in receipt["logs"] if log["topics"]),
        )

    async def _wait(self, sent: Sent) -> dict[str, Any]:
        begun = trio.current_time()
        look_at, replace_at, pause = begun + LOOK_AFTER, begun + REPLACE_AFTER, _FIRST_PAUSE
        while (receipt := await self._receipt(sent)) is None:
            now = trio.current_time()
            if now >= begun + RECEIPT_TIMEOUT:
                raise TransactionFailed(
                    f"A transaction ({sent.intent}) is in no block after {RECEIPT_TIMEOUT:.0f} s.",
                    "Check that the chain makes blocks, and that the account has money for gas.",
                    error="NotMined",
                )
            if now >= look_at:
                look_at = now + LOOK_AFTER
                await self._look_after(sent, more=now >= replace_at)
                replace_at = now + REPLACE_AFTER if now >= replace_at else replace_at
            await trio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 1.5)
        return receipt

    async def _receipt(self, sent: Sent) -> dict[str, Any] | None:
        for raw in sent.raws:
            hash_ = "0x" + keccak256(raw).hex()
            receipt: dict[str, Any] | None = await self._rpc.call("eth_getTransactionReceipt", hash_, usable=is_receipt)
            if receipt is not None:
                return receipt
        return None

    async def _look_after(self, sent: Sent, *, more: bool) -> None:
        """See to what may hold a transaction up: the node has lost it, it offers too little, or an earlier one of this
        account is missing.

        Raises:
            TransactionFailed: another transaction has its nonce.
        """
        used = await self._nonces.used()
        if used > sent.nonce:
            sent.passed_over += 1
            # What else was offered for it, by whoever cleared the way for another transaction.
            for entries in await self._journaled():
                if (entries[0].intent, entries[0].nonce) == (sent.intent, sent.nonce):
                    sent.raws += [entry.raw for entry in entries if entry.raw not in sent.raws]
            # Once is not enough: the receipt may come a moment later, or from another node.
            if sent.passed_over > 1:
                await self._done(sent.intent)
                raise TransactionFailed(
                    f"Another transaction of 0x{self.address.hex()} came in the place of one ({sent.intent}).",
                    "Try again, and use a key in one place only.",
                    error="NonceTaken",
                )
            return
        sent.passed_over = 0
        async with self._lock:
            await self._clear_way(used, sent.nonce)
            if more:
                await self._replace(sent)
            else:
                await self._offer(sent.raws[-1])

    async def _clear_way(self, first: int, end: int) -> None:
        """Get the account's transactions before this one in: it cannot come into a block before them."""
        stuck = [nonce for nonce in range(first, end) if not self._nonces.on_its_way(nonce)][:_MOST_CLEARED]
        if not stuck:
            return
        pending = await self._nonces.pending()
        journaled = {entries[0].nonce: entries for entries in await self._journaled()}
        for nonce in stuck:
            if nonce in journaled:
                await self._replace(Sent.journaled(journaled[nonce]))
            elif nonce >= pending:
                # Nobody has it any more, so it can only be replaced by something that does nothing.
                fees = await self._fees.fees()
                await self._offer(await self._sign(Transaction(nonce, self.address, b"", _FILLER_GAS, fees)))

    async def _replace(self, sent: Sent) -> None:
        """Offer more for the same nonce: a transaction with too low a tip blocks all that come after it."""
        try:
            current = await self._fees.fees()
            if current.free:
                await self._offer(sent.raws[-1])
                return
            sent.transaction = replace(sent.transaction, fees=sent.transaction.fees.raised(current))
            await self._publish(sent)
        except TransactionFailed as error:
            _log.info("could not replace the transaction %s: %s", sent.intent, error)
        except NodeError as error:
            _log.info("could not replace the transaction %s: %s", sent.intent, error.message)

    async def _done(self, intent: str) -> None:
        if self._journal is not None:
            await trio.to_thread.run_sync(self._journal.done, intent)

    async def _why_reverted(self, transaction: Transaction, number: int) -> TransactionFailed:
        """A transaction in a block that failed: run it again on the block before, to learn the reason."""
        call = {
            "from": "0x" + self.address.hex(),
            "data": "0x" + transaction.data.hex(),
            "gas": hex(transaction.gas),
        }
        if transaction.to is not None:
            call["to"] = "0x" + transaction.to.hex()
        try:
            await self._rpc.call("eth_call", call, hex(number - 1))
        except NodeError as error:
            return self.refusal(error)
        except ChainUnreachable as error:
            _log.info("the reason is not to be had: %s", error)
        return TransactionFailed(
            "The contract refused the transaction.", "Look at the state of the swarm and try again.", error="Reverted"
        )
