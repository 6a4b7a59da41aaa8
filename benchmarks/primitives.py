"""What a round is made of, each alone on one core, and the time that a round cannot be shorter than on that account.

docs/benchmarks.md has the formula.
"""

import hashlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.peers import Setting
from swarmp2p.content.exchange import Pins
from swarmp2p.content.exchange.listener import tune
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.identity import Key
from swarmp2p.network.certificate import issue_certificate

AMOUNT = 64 * 2**20
"""Bytes for each measurement: about a tenth of a second."""
TURNS = 3
"""The best of so many counts: what is wanted is a bound."""
PATIENCE = 30.0
"""Seconds after which a socket is given up."""


@dataclass(frozen=True)
class Primitives:
    """Megabytes (10^6 bytes) for each second of one core."""

    sha256: float
    tls: float
    """Moved from one process to another over TLS 1.3 on loopback, the work of both sides together."""
    write: float
    """Written over what a file holds, in the page cache."""
    mean: float
    """Of input, to a mean of four float32 files."""


def measure() -> Primitives:
    """Each on chunks of 256 KiB in a buffer that is used again and again."""
    chunk = os.urandom(CHUNK_SIZE)
    return Primitives(
        _best(lambda: _repeat(lambda: hashlib.sha256(chunk).digest())), _tls(chunk), _written(chunk), _mean()
    )


def bound(setting: Setting, speed: Primitives, cores: int) -> float:
    """Seconds of a k-way round whose peers share these cores and leave none idle."""
    q, n = setting.f + 1, setting.peers
    arriving = setting.models_in * (1 / speed.tls + 1 / speed.sha256 + 1 / speed.write)
    publishing = 1 / speed.sha256 + 1 / speed.write
    merging = q / speed.mean + q / n * (1 / speed.sha256 + 1 / speed.write)
    return n * setting.mib * 2**20 / 1e6 * (arriving + publishing + merging) / cores


def show_bound(setting: Setting, seconds: float, speed: Primitives) -> None:
    """Print the speeds, and what a round of these seconds is beside the bound."""
    cores = len(os.sched_getaffinity(0))
    least = bound(setting, speed, cores)
    print(
        f"on one core: sha256 {speed.sha256:.0f} MB/s, TLS (both sides) {speed.tls:.0f}, write {speed.write:.0f},",
        end=" ",
    )
    print(f"mean of 4 {speed.mean:.0f}; a round of nothing else on {cores} cores: {least:.2f} s,", end=" ")
    print(f"this is {seconds / least:.1f} times that", flush=True)


def _best(work: Callable[[], int]) -> float:
    """Megabytes for each second that this process computed, in the best of some turns."""
    speeds = []
    for _ in range(TURNS):
        start = time.process_time()
        moved = work()
        speeds.append(moved / (time.process_time() - start) / 1e6)
    return max(speeds)


def _repeat(once: Callable[[], object]) -> int:
    for _ in range(AMOUNT // CHUNK_SIZE):
        once()
    return AMOUNT


def _written(chunk: bytes) -> float:
    with tempfile.TemporaryFile(prefix="swarmp2p-bench-") as file:

        def over() -> int:
            for at in range(0, AMOUNT, CHUNK_SIZE):
                os.pwrite(file.fileno(), chunk, at)
            return AMOUNT

        over()
        return _best(over)


def _mean() -> float:
    files = [np.random.default_rng(seed).standard_normal(CHUNK_SIZE // 4, dtype=np.float32) for seed in range(4)]
    total, quarter = np.empty_like(files[0]), np.float32(0.25)

    def once() -> None:
        np.add(files[0], files[1], out=total)
        np.add(total, files[2], out=total)
        np.add(total, files[3], out=total)
        np.multiply(total, quarter, out=total)

    return _best(lambda: 4 * _repeat(once))


def _tls(chunk: bytes) -> float:
    """Both ends in threads of this process, which count together; the work is OpenSSL's, without the interpreter's lock."""
    key = Key.from_seed("primitives of the benchmark")
    certificate, chain = issue_certificate(key.secret)
    pins = Pins(chain)
    pins.pin(key.address, certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_send, args=(server, pins, chunk))
        thread.start()
        raw = socket.create_connection(server.getsockname())
        tune(raw)
        with pins.secure(raw, server=False, timeout=PATIENCE) as secure:
            buffer = memoryview(bytearray(CHUNK_SIZE))

            def receive() -> int:
                secure.send_all(b"+", PATIENCE)
                return sum(secure.fill(buffer, PATIENCE) for _ in range(AMOUNT // CHUNK_SIZE))

            best = _best(receive)
        thread.join()
    return best


def _send(server: socket.socket, pins: Pins, chunk: bytes) -> None:
    raw, _ = server.accept()
    tune(raw)
    with pins.secure(raw, server=True, timeout=PATIENCE) as secure:
        while secure.receive(PATIENCE):
            _repeat(lambda: secure.send_all(chunk, PATIENCE))
