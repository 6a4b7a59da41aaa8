"""A swarm of several organisations as they run it: each a home, a manifest of its own, a process, the command line."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

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

    @classmethod
    def make(cls, folder: Path) -> Self:
        """With a new key."""
        folder.mkdir(parents=True)
        made = json.loads(swarmp2p("key", "new", "--home", folder / "home", "--json"))
        return cls(folder, made["address"])

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

    def start(self, learner: str, datum: float) -> None:
        """Run its peer in a process of its own."""
        command = [
            sys.executable, "-m", "swarmp2p", "run", str(self.manifest), learner, "--home", str(self.home), "--listen",
            LISTEN, "--json",
        ]  # fmt: skip
        environment = os.environ | {"DATUM": str(datum)}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for stream, lines in ((self.process.stdout, self._heard), (self.process.stderr, self.errors.append)):
            threading.Thread(target=lambda stream=stream, lines=lines: [lines(line) for line in stream]).start()

    def _heard(self, line: str) -> None:
        self.said.append(json.loads(line))

    def wait(self, limit: float) -> int:
        """Its exit code."""
        assert self.process is not None
        return self.process.wait(limit)

    def stop(self) -> None:
        """End it, however it is."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def last(self, kind: str) -> dict[str, Any] | None:
        """The last line of this kind that it said."""
        return next((line for line in reversed(self.said) if line["kind"] == kind), None)


def until(condition: Any, limit: float, what: str) -> None:
    """Wait for a condition that other processes bring about."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit:.0f} s: {what}"
        time.sleep(0.1)
