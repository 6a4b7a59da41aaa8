"""Money for gas on test chains: the embedded chain's faucet, anvil's cheat call, or a purse that somebody holds."""

import trio
from eth_utils.address import to_checksum_address

from swarmp2p.control.fees import FeeOracle
from swarmp2p.control.rpc import NodeError, RpcClient
from swarmp2p.core.errors import TransactionFailed
from swarmp2p.core.types import Address
from swarmp2p.identity import Key

ENOUGH = 10 * 10**18
"""Wei that an account is filled up to; play money."""
_TRANSFER_GAS = 21_000
_TRANSFER_TIMEOUT = 60.0


async def fund(rpc: RpcClient, address: Address, purse: Key | None = None) -> bool:
    """Fill an account up on a test chain. Returns False if the chain's gas is free or the account has enough already.

    Args:
        purse: an account that pays where the chain has no faucet, one transfer at a time.

    Raises:
        TransactionFailed: the chain has no faucet (it is a real one), the account has nothing, and there is no purse
            or it has not enough either.
    """
    account = "0x" + address.hex()
    balance = int(await rpc.call("eth_getBalance", account, "latest"), 16)
    if balance >= ENOUGH // 2:
        return False
    for method, params in (("swarm_faucet", (account,)), ("anvil_setBalance", (account, hex(ENOUGH)))):
        try:
            await rpc.call(method, *params)
        except NodeError:
            continue
        return True
    if purse is not None:
        await transfer(rpc, purse, address, ENOUGH - balance)
        return True
    if balance > 0 or int(await rpc.call("eth_gasPrice"), 16) == 0:
        return False
    raise TransactionFailed(
        f"The account {account} has no money for gas, and this chain has no faucet.",
        "Send it a little from an account that has some; `swarmp2p chain --validators` does so with --fund.",
        error="InsufficientFunds",
    )


async def transfer(rpc: RpcClient, payer: Key, to: Address, wei: int) -> None:
    """Send money, and wait until it is there. One at a time from an account: they would take each other's nonces.

    Raises:
        TransactionFailed: the payer has not enough, or no block takes it in a minute.
    """
    from eth_account import Account  # 0.3 s to import, and faucets are asked more often

    fees = await FeeOracle(rpc, payer.address).fees()
    nonce = int(await rpc.call("eth_getTransactionCount", "0x" + payer.address.hex(), "pending"), 16)
    chain_id = rpc.chain_id or int(await rpc.call("eth_chainId"), 16)
    signed = Account.from_key(payer.secret).sign_transaction(
        {"chainId": chain_id, "nonce": nonce, "to": to_checksum_address(to), "value": wei, "gas": _TRANSFER_GAS}
        | fees.fields()
    )
    try:
        hash_ = await rpc.call("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    except NodeError as error:
        raise TransactionFailed(
            f"0x{payer.address.hex()} cannot pay 0x{to.hex()}: {error.message}.", error=error.message
        ) from None
    block = await rpc.block_number()
    with trio.move_on_after(_TRANSFER_TIMEOUT):
        while await rpc.call("eth_getTransactionReceipt", hash_) is None:
            block = await rpc.wait_for_block(block, 1.0)
        return
    raise TransactionFailed(
        f"A transfer to 0x{to.hex()} is in no block after {_TRANSFER_TIMEOUT:.0f} s.",
        "Check that the chain makes blocks.",
        error="NotMined",
    )
