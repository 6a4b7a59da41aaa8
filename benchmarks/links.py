"""Hosts of their own for the peers of a benchmark, on links of a given rate: network namespaces on one bridge.

The benchmark itself begins anew in a namespace, where it makes the bridge, and the hosts are namespaces that processes of
its own hold. No namespace has a name, and none outlives its processes: all is gone when the benchmark ends, and two at a
time do not meet. Needs Linux with `tc tbf`, and root or user namespaces.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

INSIDE = "SWARMP2P_BENCH_NETWORK"
"""Environment variable that is set where the benchmark has begun anew."""
NETWORK = "10.77.0"
BRIDGE = "bench"
BRIDGE_ADDRESS = f"{NETWORK}.254"
"""The benchmark and the chain are here; their link to the bridge is not limited, those of the peers are."""
BURST, LATENCY = "128kb", "20ms"
"""Of the token bucket: what may pass at once, and how long a packet may wait before it is dropped."""
HOSTS_MAX = 100


def enter_network() -> None:
    """Begin this program anew in a network namespace of its own, unless it already has."""
    if os.environ.get(INSIDE):
        return
    if shutil.which("tc") is None or shutil.which("ip") is None:
        done = subprocess.run([Path(__file__).parent.parent / "tools/system-packages", "network"], check=False)
        if done.returncode:
            sys.exit(done.returncode)
    own = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*own, "true"], check=False).returncode:
        sys.exit("error: --rate makes network namespaces, which this user may not. Run it as root.")
    os.environ[INSIDE] = "1"
    os.execvp(own[0], [*own, sys.executable, *sys.orig_argv[1:]])


class Links:
    """So many hosts on a bridge, each with a link of this rate both ways.

    Args:
        mbit: megabits a second, of each link, each way.
    """

    def __init__(self, hosts: int, mbit: float) -> None:
        if hosts > HOSTS_MAX:
            raise ValueError(f"{HOSTS_MAX} hosts at most")
        self._mbit = mbit
        self._holders: list[subprocess.Popen[bytes]] = []
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{BRIDGE_ADDRESS}/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        try:
            for index in range(hosts):
                self._add_host(index)
        except BaseException:
            self.close()
            raise

    def _add_host(self, index: int) -> None:
        # It says that it is there, then waits until the benchmark has ended: its input is a pipe of ours.
        command = ["unshare", "--net", "sh", "-c", "echo; exec cat >/dev/null"]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._holders.append(holder)
        assert holder.stdout is not None
        if not holder.stdout.readline():
            raise SystemExit("error: cannot make a network namespace.")
        here, there = f"veth{index}", self.within(index)
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _run("ip", "link", "set", here, "master", BRIDGE, "up")
        _run(*there, "ip", "link", "set", "lo", "up")
        _run(*there, "ip", "address", "add", f"{self.address(index)}/24", "dev", "eth0")
        _run(*there, "ip", "link", "set", "eth0", "up")
        limit = ["root", "tbf", "rate", f"{self._mbit:g}mbit", "burst", BURST, "latency", LATENCY]
        _run("tc", "qdisc", "add", "dev", here, *limit)
        _run(*there, "tc", "qdisc", "add", "dev", "eth0", *limit)

    def address(self, index: int) -> str:
        return f"{NETWORK}.{index + 1}"

    def within(self, index: int) -> list[str]:
        """What to put before a command to run it on a host."""
        return ["nsenter", f"--net=/proc/{self._holders[index].pid}/ns/net"]

    def bytes_in(self) -> list[int]:
        """What each host has received so far, of all layers above Ethernet's frame check.

        Counted at the bridge's end of each link, behind the limiter: what it dropped is not in it.
        """
        sent = {each["ifname"]: each["stats64"]["tx"]["bytes"] for each in _links()}
        return [sent[f"veth{index}"] for index in range(len(self._holders))]

    def from_bridge(self) -> int:
        """What all hosts together have received from the bridge's own address so far: answers of the chain."""
        return next(int(each["stats64"]["tx"]["bytes"]) for each in _links() if each["ifname"] == BRIDGE)

    def close(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.communicate()
        with contextlib.suppress(SystemExit):
            _run("ip", "link", "delete", BRIDGE)


def _links() -> list[dict[str, Any]]:
    found = subprocess.run(["ip", "-json", "-statistics", "link", "show"], check=True, stdout=subprocess.PIPE)
    links: list[dict[str, Any]] = json.loads(found.stdout)
    return links


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)}: {done.stderr.strip()}")
