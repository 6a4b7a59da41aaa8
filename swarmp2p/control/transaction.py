"""Signed transactions as they are sent and journaled, and what is in them: calls that move no money."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import rlp
from eth_utils.address import to_checksum_address

from swarmp2p.control.fees import Fees
from swarmp2p.control.interface import PendingTransaction
from swarmp2p.control.node import is_data
from swarmp2p.core.types import Address

_DYNAMIC_FEE = 2
"""Type byte of an EIP-1559 transaction; a legacy one begins with an RLP list instead."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One call, before it is signed."""

    nonce: int
    to: Address | None
    """None: a deployment."""
    data: bytes
    gas: int
    fees: Fees

    def sign(self, secret: bytes, chain_id: int) -> bytes:
        """The signed transaction, as eth_sendRawTransaction takes it; its Keccak-256 is its hash."""
        from eth_account import Account  # 0.3 s to import, and most commands send nothing

        fields: dict[str, Any] = {
            "nonce": self.nonce,
            "gas": self.gas,
            "value": 0,
            "data": self.data,
            "chainId": chain_id,
            **self.fees.fields(),
        }
        if self.to is not None:
            fields["to"] = to_checksum_address(self.to)
        return bytes(Account.sign_transaction(fields, secret).raw_transaction)


def decode(raw: bytes) -> Transaction:
    """What a signed transaction says, of the two kinds that `sign` makes.

    Raises:
        ValueError: it is neither.
    """
    try:
        if raw[:1] == bytes([_DYNAMIC_FEE]):
            _, nonce, tip, cap, gas, to, _, data, *_ = rlp.decode(raw[1:])
            fees = Fees(None, _number(cap), _number(tip))
        else:
            nonce, price, gas, to, _, data, *_ = rlp.decode(raw)
            fees = Fees(_number(price))
        return Transaction(_number(nonce), bytes(to) or None, bytes(data), _number(gas), fees)
    except (rlp.exceptions.RLPException, TypeError, ValueError) as error:
        raise ValueError(f"no signed transaction: {error}") from None


class Sent:
    """A transaction on its way.

    Attributes:
        transaction: as it was signed last.
        raws: as signed, and the replacements; each may get in.
        passed_over: how often its nonce was seen used, and no receipt.
    """

    def __init__(self, intent: str, transaction: Transaction, raws: Iterable[bytes] = ()) -> None:
        self.intent = intent
        self.transaction = transaction
        self.raws = list(raws)
        self.passed_over = 0

    @classmethod
    def journaled(cls, entries: Sequence[PendingTransaction]) -> "Sent":
        """Of the journal's entries for one intent and nonce, in order."""
        return cls(entries[-1].intent, decode(entries[-1].raw), [entry.raw for entry in entries])

    @property
    def nonce(self) -> int:
        """Its place among the account's transactions."""
        return self.transaction.nonce


def is_receipt(value: Any) -> bool:
    """Whether a node's answer is a receipt with what is read of one here, or that there is none."""
    if value is None:
        return True
    needed = ("blockNumber", "status", "transactionHash", "gasUsed")
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in needed):
        return False
    logs = value.get("logs")
    return isinstance(logs, list) and all(
        isinstance(log, dict) and isinstance(log.get("topics"), list) and all(map(is_data, log["topics"]))
        for log in logs
    )


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
