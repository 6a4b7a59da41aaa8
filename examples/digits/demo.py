"""Runs the demo: a chain, peers as processes, a display, and the table at the end."""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trio

from examples.digits.display import Display
from examples.digits.options import KILL_ROUND, Options, parse
from examples.digits.record import Peer, Record
from examples.digits.report import print_report, summary
from examples.digits.setup import Stage, chain, prepare
from swarmp2p.content.unixfs import cid
from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.errors import SwarmError
from swarmp2p.failures import unwrapped

FAILED, HEADS_DIFFER, MISSED = 1, 3, 4
"""Exit codes: something broke; peers hold different models; the kill did not find its step."""
PATIENCE = 240.0
"""Seconds without any progress after which the demo gives up."""


class Demo:
    """One run."""

    def __init__(self, options: Options, stage: Stage, display: Display) -> None:
        self._options = options
        self._stage = stage
        self._display = display
        self.record = Record([Peer() for _ in range(options.peers)])
        self._progress = trio.current_time()
        self._restarting = False

    async def run(self) -> dict[str, Any]:
        """Until every peer has stopped; returns alone and central accuracy."""
        order = list(range(self._options.peers))
        random.Random(self._options.seed).shuffle(order)
        baseline: dict[str, Any] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watchdog, nursery.cancel_scope)
            nursery.start_soon(self._baseline, baseline)
            async with trio.open_nursery() as peers:
                for index in order:
                    peers.start_soon(self._peer, index, self._stage.configs[index])
                    await trio.sleep(random.Random(index).random() * 0.2)
            while not baseline and not nursery.cancel_scope.cancel_called:
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        if not baseline:
            raise SwarmError(
                "The demo came to no end.", "; ".join(self.record.trouble) or "Run it again with --folder."
            )
        return baseline

    async def _watchdog(self, scope: trio.CancelScope) -> None:
        while trio.current_time() - self._progress < PATIENCE:
            await trio.sleep(1.0)
        self.record.trouble.append(f"nothing has happened for {PATIENCE:.0f} s")
        scope.cancel()

    async def _baseline(self, result: dict[str, Any]) -> None:
        o = self._options
        if o.swarm_only:
            result.update(alone=[], central=None)
            return
        arguments = map(str, (o.peers, o.rounds, o.hidden, o.seed))
        command = [sys.executable, "-m", "examples.digits.baseline", *arguments]
        done = await trio.run_process(command, capture_stdout=True)
        result.update(json.loads(done.stdout))

    async def _peer(self, index: int, config: Path) -> None:
        log = (self._stage.folder / f"peer{index}.log").open("ab")
        with log:
            await self._process(index, config, log)
        if self.record.peers[index].state == "killed" and not self._restarting:
            self._restarting = True
            while self.record.phase != "stopped" and max(self.record.rounds) < KILL_ROUND + 2:
                await trio.sleep(0.02)
            self.record.peers[index].state = "restarting"
            await self._peer(index, self._stage.restart_config(index))
        elif not self.record.peers[index].stopped:
            tail = (self._stage.folder / f"peer{index}.log").read_text(errors="replace").strip().splitlines()[-3:]
            raise SwarmError(f"Peer {index} ended too early.", " ".join([*self.record.trouble, *tail]))

    async def _process(self, index: int, config: Path, log: Any) -> None:
        command = [sys.executable, "-m", "examples.digits.node", str(config)]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=log)
        try:
            buffer = b""
            assert process.stdout is not None
            async for piece in process.stdout:
                *lines, buffer = (buffer + piece).split(b"\n")
                for line in lines:
                    log.write(line + b"\n")
                    self._hear(index, line)
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    def _hear(self, index: int, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return
        self._progress = trio.current_time()
        self.record.take(index, said)
        self._display.show(self.record)


async def contract_state(stage: Stage) -> tuple[str, int]:
    """(the contract's head, transactions of all members)."""
    manifest = stage.manifest
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        view = await SwarmContract(rpc, manifest.contract, stage.keys[0].secret).state()
        counts = [
            int(await rpc.call("eth_getTransactionCount", f"0x{k.address.hex()}", "latest"), 16) for k in stage.keys
        ]
    return str(cid(view.head, manifest.size)), sum(counts)


async def run(options: Options) -> int:
    """The whole demo; returns the exit code."""
    with ExitStack() as stack, unwrapped():
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="digits-")))
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        async with chain(options, folder) as url:
            stage = await prepare(options, folder, url)
            with Display(options) as display:
                display.know([f"0x{key.address.hex()}" for key in stage.keys])
                demo = Demo(options, stage, display)
                baseline = await demo.run()
            head, transactions = await contract_state(stage)
        result = summary(options, stage, demo.record, baseline, head, transactions)
        print_report(options, result, demo.record, time.monotonic() - started)
        if options.json is not None:
            options.json.write_text(json.dumps(result, indent=1) + "\n")
        return verdict(options, result)


def verdict(options: Options, result: dict[str, Any]) -> int:
    """The exit code, and why."""
    heads = set(result["head"].values()) | {result["contract_head"]}
    if len(heads) != 1:
        print("The peers hold different models.", file=sys.stderr)
        return HEADS_DIFFER
    if options.kill and result["killed"] is None:
        print(
            f"No {options.kill} came to the step {options.at} of round {KILL_ROUND}: nothing was killed.",
            file=sys.stderr,
        )
        return MISSED
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    work: Callable[[Options], Awaitable[int]] = run
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # either way no process is left behind
    try:
        return trio.run(work, options)
    except SwarmError as error:
        print(f"Error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
