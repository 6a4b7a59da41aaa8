"""The guide docs/found-a-swarm.md is followed as it is written, with bash, by readers at five terminals.

The words after a fence's language say where a block belongs; a comment in the guide lists them.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

import pytest

from swarmp2p.ports import free_ports

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "found-a-swarm.md"
HOSPITALS = ("a", "b", "c", "d")
SUPPLY, STAKE = 1_000_000, 500
LIMIT = 120.0
"""Seconds that any one block may take."""
PORT = "8545"
"""The one thing that is not as in the guide: another program may have that port."""

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


Shown: TypeAlias = Callable[[], list[str]]
"""The lines that a block has shown until now."""


@dataclass(frozen=True)
class Block:
    """A fenced block of the guide."""

    line: int
    language: str
    words: tuple[str, ...]
    body: str

    @property
    def file(self) -> str | None:
        """Name of the file that it is to be written to."""
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)

    @property
    def terminals(self) -> list[str]:
        """Where it is typed."""
        return [word for word in self.words if word in (*HOSPITALS, "you", "chain")]


def blocks() -> list[Block]:
    """All of them, in their order."""
    text = GUIDE.read_text()
    return [
        Block(text.count("\n", 0, found.start()) + 1, found[1], tuple(found[2].split()), found[3])
        for found in FENCE.finditer(text)
    ]


@dataclass
class Terminal:
    """A bash; what is typed and how it went goes through its pipes. Everything that it said is kept."""

    folder: Path
    environment: dict[str, str]
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bash = subprocess.Popen(
            ["bash", "--norc", "-eo", "pipefail"], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._new = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(self.bash.stdout,))
        self._reader.start()
        self._typed = 0
        self._ended = False

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._new:
                    self.said.append(line.rstrip("\n"))
                    self._new.notify_all()
        with self._new:
            self._ended = True
            self._new.notify_all()

    def type(self, text: str) -> list[str]:
        """Type a block and wait until the prompt is there again; what it showed."""
        self._typed += 1
        done = f"--- done {self._typed} ---"
        start = len(self.said)
        script = self.folder / ".typed"
        script.write_text(text)
        self._send(f"source {script} < /dev/null\necho '{done}'\n")
        with self._new:
            self._new.wait_for(lambda: self._ended or done in self.said[start:], LIMIT)
            shown = self.said[start:]
        assert done in shown, "\n".join(["it failed:", text, *shown])
        return shown[: shown.index(done)]

    def start(self, text: str) -> None:
        """Type a block that goes on, and wait until it says something."""
        self._send(text + "exit\n")
        assert self.bash.stdin is not None
        self.bash.stdin.close()
        with self._new:
            self._new.wait_for(lambda: self._ended or self.said, LIMIT)
        assert self.said, "it said nothing"

    def _send(self, text: str) -> None:
        assert self.bash.stdin is not None
        self.bash.stdin.write(text)
        self.bash.stdin.flush()

    def wait(self) -> int:
        """Its exit code, once what was started has ended by itself."""
        code = self.bash.wait(LIMIT)
        self._reader.join()
        return code

    def last(self, kind: str) -> str:
        """The last line of this kind that `swarmp2p run` said in it."""
        return next((line for line in reversed(self.said) if line.startswith(kind)), "")

    def close(self) -> None:
        """End it, with all that runs in it."""
        if self.bash.poll() is None:
            os.killpg(self.bash.pid, signal.SIGTERM)
        if self.bash.stdin is not None:
            self.bash.stdin.close()
        self.bash.wait(LIMIT)
        self._reader.join()


class Reader:
    """Follows the guide, block by block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = str(free_ports(1)[0])
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
        self._environment.pop("SWARMP2P_HOME", None)
        self._open: dict[str, Terminal] = {}
        self.running: dict[str, list[Terminal]] = {}
        self._later: list[Callable[[], None]] = []

    def follow(self, block: Block, before: Shown) -> Shown:
        """Do what a block says. `before` is what the block before showed, and so is what comes back."""
        body = block.body.replace(PORT, self._port)
        names = block.terminals
        for name in names:
            self._place(name).mkdir(exist_ok=True)
        if block.language == "text":
            if "later" in block.words:
                self._later.append(lambda: self._compare(block, before()))
            else:
                self._compare(block, before())
            return before
        if block.file is not None:
            for name in names:
                (self._place(name) / block.file).write_text(body)
            return before
        if "after" in block.words:
            for name in names:
                assert self.running[name][-1].wait() == 0, "\n".join(self.running[name][-1].said)
        with ThreadPoolExecutor(len(names)) as pool:
            if "runs" in block.words:
                terminals = list(pool.map(lambda name: self._run(name, body), names))
                return lambda: terminals[0].said
            shown = list(pool.map(lambda name: self._terminal(name).type(body), names))
        return lambda: shown[0]

    def look_back(self) -> None:
        """Look at what was to be seen in terminals in which something went on."""
        for look in self._later:
            look()

    def _compare(self, block: Block, shown: list[str]) -> None:
        """Each line that the guide shows was shown, in the guide's order."""
        rest = iter(shown)
        for each in block.body.splitlines():
            pattern = re.compile(".*".join(map(re.escape, plain(each).split("…"))))
            assert any(pattern.fullmatch(plain(found)) for found in rest), (
                f"{GUIDE.name}, line {block.line}: {each!r} was not shown, but:\n" + "\n".join(shown)
            )

    def _place(self, name: str) -> Path:
        return self.folder if name == "you" else self.folder / "swarm" / ("" if name == "chain" else name)

    def _terminal(self, name: str) -> Terminal:
        if name not in self._open:
            self._open[name] = Terminal(self._place(name), self._environment)
        return self._open[name]

    def _run(self, name: str, body: str) -> Terminal:
        terminal = Terminal(self._place(name), self._environment)
        self.running.setdefault(name, []).append(terminal)
        terminal.start(body)
        return terminal

    def command(self, name: str, *arguments: str) -> Any:
        """What a command with --json says at a hospital."""
        line = " ".join(["swarmp2p", *arguments, "--json"])
        return json.loads("".join(self._terminal(name).type(line + "\n")))

    def close(self) -> None:
        """Close all terminals."""
        for terminal in [*self._open.values(), *(each for many in self.running.values() for each in many)]:
            terminal.close()


