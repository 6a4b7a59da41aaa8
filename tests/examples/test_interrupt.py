"""A demo that is told to end takes its chain and its peers with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path


def running_in(folder: Path) -> set[str]:
    """Command lines of processes that work in this folder."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it ended while we looked
        if str(folder) in command and int(process.name) != os.getpid():
            found.add(command)
    return found


def test_nothing_is_left_running(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.digits", "--peers", "2", "--rounds", "1000", "--folder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        first = demo.stdout.readline()
        demo.send_signal(signal.SIGTERM)  # handled as Ctrl-C is
        said, trouble = demo.communicate(timeout=60)
    assert first.startswith("round"), trouble
    assert demo.returncode == 130, said + trouble
    assert trouble.strip() == "Interrupted."
    assert running_in(tmp_path) == set()
