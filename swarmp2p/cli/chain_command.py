"""`swarmp2p chain`: the embedded chain."""

import json
import sys
from pathlib import Path

import click
import trio

from swarmp2p.cli.options import json_option
from swarmp2p.core.errors import ConfigError


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
@json_option
def command(host: str, port: int, home: Path, chain_id: int | None, as_json: bool) -> None:
    """Run an Ethereum chain of one process, for trying out and for tests.

    It speaks JSON-RPC like any node, mines each transaction at once, keeps its state in HOME, and gives play money to
    whoever asks. It is a single point of failure: a swarm that matters runs on a chain of several validators.
    """
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

    from swarmp2p.peer.failures import unwrapped

    with unwrapped():
        trio.run(serve)
