"""One peer gets a file from others over TLS, every chunk verified and written to disk; beside it, what plain TLS does.

Plain TLS is the standard library's, and beside it this library's socket with nothing around it. Sources are processes of
their own. All ways use the same certificates and tuned TCP, and take turns.
"""

import argparse
import json
import multiprocessing as mp
import os
import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import trio

from benchmarks.primitives import PATIENCE
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.exchange import Endpoint, Fetcher, Limits, Listener, Pins, TlsLinks
from swarmp2p.content.exchange.listener import tune
from swarmp2p.content.unixfs import Hashed
from swarmp2p.core.types import CHUNK_SIZE, Address
from swarmp2p.identity import Key
from swarmp2p.network.certificate import issue_certificate

CLIENT = Key.from_seed("client of the benchmark")
Ends = tuple[Callable[[memoryview], object], Callable[[memoryview], int]]
"""Sends all of a view; receives into one, and says how much."""
Secured = Callable[[socket.socket, bool], AbstractContextManager[Ends]]
"""TLS over a connection, as its server or not, until the block ends."""


@contextmanager
def standard_tls(chain: bytes, raw: socket.socket, server: bool) -> Iterator[Ends]:
    """The standard library's sockets, with the same certificates, but for trusting any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with tempfile.NamedTemporaryFile() as file:
        file.write(chain)
        file.flush()
        context.load_cert_chain(file.name)
    with context.wrap_socket(raw, server_side=server) as secure:
        yield secure.sendall, secure.recv_into


@contextmanager
def own_tls(pins: Pins, raw: socket.socket, server: bool) -> Iterator[Ends]:
    """The library's sockets."""
    with pins.secure(raw, server=server, timeout=PATIENCE) as secure:
        yield partial(secure.send_all, timeout=PATIENCE), partial(secure.fill, timeout=PATIENCE)


def serve_plain(listening: socket.socket, view: memoryview, secured: Secured) -> None:
    """Send these bytes to each who connects."""
    while True:
        raw, _ = listening.accept()
        tune(raw)
        with secured(raw, True) as (send, _):
            for at in range(0, len(view), CHUNK_SIZE):
                send(view[at : at + CHUNK_SIZE])


def over_plain_tls(secured: Secured, port: int, size: int) -> float:
    """MB/s of one stream into one buffer."""
    raw = socket.create_connection(("127.0.0.1", port))
    tune(raw)
    buffer = memoryview(bytearray(CHUNK_SIZE))
    with secured(raw, False) as (_, receive):
        start, got = time.perf_counter(), 0
        while got < size:
            got += receive(buffer[: size - got])
    return size / (time.perf_counter() - start) / 1e6


def source(number: int, size: int, certificate: bytes, pipe: Connection) -> None:
    """A process that serves one file of `size` bytes, and on two more ports the same bytes without any protocol: over the
    standard library's TLS, and over the library's."""
    key = Key.from_seed(f"source {number} of the benchmark")
    own, chain = issue_certificate(key.secret)
    pins = Pins(chain)
    pins.pin(CLIENT.address, certificate)
    data = os.urandom(CHUNK_SIZE) * (size // CHUNK_SIZE + 1)
    with tempfile.TemporaryDirectory(prefix="swarmp2p-bench-") as folder:
        store = EmbeddedStore(folder)
        file = store.put(data[:size])
        listener = Listener(("127.0.0.1",), 0, pins)
        listener.start(store)
        view = memoryview(data)[:size]
        ports = []
        for secured in (partial(standard_tls, chain), partial(own_tls, pins)):
            listening = socket.create_server(("127.0.0.1", 0))
            ports.append(listening.getsockname()[1])
            threading.Thread(target=serve_plain, args=(listening, view, secured), daemon=True).start()
        pipe.send((key.address, own, listener.port, ports, file))
        pipe.recv()
        listener.close()
        store.close()


class NoStreams:
    """A carrier that reaches nobody: all comes over TLS."""

    def __init__(self, peers: list[Address]) -> None:
        self._peers = peers

    async def open(self, peer: Address) -> Any:
        raise ConnectionRefusedError("not over a stream")

    def reachable(self) -> list[Address]:
        return self._peers


async def fetched(pins: Pins, endpoints: dict[Address, Endpoint], files: list[Hashed]) -> float:
    """MB/s of one fetch of each file at once, from a source of its own."""

    async def greet(peer: Address) -> Endpoint:
        return endpoints[peer]

    links = TlsLinks(pins, greet)
    with tempfile.TemporaryDirectory(prefix="swarmp2p-bench-") as folder:
        store = EmbeddedStore(folder)
        fetchers = [
            Fetcher(store, NoStreams([peer]), direct=links, limits=Limits(sources=1))
            for peer in list(endpoints)[: len(files)]
        ]
        for fetcher, file in zip(fetchers, files, strict=True):
            await fetcher.fetch_leaf_list(file.digest, file.size)  # connects
        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for fetcher, file in zip(fetchers, files, strict=True):
                part = store.begin(file.digest, file.size, store.leaf_list(file.digest) or b"")
                nursery.start_soon(fetcher.fetch_chunks, part.target(0, file.leaf_list, file.digest))
        seconds = time.perf_counter() - start
        links.close()
        store.close()
    return sum(file.size for file in files) / seconds / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="swarmp2p bench transfer", description=__doc__)
    parser.add_argument("--mib", type=int, default=200)
    parser.add_argument("--sources", type=int, default=4)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    size = args.mib << 20
    certificate, chain = issue_certificate(CLIENT.secret)
    pins = Pins(chain)
    running, told = [], []
    for number in range(args.sources):
        ours, theirs = mp.Pipe()
        process = mp.Process(target=source, args=(number, size, certificate, theirs))
        process.start()
        running.append((process, ours))
    for _, pipe in running:
        told.append(pipe.recv())
    endpoints = {}
    for address, own, port, _, _ in told:
        pins.pin(address, own)
        endpoints[address] = Endpoint(own, (("127.0.0.1", port),))
    plain, bare, one, several = [], [], [], []
    for _ in range(args.turns):
        plain.append(over_plain_tls(partial(standard_tls, chain), told[0][3][0], size))
        bare.append(over_plain_tls(partial(own_tls, pins), told[0][3][1], size))
        one.append(trio.run(fetched, pins, endpoints, [told[0][4]]))
        several.append(trio.run(fetched, pins, endpoints, [each[4] for each in told]))
    for process, pipe in running:
        pipe.send("done")
        process.join()
    ratio = statistics.median(a / b for a, b in zip(one, plain, strict=True))
    if args.json:
        print(json.dumps({**vars(args), "plain": plain, "bare": bare, "one": one, "several": several, "ratio": ratio}))
        return
    print(f"plain TLS, one stream:              {statistics.median(plain):6.0f} MB/s")
    print(f"the library's TLS and nothing else: {statistics.median(bare):6.0f} MB/s")
    print(f"verified and stored, one stream:    {statistics.median(one):6.0f} MB/s, {ratio:.2f} of it")
    print(f"the same from {args.sources} sources at once:   {statistics.median(several):6.0f} MB/s")


if __name__ == "__main__":
    main()
