"""A real Kubo for the suites: closed, so that it talks to nobody that it is not told to connect to."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

IPFS = Path(__file__).resolve().parents[1] / ".tools" / "bin" / "ipfs"

needs_kubo = pytest.mark.skipif(not IPFS.exists(), reason="Kubo is not built: run tools/kubo")

READY = "Daemon is ready"
SETTINGS = {
    "Bootstrap": [],
    "Routing.Type": "none",
    "Discovery.MDNS.Enabled": False,
    "AutoTLS.Enabled": False,
    "AutoConf.Enabled": False,
    "Addresses.API": "/ip4/127.0.0.1/tcp/0",
    "Addresses.Gateway": "/ip4/127.0.0.1/tcp/0",
    "Addresses.Swarm": ["/ip4/127.0.0.1/tcp/0"],
}
"""Without these it would dial public nodes, or fetch lists of them."""


class KuboNode:
    """One node: its repository, and its daemon while that runs.

    Args:
        repo: a new folder.
    """

    def __init__(self, repo: Path) -> None:
        self.repo = repo
        self._daemon: subprocess.Popen[str] | None = None
        self("init", "--profile=test", "--empty-repo")
        for name, value in SETTINGS.items():
            self.configure(name, value)

    def __call__(self, *arguments: str | Path, data: bytes = b"", limit: float = 120.0) -> str:
        """What an `ipfs` command prints; AssertionError, with what it said, when it fails."""
        return self.raw(*arguments, data=data, limit=limit).decode().strip()

    def raw(self, *arguments: str | Path, data: bytes = b"", limit: float = 120.0) -> bytes:
        """The same, as bytes."""
        done = subprocess.run(
            [IPFS, *map(str, arguments)],
            input=data,
            capture_output=True,
            env=self._environment,
            timeout=limit,
            check=False,
        )
        assert done.returncode == 0, f"ipfs {' '.join(map(str, arguments))}: {done.stderr.decode()}"
        return done.stdout

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {"IPFS_PATH": str(self.repo), "IPFS_TELEMETRY": "off"}

    def configure(self, name: str, value: object) -> None:
        """Set a value of its config."""
        self("config", "--json", name, json.dumps(value))

    @property
    def api(self) -> str:
        """Multiaddr of its RPC API; the same after a restart."""
        return (self.repo / "api").read_text().strip()

    @property
    def peer_id(self) -> str:
        """Its PeerID."""
        return self("config", "Identity.PeerID")

    @property
    def multiaddr(self) -> str:
        """Where it listens for other nodes."""
        (address, *_) = (line for line in self("swarm", "addrs", "local", "--id").splitlines() if "/tcp/" in line)
        return address

    def start(self) -> None:
        """Run the daemon; it is ready on return."""
        self._daemon = subprocess.Popen(
            [IPFS, "daemon"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self._daemon.stdout is not None
        said = []
        for line in self._daemon.stdout:
            said.append(line)
            if READY in line:
                break
        else:
            raise AssertionError(f"Kubo did not start: {''.join(said)}")
        # The port that it took is its own from now on.
        self.configure("Addresses.API", self.api)
        self.configure("Addresses.Swarm", [self.multiaddr.partition("/p2p/")[0]])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon, by this signal."""
        if self._daemon is not None:
            self._daemon.send_signal(number)
            assert self._daemon.stdout is not None
            with self._daemon.stdout:
                self._daemon.stdout.read()
            self._daemon.wait(30)
            self._daemon = None

    def kill(self) -> None:
        """End it without a farewell, as a crash would."""
        self.stop(signal.SIGKILL)


@contextmanager
def kubo_node(repo: Path) -> Iterator[KuboNode]:
    """A running node, ended with the block."""
    node = KuboNode(repo)
    node.start()
    try:
        yield node
    finally:
        node.stop()
