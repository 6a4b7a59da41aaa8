"""What the store says of a Kubo that is not there, too old, refusing or dying. The real one is in interop/test_kubo.py."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from swarmp2p.content.kubo import KuboStore
from swarmp2p.content.kubo_api import KuboApi
from swarmp2p.content.unixfs import cid, hash_bytes
from swarmp2p.core.errors import ConfigError, ContentCorrupt, QuotaExceeded, StoreUnreachable

Answer = tuple[int, object]
"""Status, and what goes into the body as JSON; a status of 0 breaks the connection."""

DATA = b"a model"
HASHED = hash_bytes(DATA)
TEXT = str(cid(HASHED.digest, HASHED.size))


def failure(message: str, status: int = 500) -> Answer:
    """As Kubo words its errors."""
    return status, {"Message": message, "Code": 0, "Type": "error"}


class Api:
    """Answers as Kubo's RPC API does, from a table of commands; each has a list of answers, the last of which stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {
            "version": [(200, {"Version": "0.43.0"})],
            "pin/ls": [(200, {"Keys": {}})],
        }
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                url = urlsplit(self.path)
                command = url.path.removeprefix("/api/v0/")
                api.asked.append((command, parse_qs(url.query)))
                self._read_all()
                script = api.answers.get(command, [failure("not found", 404)])
                status, body = script.pop(0) if len(script) > 1 else script[0]
                if status == 0:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _read_all(self) -> None:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    return
                while size := int(self.rfile.readline(), 16):
                    self.rfile.read(size + 2)
                self.rfile.readline()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def multiaddr(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{self._server.server_address[1]}"

    def count(self, command: str) -> int:
        return sum(1 for asked, _ in self.asked if asked == command)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    running = Api()
    yield running
    running.close()


@pytest.fixture
def open_store(api: Api, tmp_path: Path) -> Iterator[Callable[[], KuboStore]]:
    opened: list[KuboStore] = []

    def open_it(patience: float = 0.0) -> KuboStore:
        opened.append(KuboStore(tmp_path / "content", api.multiaddr, patience=patience))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


def test_no_multiaddr(tmp_path: Path) -> None:
    for text in ("localhost:5001", "/ip4/127.0.0.1/udp/5001", "/ip4/127.0.0.1"):
        with pytest.raises(ConfigError, match=r"ipfs config Addresses\.API"):
            KuboStore(tmp_path, text)


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(StoreUnreachable, match=r"does not answer.*ipfs daemon"):
            KuboStore(tmp_path, f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}", patience=0.0)


@pytest.mark.parametrize("version", ["0.36.0", "0.4.23", "odd"])
def test_too_old(api: Api, open_store: Callable[[], KuboStore], version: str) -> None:
    api.answers["version"] = [(200, {"Version": version})]
    with pytest.raises(StoreUnreachable, match=rf"Kubo {version}.*Update Kubo"):
        open_store()


@pytest.mark.parametrize(("status", "mend"), [(401, "user and password"), (403, "user and password"), (404, "gateway")])
def test_refusing(api: Api, open_store: Callable[[], KuboStore], status: int, mend: str) -> None:
    api.answers["version"] = [(status, "no")]
    with pytest.raises(StoreUnreachable, match=rf"refuses version.*{mend}"):
        open_store()


def test_no_room(api: Api, open_store: Callable[[], KuboStore]) -> None:
    store = open_store()
    api.answers["pin/ls"] = [failure(f"path '{TEXT}' is not pinned")]
    api.answers["add"] = [failure("write /ipfs/blocks/X.data: no space left on device")]
    with pytest.raises(QuotaExceeded, match="no space left"):
        store.put(DATA)


def test_another_cid_is_refused_and_not_kept(api: Api, open_store: Callable[[], KuboStore]) -> None:
    other = str(cid(hash_bytes(b"another").digest, 7))
    store = open_store()
    api.answers["pin/ls"] = [
        failure(f"path '{TEXT}' is not pinned"),
        (200, {"Keys": {other: {"Type": "recursive", "Name": "swarmp2p"}}}),
    ]
    api.answers["add"] = [(200, {"Name": "x", "Hash": other, "Size": "7"})]
    api.answers["pin/rm"] = [(200, {"Pins": [other]})]
    with pytest.raises(ContentCorrupt, match=other):
        store.put(DATA)
    assert ("pin/rm", {"arg": [other], "recursive": ["True"], "stream-channels": ["true"]}) in api.asked


def test_a_node_that_comes_back_is_asked_again(api: Api, open_store: Callable[[float], KuboStore]) -> None:
    store = open_store(30.0)
    api.answers["pin/ls"] = [failure(f"path '{TEXT}' is not pinned")]
    api.answers["add"] = [
        (0, None),
        failure("context canceled"),
        failure("leveldb: closed"),
        (200, {"Name": "x", "Hash": TEXT, "Size": "7"}),
    ]
    assert store.put(DATA) == HASHED
    assert api.count("add") == 4


def test_what_could_not_go_into_the_node_goes_there_at_the_next_start(
    api: Api, open_store: Callable[[], KuboStore]
) -> None:
    store = open_store()
    api.answers["pin/ls"] = [failure(f"path '{TEXT}' is not pinned")]
    api.answers["add"] = [(0, None)]
    with pytest.raises(StoreUnreachable):
        store.put(DATA)
    assert store.read(HASHED.digest) == DATA, "it is here, though not in the node"
    store.close()
    api.answers["pin/ls"] = [(200, {"Keys": {}}), failure(f"path '{TEXT}' is not pinned")]
    api.answers["add"] = [(200, {"Name": "x", "Hash": TEXT, "Size": "7"})]
    assert open_store().has(HASHED.digest)
    assert api.asked[-1][0] == "add"


def test_a_node_that_is_away_does_not_hold_up_collecting(api: Api, open_store: Callable[[], KuboStore]) -> None:
    store = open_store()
    api.answers["pin/ls"] = [failure(f"path '{TEXT}' is not pinned")]
    api.answers["add"] = [(200, {"Name": "x", "Hash": TEXT, "Size": "7"})]
    store.put(DATA)
    api.answers["pin/ls"] = [(0, None)]
    assert store.collect(()) == len(DATA)
    assert not store.has(HASHED.digest)
    api.answers["pin/ls"] = [(200, {"Keys": {TEXT: {"Type": "recursive", "Name": "swarmp2p"}}})]
    api.answers["pin/rm"] = [(200, {"Pins": [TEXT]})]
    api.answers["block/rm"] = [(200, {"Hash": TEXT})]
    store.collect(())
    assert [command for command, _ in api.asked[-3:]] == ["pin/ls", "pin/rm", "block/rm"], "it is let go of later"


def test_closing_ends_the_waiting(api: Api) -> None:
    api.answers["version"] = [(0, None)]
    client = KuboApi(api.multiaddr, patience=3600.0)
    failed: list[Exception] = []

    def ask() -> None:
        try:
            client.check()
        except StoreUnreachable as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    client.close()
    thread.join(30)
    assert len(failed) == 1
