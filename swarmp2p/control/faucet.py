"""Money for gas on test chains: the embedded chain's faucet, and anvil's cheat call. Real chains have neither."""

from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import TransactionFailed
from swarmp2p.core.types import Address

ENOUGH = 10 * 10**18
"""Wei that an account is filled up to; play money."""


async def fund(rpc: RpcClient, address: Address) -> bool:
    """Fill an account up on a test chain. Returns False if the chain's gas is free or the account has enough already.

    Raises:
        TransactionFailed: the chain has no faucet (it is a real one) and the account has nothing.
    """
    account = "0x" + address.hex()
    balance = int(await rpc.call("eth_getBalance", account, "latest"), 16)
    if balance >= ENOUGH // 2:
        return False
    try:
        await rpc.call("swarm_faucet", account)
    except NodeError:
        pass
    else:
        return True
    try:
        await rpc.call("anvil_setBalance", account, hex(ENOUGH))
    except NodeError:
        pass
    else:
        return True
    if balance > 0 or int(await rpc.call("eth_gasPrice"), 16) == 0:
        return False
    raise TransactionFailed(
        f"The account {account} has no money for gas, and this chain has no faucet.",
        "Send it a little from an account that has some.",
        error="InsufficientFunds",
    )
