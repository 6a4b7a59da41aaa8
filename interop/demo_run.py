"""Runs the demo as a user does, in a process of its own, and reads what it wrote."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MISSED = 4
"""Exit code of a demo whose kill did not find its step."""
_LATENCY = re.compile(r"p50 ([\d.]+) s, p90 ([\d.]+) s")


@dataclass(frozen=True)
class DemoRun:
    """What one run came to."""

    arguments: tuple[str, ...]
    code: int
    seconds: float
    output: str
    result: dict[str, Any]
    """What --json wrote; empty if it wrote nothing."""

    @property
    def heads(self) -> set[str]:
        """Models that the peers and the contract end with; one, if all is well."""
        return {*self.result["head"].values(), self.result["contract_head"]}

    @property
    def latency(self) -> tuple[float, float] | None:
        """Seconds from the last submitUpdate sent to the last peer's apply, p50 and p90, as printed."""
        found = _LATENCY.search(self.output)
        return None if found is None else (float(found[1]), float(found[2]))

    def complaint(self) -> str:
        """The run's own words, for a message of failure."""
        return f"demo {' '.join(self.arguments)}: exit {self.code}\n{self.output[-2000:]}"


def run_demo(*arguments: str, limit: float = 600.0) -> DemoRun:
    """Run it; `limit` is in seconds, and a run that needs longer is ended and counts as failed with code 124."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        written = Path(folder) / "result.json"
        command = [sys.executable, "-m", "examples.digits", *arguments, "--json", str(written)]
        environment = os.environ | {"COLUMNS": "200"}  # rich breaks lines at the terminal's width
        started = time.monotonic()
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                output, code = process.communicate(timeout=limit)[0], process.returncode
            except subprocess.TimeoutExpired:
                process.terminate()
                output, code = process.communicate()[0] + f"\nended after {limit:.0f} s", 124
        result = json.loads(written.read_text()) if written.exists() else {}
        return DemoRun(arguments, code, time.monotonic() - started, output, result)
