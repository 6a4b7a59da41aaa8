"""Processes that tell what they do in JSON lines, and wait for a line to go on."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

PATIENCE = 600
"""Seconds without which nothing that is waited for may take."""


class Processes:
    """Named processes that run the same program, and what they have told since the last `forget`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ready: dict[str, int] = {}
        self._told: dict[str, list[dict[str, Any]]] = {}
        self._dead: list[str] = []
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []

    def start(self, name: str, command: list[str]) -> None:
        """Run a program; it tells on its standard output, and shows the rest on ours for errors."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ready[name], self._told[name], self._processes[name] = 0, [], process
        reader = threading.Thread(target=self._read, args=(name, process), daemon=True)
        self._readers.append(reader)
        reader.start()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes.values()]

    def _read(self, name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            with self._changed:
                self._ready[name] = said.get("ready", self._ready[name])
                self._told[name].append(said)
                self._changed.notify_all()
        with self._changed:
            self._dead.append(f"{name} (exit code {process.wait()})")
            self._changed.notify_all()

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        """Until it is done; ends the benchmark when a process ends or nothing comes."""
        with self._changed:
            if not self._changed.wait_for(lambda: done() or bool(self._dead), timeout=PATIENCE) or self._dead:
                raise SystemExit(f"{what}: {', '.join(self._dead) or 'nobody'} ended early")

    def wait_until_ready(self, number: int) -> None:
        """Until all wait for the line that begins this round, counted from 1."""
        self.wait(f"before round {number}", lambda: all(ready >= number for ready in self._ready.values()))

    def wait_for(self, what: str, names: Iterable[str], **fields: Any) -> None:
        """Until each of these has told something with these fields."""
        names = list(names)
        self.wait(what, lambda: all(self.first(name, **fields) is not None for name in names))

    def first(self, name: str, **fields: Any) -> dict[str, Any] | None:
        """The first that a process has told with these fields."""
        with self._changed:
            for said in self._told[name]:
                if fields.items() <= said.items():
                    return said
        return None

    def told_any(self, name: str) -> bool:
        return bool(self.told()[name])

    def told(self) -> Mapping[str, list[dict[str, Any]]]:
        """All that was told, by name."""
        with self._changed:
            return {name: list(said) for name, said in self._told.items()}

    def go(self, line: str = "") -> float:
        """Forget what was told, and let all go on at once with this line; gives the time of it on the monotonic clock."""
        with self._changed:
            for said in self._told.values():
                said.clear()
        start = time.monotonic()
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.write(line + "\n")
            process.stdin.flush()
        return start

    def close(self) -> None:
        """End the processes and what they have started."""
        for pid in descendants(self.pids) - set(self.pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes.values():
            process.kill()
        for reader in self._readers:
            reader.join()
        for process in self._processes.values():
            with process:
                pass  # closes its pipes


def descendants(pids: Iterable[int]) -> set[int]:
    """These processes, their children, and so on."""
    parents = {pid: parent for pid, (parent, _) in _table().items()}
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """What these and their descendants have computed so far, those that have ended and were waited for included."""
    table = _table()
    return sum(table[pid][1] for pid in descendants(pids) if pid in table)


class Bystanders:
    """What programs other than this one and its descendants compute, from when this is made: figures are worth less then."""

    def __init__(self) -> None:
        self._start, self._before = time.monotonic(), self._seconds()

    def share(self) -> float:
        """Of one core, until now; descendants that have ended must have been waited for."""
        return max(0.0, self._seconds() - self._before) / (time.monotonic() - self._start)

    def _seconds(self) -> float:
        user, nice, system, _, _, irq, softirq, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
        return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK") - cpu_seconds([os.getpid()])


def wait_until_quiet(pids: Iterable[int], share: float = 0.2, patience: float = 10.0) -> None:
    """Until these compute less than that share of a core for a quarter of a second."""
    pids, end = list(pids), time.monotonic() + patience
    before, then = cpu_seconds(pids), time.monotonic()
    while time.monotonic() < end:
        time.sleep(0.25)
        now, at = cpu_seconds(pids), time.monotonic()
        if now - before < share * (at - then):
            return
        before, then = now, at


def _table() -> dict[int, tuple[int, float]]:
    """Parent and computed seconds of every process."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            found[int(folder.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / tick)
    return found
