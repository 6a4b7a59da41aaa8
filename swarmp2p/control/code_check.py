"""Whether the code at an address is what this release would deploy there: the look behind an address that a file names."""

from typing import Any

from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import WrongChain
from swarmp2p.core.types import Address

DEPLOYER: Address = bytes.fromhex("5e" * 20)
"""Who deploys in the trial run. Where a contract keeps its deployer, the real one may stand."""

_GAS = 15_000_000


async def check_code(
    rpc: RpcClient, address: Address, creation: bytes, what: str, changing: bytes | None = None
) -> None:
    """Compare the code at an address with what this creation code makes, run by the node without a transaction.

    Args:
        creation: bytecode with the encoded constructor arguments.
        what: what should be there, for the error.
        changing: a constant of the deployed code that depends on the block that deployed it, as the contract tells it
            (a swarm's salt); only there may the two codes differ.

    Raises:
        WrongChain: nothing is there, or something else.
    """
    code = _bytes(await rpc.call("eth_getCode", "0x" + address.hex(), "latest"))
    if not code:
        raise WrongChain(
            f"There is no contract at 0x{address.hex()} on the chain behind {', '.join(rpc.urls)}.",
            "Check the contract's address and the RPC URL; a chain started anew has forgotten its contracts.",
        )
    call = {"from": "0x" + DEPLOYER.hex(), "data": "0x" + creation.hex(), "gas": hex(_GAS)}
    try:
        expected = _bytes(await rpc.call("eth_call", call, "latest"))
    except NodeError as error:
        raise WrongChain(
            f"The node would not deploy {what} with these settings: {error.message}.", "The manifest is unsound."
        ) from None
    if not _same(code, expected, changing):
        raise WrongChain(
            f"The code at 0x{address.hex()} is not that of {what}.",
            "It is another contract, or of another release: ask its founders which, and install that.",
        )


def _same(code: bytes, expected: bytes, changing: bytes | None) -> bool:
    if len(code) != len(expected):
        return False
    found = bytearray(expected)
    places = [(at, DEPLOYER) for at in _places(expected, DEPLOYER)]
    places += [(at, changing) for at in _places(code, changing)] if changing else []
    for at, value in places:
        found[at : at + len(value)] = code[at : at + len(value)]
    return bytes(found) == code


def _places(data: bytes, part: bytes) -> list[int]:
    found, at = [], data.find(part)
    while at >= 0:
        found.append(at)
        at = data.find(part, at + len(part))
    return found


def _bytes(text: Any) -> bytes:
    return bytes.fromhex(str(text)[2:])