def plain(line: str) -> str:
    """A line with numbers, addresses and CIDs left out: they differ each time."""
    line = re.sub(r"0x[0-9a-f]*|baf[a-z2-7]+|16Uiu2[0-9A-Za-z]*|(invite|vote)-[0-9a-f]*", "…", line)
    return re.sub(r"…+", "…", re.sub(r"[0-9][0-9.,]*[0-9]|[0-9]", "…", line))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    try:
        yield reader
    finally:
        reader.close()


def test_blocks_are_marked() -> None:
    for block in blocks():
        known = {*HOSPITALS, "you", "chain", "runs", "after", "later"}
        assert {word for word in block.words if not word.startswith("file=")} <= known, f"line {block.line}"
        assert block.terminals or block.language == "text", f"line {block.line}: whose terminal?"


def test_the_guide_does_what_it_says(reader: Reader) -> None:
    before: Shown = list
    for block in blocks():
        before = reader.follow(block, before)
    stopped = {name: reader.running[name][-1].last("stopped") for name in "abc"}
    head = reader.command("a", "status", "swarm.toml")["head"]
    assert all(f"reason max_rounds head {head} " in line for line in stopped.values()), stopped
    models = {(reader.folder / "swarm" / name / "best.safetensors").read_bytes() for name in "abc"}
    assert len(models) == 1
    (expelled,) = reader.running["d"]
    assert expelled.wait() == 1
    assert any("no longer a member" in line for line in expelled.said), expelled.said
    reader.look_back()

    balances = {name: int(reader.command(name, "balance", "swarm.toml")["balance"]) for name in HOSPITALS}
    paid = reader.command("a", "rewards", "swarm.toml")
    earned = {each["address"]: int(each["earned"]) for each in paid["accounts"]}
    for name in ("b", "c", "d"):
        address = (reader.folder / "swarm" / "mail" / f"{name}.address").read_text().strip()
        assert balances[name] == STAKE + earned[address] > STAKE
    assert SUPPLY - len(paid["rounds"]) <= sum(balances.values()) <= SUPPLY
