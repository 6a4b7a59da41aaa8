"""Sources and fetchers that fail, over TLS: what one does never keeps a file from coming, and nothing comes twice."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.exchange import Endpoint, Fetcher, Limits, Listener, Pins, TlsLinks
from swarmp2p.content.exchange.secure import SecureSocket
from swarmp2p.content.unixfs import hash_bytes
from swarmp2p.core.types import CHUNK_SIZE, Address, Digest
from swarmp2p.identity import Key
from swarmp2p.network.certificate import issue_certificate
from tests.content.tls import LOCAL, Member, Nowhere
from tests.content.wire import pattern

DATA = pattern(40 * CHUNK_SIZE + 1000)
FILE = hash_bytes(DATA)
CHUNKS = len(FILE.leaf_list) // 32
Join = Callable[[str], Member]
Script = Callable[[SecureSocket, bytes], None]
"""Answers one request, whose head it is given."""


def answer(status: str, body: bytes, *fields: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(head).encode() + body


HELD = answer("200 OK", bytes([0xFF] * 5 + [1]), f"Swarmp2p-Chunks: {CHUNKS}")


def run_of(head: bytes) -> range:
    first, last = head.split(b"chunks=")[1].split(b"\r\n")[0].split(b"-")
    return range(int(first), int(last) + 1)


def corrupts(sock: SecureSocket, head: bytes) -> None:
    run = run_of(head)
    body = bytearray(DATA[run.start * CHUNK_SIZE : run.stop * CHUNK_SIZE])
    body[-1] ^= 1
    said = f"Content-Range: chunks {run.start}-{run.stop - 1}/{CHUNKS}"
    sock.send_all(answer("206 Partial Content", bytes(body), said), 30)


def stops(sock: SecureSocket, head: bytes) -> None:
    said = f"Content-Range: chunks {run_of(head).start}-{run_of(head).start}/{CHUNKS}"
    sock.send_all(answer("206 Partial Content", bytes(CHUNK_SIZE), said)[:100_000], 30)
    sock.close()


def trickles(sock: SecureSocket, head: bytes) -> None:
    said = f"Content-Range: chunks {run_of(head).start}-{run_of(head).start}/{CHUNKS}"
    data = answer("206 Partial Content", bytes(CHUNK_SIZE), said)
    for at in range(len(data)):
        sock.send_all(data[at : at + 1], 30)


def sends_forever(sock: SecureSocket, head: bytes) -> None:
    while True:
        sock.send_all(b"HTTP/1.1 206 Partial Content\r\n" + b"X-More: and more\r\n" * 100, 30)


def says_too_much(sock: SecureSocket, head: bytes) -> None:
    run = run_of(head)
    said = f"Content-Range: chunks {run.start}-{run.stop - 1}/{CHUNKS}"
    sock.send_all(answer("206 Partial Content", bytes(CHUNK_SIZE * (len(run) + 1)), said), 30)


def has_nothing_after_all(sock: SecureSocket, head: bytes) -> None:
    sock.send_all(answer("404 Not Found", b""), 30)


class BadSource:
    """Claims to have the whole file, and answers requests for chunks by a script."""

    def __init__(self, script: Script) -> None:
        self.key = Key.from_seed("bad source")
        self.certificate, chain = issue_certificate(self.key.secret)
        self.pins = Pins(chain)
        self.asked = 0
        self._script = script
        self._listening = socket.create_server((LOCAL, 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.certificate, ((LOCAL, self._listening.getsockname()[1]),))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = self._listening.accept()
                thread = threading.Thread(target=self._serve, args=(raw,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), raw, self.pins.secure(raw, server=True, timeout=30) as secure:
            waiting = b""
            while True:
                while b"\r\n\r\n" not in waiting:
                    more = secure.receive(30)
                    if not more:
                        return
                    waiting += more
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                if b"/held " in head:
                    secure.send_all(HELD, 30)
                else:
                    self.asked += 1
                    self._script(secure, head + b"\r\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def bad(request: pytest.FixtureRequest) -> Iterator[BadSource]:
    source = BadSource(request.param)
    yield source
    source.close()


@pytest.mark.parametrize(
    ("bad", "lies"),
    [
        (corrupts, True),
        (stops, False),
        (trickles, False),
        (sends_forever, True),
        (says_too_much, True),
        (has_nothing_after_all, False),
    ],
    indirect=["bad"],
)
async def test_a_bad_source_beside_a_good_one(join: Join, bad: BadSource, lies: bool) -> None:
    good, mine = join("good"), join("mine")
    good.put(DATA)
    good.pins.pin(mine.address, mine.certificate)
    bad.pins.pin(mine.address, mine.certificate)
    endpoints = {good.address: good.endpoint, bad.key.address: bad.endpoint}

    async def greet(peer: Address) -> Endpoint:
        return endpoints[peer]

    class Both:
        async def open(self, peer: Address) -> None:
            raise ConnectionRefusedError("not over a stream")

        def reachable(self) -> list[Address]:
            return list(endpoints)

    links = TlsLinks(mine.pins, greet)
    limits = Limits(stall=1.0, hedge=0.2, run=4, window=8)
    fetcher = Fetcher(mine.store, Both(), direct=links, limits=limits)  # type: ignore[arg-type]
    part = mine.store.begin(FILE.digest, FILE.size, FILE.leaf_list)
    with trio.fail_after(60):
        await fetcher.fetch_chunks(part.target(0, FILE.leaf_list, FILE.digest), prefer=[bad.key.address])
    part.finish(FILE.digest)
    assert mine.store.read(FILE.digest) == DATA
    assert bad.asked > 0
    assert (fetcher.distrusted() == {bad.key.address}) == lies
    links.close()


FETCHER = """
import sys
import trio
from pathlib import Path
from tests.content.test_tls_faults import fetch_as_process
trio.run(fetch_as_process, sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3]))
"""


async def fetch_as_process(folder: str, port: int, origin: bytes) -> None:
    """The process that is killed. Shows its certificate by a line, as a greeting would."""
    key = Key.from_seed("killed")
    certificate, chain = issue_certificate(key.secret)
    print(certificate.hex(), flush=True)
    sys.stdin.readline()
    source = Key.from_seed("origin").address

    async def greet(peer: Address) -> Endpoint:
        return Endpoint(origin, ((LOCAL, port),))

    class Origin(Nowhere):
        def reachable(self) -> list[Address]:
            return [source]

    store = EmbeddedStore(folder)
    fetcher = Fetcher(store, Origin(), direct=TlsLinks(Pins(chain), greet), limits=Limits(run=1, window=2))
    await fetcher.fetch_file(FILE.digest, FILE.size)
    print(hash_bytes(store.read(FILE.digest)).digest.hex(), flush=True)


class Counting:
    """A store that counts the chunks it serves, and calls when half of the file is out."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self.served = 0
        self.half = threading.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def read_chunk(self, name: Digest, index: int) -> bytes:
        data = self._store.read_chunk(name, index)
        self.served += 1
        if self.served >= CHUNKS // 2:
            self.half.set()
        return data

    serve_chunk = read_chunk


def test_a_fetcher_killed_half_way_goes_on_where_it_was(tmp_path: Path) -> None:
    key = Key.from_seed("origin")
    certificate, chain = issue_certificate(key.secret)
    pins = Pins(chain)
    store = Counting(EmbeddedStore(tmp_path / "origin"))
    store._store.put(DATA)
    listener = Listener((LOCAL,), 0, pins)
    listener.start(store)  # type: ignore[arg-type]

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", FETCHER, str(tmp_path / "mine"), str(listener.port), certificate.hex()]
        where = Path(__file__).parents[2]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=where)
        assert process.stdin is not None
        assert process.stdout is not None
        pins.pin(Key.from_seed("killed").address, bytes.fromhex(process.stdout.readline()))
        process.stdin.write("\n")
        process.stdin.flush()
        return process

    try:
        first = start()
        assert store.half.wait(60)
        first.kill()
        first.communicate()
        before, store.served = store.served, 0
        second = start()
        out, _ = second.communicate(timeout=60)
        assert out.split() == [FILE.digest.hex()]
        # What was under way when it was killed, two requests at most, comes again.
        assert store.served <= CHUNKS - before + 2 + CHUNKS * 0.05
    finally:
        listener.close()
        store._store.close()
