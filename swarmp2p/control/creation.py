"""How a contract came to be: deploying one, and whether the transaction behind an address is what this release would send.

Code at an address proves little by itself: whoever writes the code that runs at the deployment may set any storage before it
returns the code that is expected. The creation transaction holds all of that, and the constructor's arguments.
"""

from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode

from swarmp2p.control.abi_codec import Artefact
from swarmp2p.control.hexadecimal import from_hex, to_hex
from swarmp2p.control.interface import TransactionJournal
from swarmp2p.control.node import is_data
from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.control.sender import Sender
from swarmp2p.core.errors import ConfigError, TransactionFailed, WrongChain
from swarmp2p.core.types import Address
from swarmp2p.identity import keccak256


@dataclass(frozen=True, slots=True)
class Deployed:
    """A contract that was deployed."""

    address: Address
    transaction: bytes
    """Hash of the transaction that made it, 32 bytes."""


def creation_code(compiled: Artefact, *arguments: Any) -> bytes:
    """What the transaction that deploys a contract carries: its bytecode and the encoded arguments of its constructor."""
    return compiled.bytecode + encode(compiled.constructor, arguments)


async def create(
    rpc: RpcClient, secret: bytes, name: str, compiled: Artefact, journal: TransactionJournal | None, *arguments: Any
) -> Deployed:
    """Deploy a contract.

    Args:
        name: of the contract, for the journal.

    Raises:
        TransactionFailed: the constructor reverts, or there is no money for gas.
    """
    data = creation_code(compiled, *arguments)
    # By its data: what an earlier run left in the journal may have had other arguments.
    intent = f"deploy:{name}:{keccak256(data)[:8].hex()}"
    receipt = await Sender(rpc, secret, compiled, journal).send(intent, None, data)
    if receipt.contract is None:
        raise TransactionFailed("The chain made no contract.", "Look at the node's log.", error="NoContract")
    return Deployed(receipt.contract, receipt.hash)


async def require_contract(rpc: RpcClient, address: Address) -> None:
    """Raise WrongChain if nothing is at an address."""
    code = await rpc.call("eth_getCode", to_hex(address), "latest", usable=is_data)
    if len(code) <= 2:
        raise WrongChain(
            f"There is no contract at {to_hex(address)} on the chain behind {', '.join(rpc.urls)}.",
            "Check the contract's address and the RPC URL; a chain started anew has forgotten its contracts.",
        )


async def check_creation(rpc: RpcClient, address: Address, transaction: bytes, creation: bytes, what: str) -> None:
    """Whether a contract was made by exactly this creation code, in this transaction.

    Then its code is what the release has, and its storage began as the constructor leaves it.

    Args:
        transaction: hash of the one that deployed it, as the manifest names it; empty: it names none.
        creation: see `creation_code`.
        what: what should be there, for the error.

    Raises:
        ConfigError: no transaction is named.
        WrongChain: nothing is there, it is something else, or no node has the transaction any more.
    """
    if not transaction:
        raise ConfigError(
            f"The manifest names no deployment transaction of {what}.",
            "It was founded by an older release, or edited: use the swarm.toml that `swarmp2p found` wrote.",
        )
    await require_contract(rpc, address)
    sent = await _known(rpc, "eth_getTransactionByHash", transaction, what)
    data: Any = sent.get("input", sent.get("data"))
    if sent.get("to") is not None:
        raise WrongChain(
            f"The transaction {to_hex(transaction)} is not the deployment of {what}: it deploys nothing.",
            "The manifest is unsound: do not use it.",
        )
    if not is_data(data) or from_hex(data) != creation:
        raise WrongChain(
            f"What the transaction {to_hex(transaction)} deployed is not {what}: its code or its arguments differ.",
            "It is another contract, or of another release: ask its founders which, and install that.",
        )
    receipt = await _known(rpc, "eth_getTransactionReceipt", transaction, what)
    made: Any = receipt.get("contractAddress")
    if receipt.get("status") != "0x1" or not is_data(made) or from_hex(made) != address:
        raise WrongChain(
            f"The transaction {to_hex(transaction)} deployed {what}, but not at {to_hex(address)}.",
            "The manifest is unsound: do not use it.",
        )


async def _known(rpc: RpcClient, method: str, transaction: bytes, what: str) -> dict[str, Any]:
    """What a node has of a transaction: the first of them that has it."""
    problem = ""
    for _ in rpc.urls:
        try:
            found = await rpc.call(method, to_hex(transaction))
        except NodeError as error:
            problem = f" ({error.message})"
        else:
            if isinstance(found, dict):
                return found
        rpc.pass_over()
    raise WrongChain(
        f"No node has the transaction {to_hex(transaction)} that deployed {what}{problem}: it never was, or is forgotten.",
        "Some nodes forget old transactions: put one that keeps them all under [chain] rpc in swarm.toml.",
    )
