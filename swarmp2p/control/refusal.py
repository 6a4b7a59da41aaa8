"""What a node means that refuses a transaction: nodes say it in words of their own."""

from collections.abc import Sequence

from swarmp2p.control.abi_codec import Artefact
from swarmp2p.control.node import NodeError
from swarmp2p.core.errors import TransactionFailed
from swarmp2p.core.types import Address

_KNOWN: Sequence[str] = ("already known", "known transaction", "already imported", "transaction already")
_TRY_AGAIN: Sequence[str] = (
    "nonce", "underpriced", "less than block base fee", "fee too low", "below current base fee", "max fee per gas",
    "gas price below",
)  # fmt: skip


def already_there(error: NodeError) -> bool:
    """The node has this very transaction."""
    return any(words in error.message.lower() for words in _KNOWN)


def nonce_is_used(error: NodeError) -> bool:
    """The account's nonce is another one; perhaps because this very transaction is in a block."""
    return "nonce" in error.message.lower()


def worth_another(error: NodeError) -> bool:
    """Whether a fresh nonce and fresh fees may help."""
    return any(words in error.message.lower() for words in _TRY_AGAIN)


def refusal(error: NodeError, artefact: Artefact, sender: Address) -> TransactionFailed:
    """What a node's error means, in the contract's own words if it has some."""
    described = artefact.describe_revert(error.data)
    if described:
        name = artefact.error_name(error.data)
        return TransactionFailed(f"The contract refused it: {described}.", error=name)
    if "insufficient funds" in error.message or "enough funds" in error.message:
        return TransactionFailed(
            f"The account 0x{sender.hex()} has not enough money for gas.",
            "Fund it: on the embedded chain and anvil with the faucet, else by a transfer.",
            error="InsufficientFunds",
        )
    return TransactionFailed(f"The node refused the transaction: {error.message}.", error=error.message)
