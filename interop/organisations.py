"""A swarm of several organisations as they run it: each a home, a manifest of its own, a process, the command line."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

LISTEN = "/ip4/127.0.0.1/tcp/0"


def swarmp2p(*arguments: str | Path, limit: float = 120.0) -> str:
    """Run a command to its end; its output. A failure is an AssertionError with what it said."""
    command = [sys.executable, "-m", "swarmp2p", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    assert done.returncode == 0, f"swarmp2p {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}"
    return done.stdout


@dataclass
class Organisation:
    """One member: its folder has its home and its own copy of the manifest."""

    folder: Path
    address: str
    process: subprocess.Popen[str] | None = None
    said: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _readers: list[threading.Thread] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path) -> Self:
        """With a new key."""
        folder.mkdir(parents=True)
        made = json.loads(swarmp2p("key", "new", "--home", folder / "home", "--json"))
        return cls(folder, made["address"])

    @property
    def account(self) -> bytes:
        """Its address, 20 bytes."""
        return bytes.fromhex(self.address[2:])

    @property
    def home(self) -> Path:
        """Key, journal, content, papers."""
        return self.folder / "home"

    @property
    def manifest(self) -> Path:
        """Its own swarm.toml."""
        return self.folder / "swarm.toml"

    def take_manifest(self, text: str, rpc: Sequence[str]) -> None:
        """Keep the founded manifest, with the nodes of its own choice."""
        lines = [f"rpc = {json.dumps(list(rpc))}" if line.startswith("rpc = ") else line for line in text.splitlines()]
        self.manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(self, learner: str, datum: float, *options: str | Path) -> None:
        """Run its peer in a process of its own; with further options of `swarmp2p run`."""
        command = [
            sys.executable, "-m", "swarmp2p", "run", str(self.manifest), learner, "--home", str(self.home), "--listen",
            LISTEN, "--json", *map(str, options),
        ]  # fmt: skip
        environment = os.environ | {"DATUM": str(datum)}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        for stream, take in ((self.process.stdout, self._heard), (self.process.stderr, self.errors.append)):
            reader = threading.Thread(target=_read, args=(stream, take))
            reader.start()
            self._readers.append(reader)

    def _heard(self, line: str) -> None:
        self.said.append(json.loads(line))

    def must_live(self) -> None:
        """Raise AssertionError with what it said if its process has ended."""
        code = None if self.process is None else self.process.poll()
        assert code is None, f"{self.address} ended with {code}: {''.join(self.errors)}"

    def wait(self, limit: float) -> int:
        """Its exit code."""
        assert self.process is not None
        code = self.process.wait(limit)
        for reader in self._readers:
            reader.join()
        return code

    def stop(self) -> None:
        """End it, however it is."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self.process is not None:
            self.wait(15)

    def last(self, kind: str) -> dict[str, Any] | None:
        """The last line of this kind that it said."""
        return next((line for line in reversed(self.said) if line["kind"] == kind), None)


def _read(stream: IO[str], take: Callable[[str], object]) -> None:
    with stream:
        for line in stream:
            take(line)
