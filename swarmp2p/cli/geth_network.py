"""What `swarmp2p chain --validators` does: a network of geth nodes."""

import json
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import trio
from trio import TaskStatus  # type: ignore[attr-defined,unused-ignore]

from swarmp2p.control.faucet import ENOUGH
from swarmp2p.control.geth import GethNetwork, run_geth
from swarmp2p.core.types import Address
from swarmp2p.failures import unwrapped


def serve_geth(
    home: Path,
    *,
    validators: int,
    rpc_nodes: int,
    chain_id: int | None,
    host: str,
    port: int,
    accounts: Sequence[Address],
    as_json: bool,
) -> None:
    """Run the network, give these accounts money, say where all is, and go on until interrupted or terminated.

    Raises:
        ConfigError, PortInUse, ChainUnreachable, TransactionFailed.
    """

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(_end_when_told, nursery.cancel_scope)
            run = partial(
                run_geth, home, validators=validators, rpc_nodes=rpc_nodes, chain_id=chain_id, host=host, port=port
            )
            network: GethNetwork = await nursery.start(run)
            funded = [address for address in accounts if await network.fund(address)]
            click.echo(_json(network) if as_json else _text(network, home, funded))
            sys.stdout.flush()

    with unwrapped():
        trio.run(serve)


async def _end_when_told(scope: trio.CancelScope, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """By default these signals would end this process alone, and leave the nodes behind."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


def _json(network: GethNetwork) -> str:
    return json.dumps(
        {
            "url": network.urls[0],
            "urls": network.urls,
            "chain_id": network.chain_id,
            "validators": [f"0x{node.signer.hex()}" for node in network.validators if node.signer],
            "purse": str(network.purse_file),
            "purse_address": f"0x{network.purse.address.hex()}",
        }
    )


def _text(network: GethNetwork, home: Path, funded: Sequence[Address]) -> str:
    lines = [f"chain {network.chain_id} of {len(network.validators)} validators, kept in {home}; Ctrl-C ends it"]
    lines += [f"  {node.url}  {node.name}" for node in network.nodes]
    lines += [f"funded 0x{address.hex()} with {ENOUGH // 10**18} ether" for address in funded]
    lines.append(f"No faucet: --fund ADDRESS pays for gas, from the account whose key is in {network.purse_file}.")
    return "\n".join(lines)
