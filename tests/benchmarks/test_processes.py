"""What benchmarks learn of the processes that they start."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from benchmarks.processes import Bystanders, Processes, cpu_seconds, descendants

ECHO = """
import json, sys
print(json.dumps({"ready": 1}), flush=True)
for line in sys.stdin:
    print(json.dumps({"event": "heard", "line": line.strip()}), flush=True)
"""
COMPUTE = (
    "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint(flush=True)\ninput()"
)
PARENT = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.fixture
def processes() -> Iterator[Processes]:
    running = Processes()
    try:
        yield running
    finally:
        running.close()


def test_what_is_told_before_the_go_is_forgotten_after_it(processes: Processes) -> None:
    processes.start("echo", [sys.executable, "-c", ECHO])
    processes.wait_until_ready(1)
    assert processes.first("echo", ready=1)
    processes.go("check")
    processes.wait_for("echo", ["echo"], event="heard")
    assert processes.told() == {"echo": [{"event": "heard", "line": "check"}]}


def test_a_process_that_ends_ends_the_benchmark_and_is_named(processes: Processes) -> None:
    processes.start("short", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(SystemExit, match=r"before round 1: short \(exit code 3\) ended early"):
        processes.wait_until_ready(1)


def test_computing_of_children_counts_and_is_no_bystanders() -> None:
    bystanders, start = Bystanders(), time.monotonic()
    command = [sys.executable, "-c", PARENT, COMPUTE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert len(descendants([parent.pid])) == 2
        assert 0.25 < cpu_seconds([parent.pid]) < 2
        assert parent.pid in descendants([os.getpid()])
        cores = len(os.sched_getaffinity(0))
        assert bystanders.share() < cores - 0.2 / (time.monotonic() - start)
        parent.communicate(b"\n")


def test_close_ends_children_of_the_processes_too() -> None:
    running = Processes()
    running.start("parent", [sys.executable, "-c", PARENT, ECHO])
    running.wait_until_ready(1)
    family = descendants(running.pids)
    assert len(family) == 2
    running.close()
    end = time.monotonic() + 10
    while family & descendants([1]) and time.monotonic() < end:
        time.sleep(0.01)
    assert not family & descendants([1])
