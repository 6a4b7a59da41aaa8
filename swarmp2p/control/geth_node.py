"""One geth of a network, as a process of ours."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import trio
from trio import TaskStatus  # type: ignore[attr-defined,unused-ignore]

from swarmp2p.control.geth_folder import NetworkFolder, NodeFolder
from swarmp2p.control.processes import last_words, stop
from swarmp2p.control.rpc import Json, RpcClient
from swarmp2p.core.errors import ChainUnreachable
from swarmp2p.core.types import Address

_START_TIMEOUT = 60.0
_IPC_TIMEOUT = 10.0
_POLL = 0.1
_CACHE = "64"
"""MB; geth's default is meant for the main network."""
_HASHED = "--state.scheme=hash"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node listens: HTTP for users, TCP for its peers, a socket file for us."""

    host: str
    http_port: int
    peer_port: int
    socket: Path


class GethNode:
    """A node that can be killed and started again, on its old data and ports.

    Attributes:
        name: of its folder, e.g. validator-1.
        url: its JSON-RPC endpoint, the same over restarts.
        signer: the account that signs its blocks; None: it makes none.
        enode: its address for other nodes.
    """

    def __init__(self, binary: Path, network: NetworkFolder, folder: NodeFolder, place: Place) -> None:
        self._binary = binary
        self._network = network
        self._folder = folder
        self._place = place
        self._process: trio.Process | None = None
        self._ended = trio.Event()
        self._killed = False
        self.name = folder.path.name
        self.signer: Address | None = folder.signer
        self.url = f"http://{place.host}:{place.http_port}"
        self.enode = folder.enode(place.peer_port)

    @property
    def pid(self) -> int | None:
        """Its process; None while there is none."""
        return None if self._process is None else self._process.pid

    async def init(self) -> None:
        """Give it the genesis; changes nothing when it has it already.

        Raises:
            ChainUnreachable: geth does not take it.
        """
        command = [str(self._binary), "init", "--datadir", str(self._folder.data), _HASHED, str(self._network.genesis)]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-1000:].decode("utf-8", "replace").strip()
            raise ChainUnreachable(f"{self.name} does not take the genesis: {said or 'no output'}", _LOOK_FOR_ANOTHER)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run it until it is killed, or cancelled; started once it answers.

        Raises:
            ChainUnreachable: it does not start, or ends by itself.
        """
        self._ended, self._killed = trio.Event(), False
        with self._folder.log.open("ab") as log:
            # A session of its own: Ctrl-C is for us, who then end the nodes.
            process = await trio.lowlevel.open_process(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._process = process
        try:
            await self._wait_until_it_answers(process)
            task_status.started()
            await process.wait()
            if not self._killed:
                said = last_words(self._folder.log)
                raise ChainUnreachable(f"{self.name} has ended by itself: {said}", "Start the network again.")
        finally:
            with trio.CancelScope(shield=True):
                await stop(process)
            self._process = None
            self._ended.set()

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None:
            self._killed = True
            self._process.kill()
            await self._ended.wait()

    async def ask(self, method: str, *params: Json) -> Json:
        """A request over its socket file, where it also offers what must not be had over HTTP: peers, mining.

        Raises:
            ChainUnreachable: it does not answer, or with an error.
        """
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = bytearray()
        try:
            with trio.fail_after(_IPC_TIMEOUT):
                async with await trio.open_unix_socket(str(self._place.socket)) as stream:
                    await stream.send_all(json.dumps(request).encode() + b"\n")
                    while not answer.endswith(b"\n") and (chunk := await stream.receive_some()):
                        answer += chunk
            return json.loads(answer)["result"]
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, ValueError, KeyError) as error:
            said = bytes(answer[:500]).decode("utf-8", "replace").strip() or str(error)
            raise ChainUnreachable(f"{self.name} refuses {method}: {said}.", f"See {self._folder.log}.") from None

    async def _wait_until_it_answers(self, process: trio.Process) -> None:
        async with RpcClient([self.url], chain_id=self._network.chain_id, timeout=2.0) as rpc:
            with trio.move_on_after(_START_TIMEOUT):
                while process.poll() is None:
                    try:
                        await rpc.block_number()
                        return
                    except ChainUnreachable:
                        await trio.sleep(_POLL)
        raise ChainUnreachable(f"{self.name} does not start: {last_words(self._folder.log)}", _LOOK_FOR_ANOTHER)

    def _command(self) -> list[str]:
        folder, place = self._folder, self._place
        command = [
            str(self._binary), "--datadir", str(folder.data), "--networkid", str(self._network.chain_id),
            "--nodekey", str(folder.node_key), "--port", str(place.peer_port), "--nodiscover", "--nat", "none",
            "--netrestrict", "127.0.0.0/8", "--ipcpath", str(place.socket),
            "--http", "--http.addr", place.host, "--http.port", str(place.http_port), "--http.api", "eth,net,web3",
            # The endpoint for consensus clients: nobody needs it, but it would take port 8551 in every node.
            "--authrpc.port", "0",
            # Every block's state is on disk at once, so a killed node has lost nothing.
            "--syncmode", "full", "--gcmode", "archive", "--snapshot=false", _HASHED, "--history.transactions", "0",
            # Tips from 1 wei on are taken; the default is 1 gwei. It is also the tip that a node recommends.
            "--miner.gasprice", "1",
            "--cache", _CACHE, "--verbosity", "2",
        ]  # fmt: skip
        if folder.signer is not None:
            signer = f"0x{folder.signer.hex()}"
            command += [
                "--keystore", str(folder.keystore), "--password", str(self._network.password), "--unlock", signer,
                "--miner.etherbase", signer,
                # geth does not unlock beside HTTP otherwise. Who can reach the port can spend what the signer has: tips.
                "--allow-insecure-unlock",
            ]  # fmt: skip
        return command


_LOOK_FOR_ANOTHER = "Look whether another geth runs in the same folder; else see its log there."
