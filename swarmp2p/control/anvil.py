"""A local anvil (Foundry's node) as a process of ours: another chain for trying out and tests. It keeps no state."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import trio
from trio import TaskStatus  # type: ignore[attr-defined,unused-ignore]

from swarmp2p.control.chain.endpoint import ChainEndpoint
from swarmp2p.control.processes import stop
from swarmp2p.core.errors import ChainUnreachable, ConfigError, PortInUse

ANVIL_CHAIN_ID = 31337
BLOCK_TIME = 0.25
"""Seconds. Mining at each transaction alone stalls under bursts (foundry issue 10122) until another block is made; with
an interval besides, that is soon."""
_START_TIMEOUT = 20.0
_LISTENING = re.compile(rb"Listening on \S+?:(\d+)")
_PACKAGED = "contracts/node_modules/@foundry-rs/anvil-*/bin/anvil"


def find_anvil(binary: str | os.PathLike[str] | None = None) -> Path:
    """The anvil to run: the one given, one on the PATH, or the one of this checkout's `contracts/node_modules`.

    Raises:
        ConfigError: there is none.
    """
    if binary is not None:
        found = shutil.which(binary)
        if found is None:
            raise ConfigError(f"{os.fspath(binary)} cannot be run.", "Give the path of an anvil binary.")
        return Path(found)
    checkout = Path(__file__).parent.parent.parent
    candidates = [shutil.which("anvil"), *sorted(checkout.glob(_PACKAGED))]
    for candidate in candidates:
        if candidate is not None and os.access(candidate, os.X_OK):
            return Path(candidate)
    raise ConfigError("There is no anvil.", "Run `npm ci` in contracts/, or put anvil on the PATH.")


async def run_anvil(
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    chain_id: int = ANVIL_CHAIN_ID,
    block_time: float | None = BLOCK_TIME,
    free_gas: bool = False,
    binary: str | os.PathLike[str] | None = None,
    task_status: TaskStatus[ChainEndpoint] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run anvil until cancelled, with London rules and no developer accounts (`faucet.fund` gives money).

    Args:
        port: 0 takes a free one.
        block_time: seconds between blocks; a transaction makes one at once besides. None: there are no empty blocks.
        free_gas: accounts need no money.
        task_status: started with a ChainEndpoint once it listens.

    Raises:
        PortInUse, ConfigError: see the message. ChainUnreachable: it does not start, or ends by itself.
    """
    command = [
        str(find_anvil(binary)), "--host", host, "--port", str(port), "--chain-id", str(chain_id),
        "--hardfork", "london", "--accounts", "1", "--order", "fifo",
    ]  # fmt: skip
    if block_time is not None:
        command += ["--mixed-mining", "--block-time", str(block_time)]
    if free_gas:
        command += ["--block-base-fee-per-gas", "0", "--gas-price", "0"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = bytearray()
    try:
        assert process.stdout is not None
        bound = await _wait_until_listening(process, process.stdout, output, port)
        task_status.started(ChainEndpoint(f"http://{host}:{bound}", chain_id))
        # Its output must be read, or it blocks when the pipe is full.
        async for _ in process.stdout:
            pass
        raise ChainUnreachable("anvil has ended by itself.", "Start it again; its chain is gone.")
    finally:
        with trio.CancelScope(shield=True):
            await stop(process)


async def _wait_until_listening(
    process: trio.Process, stdout: trio.abc.ReceiveStream, output: bytearray, port: int
) -> int:
    with trio.move_on_after(_START_TIMEOUT):
        while (match := _LISTENING.search(output)) is None:
            chunk = await stdout.receive_some(65_536)
            if not chunk:
                break
            output += chunk
        else:
            return int(match[1])
    said = bytes(output[-500:]).decode("utf-8", "replace").strip()
    if "in use" in said.lower():
        raise PortInUse(f"anvil cannot listen on port {port}: it is taken.", "Give another port (0 takes a free one).")
    raise ChainUnreachable(f"anvil does not start: {said or 'no output'}", "Run it by hand to see why.")
