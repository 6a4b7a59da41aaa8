"""`swarmp2p chain`: the embedded chain, or a network of geth nodes."""

import json
import sys
from pathlib import Path

import click
import trio

from swarmp2p.cli.options import AddressType, json_option
from swarmp2p.core.errors import ConfigError
from swarmp2p.core.types import Address


@click.command("chain")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8545, show_default=True, help="0 takes a free one.")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("chain"),
    show_default=True,
    help="Folder in which the chain is kept over restarts.",
)
@click.option("--chain-id", type=click.IntRange(1), default=None, help="Id of a new chain.")
@click.option("--validators", type=click.IntRange(1), default=None, help="Run so many geth nodes instead (4, say).")
@click.option(
    "--rpc-nodes", type=click.IntRange(0), default=0, help="Beside validators: geth nodes that make no blocks."
)
@click.option(
    "--fund",
    "accounts",
    type=AddressType(),
    multiple=True,
    help="With --validators: an account to give money for gas. May be repeated.",
)
@json_option
def command(
    host: str,
    port: int,
    home: Path,
    chain_id: int | None,
    validators: int | None,
    rpc_nodes: int,
    accounts: tuple[Address, ...],
    as_json: bool,
) -> None:
    """Run an Ethereum chain, for trying out and for tests. It speaks JSON-RPC and keeps its state in HOME.

    Without --validators it is one process that mines each transaction at once, and gives play money to whoever asks. It
    is a single point of failure: a swarm that matters runs on a chain of several validators.

    With --validators it is a network of geth nodes on this machine, which make a block each second in turn (Clique) as
    long as more than half of them run. The nodes listen on PORT and those after it, the --rpc-nodes first. There is no
    faucet: say with --fund who needs money. It needs geth 1.13, which tools/geth builds in a checkout.
    """
    if validators is not None:
        from swarmp2p.cli.geth_network import serve_geth

        serve_geth(
            home, validators=validators, rpc_nodes=rpc_nodes, chain_id=chain_id, host=host, port=port,
            accounts=accounts, as_json=as_json,
        )  # fmt: skip
    elif rpc_nodes or accounts:
        raise click.UsageError("--rpc-nodes and --fund go with --validators.")
    else:
        _serve_embedded(host, port, home, chain_id, as_json)


def _serve_embedded(host: str, port: int, home: Path, chain_id: int | None, as_json: bool) -> None:
    try:
        from swarmp2p.control.chain.server import DEFAULT_CHAIN_ID, serve_chain
    except ImportError as error:
        raise ConfigError(
            f"The embedded chain needs a package that is not installed: {error.name}.",
            "Install it with: pip install 'swarmp2p[chain]'.",
        ) from None

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(
                lambda task_status: serve_chain(
                    host, port, home, chain_id=chain_id or DEFAULT_CHAIN_ID, task_status=task_status
                )
            )
            if as_json:
                click.echo(json.dumps({"url": endpoint.url, "chain_id": endpoint.chain_id}))
            else:
                click.echo(f"chain {endpoint.chain_id} at {endpoint.url}, kept in {home}; Ctrl-C ends it")
            sys.stdout.flush()

    from swarmp2p.failures import unwrapped

    with unwrapped():
        trio.run(serve)
