"""What is said in the content exchange: HTTP/1.1, parsed and written by h11; bodies are carried beside it.

    GET /ipfs/<cid>?format=raw                 a block: the root, an inner node or a leaf
    GET /ipfs/<cid>?format=car                 a file as a CARv1; `dag-scope=block` for its root alone
    GET /ipfs/<cid>                            a file, or with `Range: bytes=a-b` a part of it
    GET /swarmp2p/1/<name>/leaves              the leaf list of an object, 32 bytes a chunk
    GET /swarmp2p/1/<name>/held                which of its chunks are here: bit i of the body for chunk i
    GET /swarmp2p/1/<name>/chunks              with `Range: chunks=first-last`: these chunks, or the first few of them;
                                               `Prefer: wait=s` (RFC 7240) waits for one that is in the making (live.py),
                                               `Cache-Control: no-cache` has them compared with their hashes once more
    POST /swarmp2p/1/messages/<topic>          what would else be gossip (docs/protocol.md, section 7) for the other side
                                               itself; 202 when it was taken, 403 when it was refused

The first three are those of the IPFS trustless gateway (specs.ipfs.tech, http-gateways): any client of that gets files
from here. An object is named by its digest in hexadecimal: a file, a file in parts, or a slice of a merged model (its leaf
list is a raw block). What is not here is 404. `leaves` and `held` tell the number of chunks in the object by a header of
their own, `chunks` by Content-Range.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import parse_qsl

import h11

from swarmp2p.content.exchange.effects import BadMessage
from swarmp2p.core.types import Digest

CONTENT_PROTOCOL = "/http/1.1"
"""Of libp2p streams (libp2p specs, http)."""

MAX_HEAD = 2048
CHUNKS_HEADER = "Swarmp2p-Chunks"
MAX_CHUNKS = 1 << 20
"""Chunks in an object: 256 GiB, a leaf list of 32 MiB."""
MAX_RUN = 64
"""Chunks in one request."""
MAX_WAIT = 10.0
"""Seconds that an answer, or each chunk within one, is put off at most while it is in the making."""
MAX_BODY = 32 * 1024
"""Bytes of a message."""

_OWN = re.compile(r"/swarmp2p/1/([0-9a-f]{64})/(leaves|held|chunks)")
_IPFS = re.compile(r"/ipfs/([A-Za-z0-9]{8,128})/?")
_CHUNKS = re.compile(r"chunks=(0|[1-9][0-9]{0,6})-(0|[1-9][0-9]{0,6})")
_BYTES = re.compile(r"bytes=(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})?")
_CONTENT_RANGE = re.compile(rb"chunks (0|[1-9][0-9]{0,6})-(0|[1-9][0-9]{0,6})/([1-9][0-9]{0,6})")
_COUNT = re.compile(rb"[1-9][0-9]{0,6}")
_WAIT = re.compile(rb"wait=([0-9]{1,3})")
_HOST = ("Host", "swarmp2p")
_MESSAGES = re.compile(r"/swarmp2p/1/messages/([a-z]{1,32})")


class What(Enum):
    """What a request asks for."""

    BLOCK = "raw"
    CAR = "car"
    FILE = "file"
    LEAVES = "leaves"
    HELD = "held"
    CHUNKS = "chunks"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as understood.

    Attributes:
        what: the kind of answer that is wanted.
        name: digest of the object; empty where `cid` says it.
        cid: as written; empty for own kinds.
        first, last: chunks (CHUNKS) or bytes (FILE) that are wanted, both included; `last` None: to the end.
        whole: CAR: the whole file, and not its root alone.
        head_only: the method is HEAD.
        wait: seconds that the other side would wait for chunks in the making.
        recheck: what came before was wrong: compare the chunks with their hashes before they are sent again.
        topic: of a MESSAGE.
        body: bytes that follow the head; only a MESSAGE has any.
    """

    what: What
    name: Digest = b""
    cid: str = ""
    first: int = 0
    last: int | None = None
    whole: bool = True
    head_only: bool = False
    wait: float = 0.0
    recheck: bool = False
    topic: str = ""
    body: int = 0


class Incoming:
    """A request that came in, and the head of its answer.

    Args:
        head: up to and with the empty line.

    Raises:
        BadMessage: not HTTP/1.1, or with a body that is no message.
    """

    def __init__(self, head: bytes) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        try:
            self._connection.receive_data(head)
            event = self._connection.next_event()
            if not isinstance(event, h11.Request):
                raise BadMessage("no request")
            self._event = event
            if not isinstance(self._connection.next_event(), h11.EndOfMessage) and self._posted() is None:
                raise BadMessage("a request with a body")
        except h11.RemoteProtocolError as error:
            raise BadMessage(f"not HTTP/1.1: {error}") from error

    def _posted(self) -> Request | None:
        """This request, if it brings a message."""
        topic = _MESSAGES.fullmatch(self._event.target.decode("ascii", "replace"))
        length = next((value for name, value in self._event.headers if name == b"content-length"), b"")
        if topic is None or self._event.method != b"POST" or not _COUNT.fullmatch(length) or int(length) > MAX_BODY:
            return None
        return Request(What.MESSAGE, topic=topic[1], body=int(length))

    def take(self, body: bytes | bytearray) -> None:
        """The body has come."""
        self._connection.receive_data(bytes(body))
        while isinstance(self._connection.next_event(), h11.Data):
            pass

    @property
    def keeps_open(self) -> bool:
        """Whether the other side may send another request on this connection."""
        return self._connection.our_state is not h11.MUST_CLOSE

    def understood(self) -> Request | None:
        """The request, or None when it is none of those above."""
        method, target = self._event.method.decode(), self._event.target.decode("ascii", "replace")
        ranges = [value.decode("latin-1") for name, value in self._event.headers if name == b"range"]
        if posted := self._posted():
            return posted
        if method not in ("GET", "HEAD") or len(ranges) > 1:
            return None
        path, _, query = target.partition("?")
        wanted = ranges[0] if ranges else None
        if own := _OWN.fullmatch(path):
            asked = None if query else _own(bytes.fromhex(own[1]), What(own[2]), wanted, method == "HEAD")
            recheck = any(name == b"cache-control" and value == b"no-cache" for name, value in self._event.headers)
            return asked and replace(asked, wait=self._preferred_wait(), recheck=recheck)
        if ipfs := _IPFS.fullmatch(path):
            accept = [value.decode("latin-1") for name, value in self._event.headers if name == b"accept"]
            return _of_gateway(ipfs[1], dict(parse_qsl(query)), accept, wanted, method == "HEAD")
        return None

    def _preferred_wait(self) -> float:
        values = [value for name, value in self._event.headers if name == b"prefer"]
        match = _WAIT.fullmatch(values[0]) if len(values) == 1 else None
        return min(float(match[1]), MAX_WAIT) if match else 0.0

    def answer(self, status: int, length: int | None, headers: Sequence[tuple[str, str]] = ()) -> bytes:
        """The head of an answer with a body of `length` bytes; None: of pieces until `end` (chunked)."""
        framing = [] if length is None else [("Content-Length", str(length))]
        return self._connection.send(h11.Response(status_code=status, headers=[*framing, *headers])) or b""

    def piece(self, data: bytes) -> bytes:
        """A piece of a body whose length was not said."""
        return self._connection.send(h11.Data(data=data)) or b""

    def end(self) -> bytes:
        """The end of such a body."""
        return self._connection.send(h11.EndOfMessage()) or b""


def _own(name: Digest, what: What, wanted: str | None, head_only: bool) -> Request | None:
    if what is not What.CHUNKS:
        return Request(what, name, head_only=head_only)
    match = _CHUNKS.fullmatch(wanted or "")
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    if not first <= last < min(MAX_CHUNKS, first + MAX_RUN):
        return None
    return Request(what, name, first=first, last=last, head_only=head_only)


def _of_gateway(
    cid: str, query: dict[str, str], accept: list[str], wanted: str | None, head_only: bool
) -> Request | None:
    kind = query.get("format", "")
    if not kind:
        formats = {"application/vnd.ipld.raw": "raw", "application/vnd.ipld.car": "car"}
        types = [each.partition(";")[0].strip() for value in accept for each in value.split(",")]
        kind = next((formats[each] for each in types if each in formats), "")
    if kind == "raw":
        return Request(What.BLOCK, cid=cid, head_only=head_only)
    if kind == "car":
        scope = query.get("dag-scope", "all")
        if scope not in ("all", "entity", "block"):
            return None
        return Request(What.CAR, cid=cid, whole=scope != "block", head_only=head_only)
    if kind:
        return None
    if wanted is None:
        return Request(What.FILE, cid=cid, head_only=head_only)
    match = _BYTES.fullmatch(wanted)
    if match is None:
        return Request(What.FILE, cid=cid, head_only=head_only)  # RFC 9110, 14.2: a range not understood is ignored
    last = int(match[2]) if match[2] else None
    if last is not None and last < int(match[1]):
        return None
    return Request(What.FILE, cid=cid, first=int(match[1]), last=last, head_only=head_only)


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer.

    Attributes:
        found: whether what was asked for is there.
        length: bytes in the body.
        first, last: chunks in the body; 0 and -1 where it has none.
        total: chunks in the object; 0 where that is not said.
    """

    found: bool
    length: int
    first: int
    last: int
    total: int


class Asked:
    """A request to be sent, and what is made of the head that answers it."""

    def __init__(self, request: h11.Request, body: bytes = b"") -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        events = [request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()]
        self.head = b"".join(self._connection.send(event) or b"" for event in events)
        """The request as bytes, with its body."""

    def answered(self, head: bytes) -> Answer:
        """What an answer's head says. Raises BadMessage when it is none of this protocol."""
        try:
            self._connection.receive_data(head)
            event = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            raise BadMessage(f"not HTTP/1.1: {error}") from error
        if not isinstance(event, h11.Response):
            raise BadMessage("not an answer of HTTP/1.1")
        fields = dict(event.headers)
        length = fields.get(b"content-length", b"")
        if not re.fullmatch(rb"[0-9]{1,12}", length):
            raise BadMessage("an answer without a length")
        if event.status_code in (403, 404):
            return Answer(False, int(length), 0, -1, 0)
        if event.status_code not in (200, 202, 206):
            raise BadMessage(f"the status {event.status_code}")
        said = fields.get(b"content-range", b"")
        if match := _CONTENT_RANGE.fullmatch(said):
            return Answer(True, int(length), int(match[1]), int(match[2]), int(match[3]))
        chunks = fields.get(CHUNKS_HEADER.lower().encode(), b"")
        return Answer(True, int(length), 0, -1, int(chunks) if _COUNT.fullmatch(chunks) else 0)


class Outgoing(Asked):
    """A request for what an object is made of.

    Args:
        name: digest of the object.
        what: LEAVES, HELD or CHUNKS.
        run: the chunks asked for, with CHUNKS.
        wait: whole seconds to wait for them while they are in the making.
        recheck: what came before was wrong.
    """

    def __init__(
        self, name: Digest, what: What, run: range = range(0), *, wait: int = 0, recheck: bool = False
    ) -> None:
        ranges = [("Range", f"chunks={run.start}-{run.stop - 1}")] if what is What.CHUNKS else []
        prefer = [("Prefer", f"wait={wait}")] if wait else []
        cache = [("Cache-Control", "no-cache")] if recheck else []
        target = f"/swarmp2p/1/{name.hex()}/{what.value}"
        super().__init__(h11.Request(method="GET", target=target, headers=[_HOST, *ranges, *prefer, *cache]))
        self.run = run
        self.recheck = recheck


class Posting(Asked):
    """A message to be sent to the other side itself.

    Args:
        topic: lower-case letters.
        message: 1 to MAX_BODY bytes.
    """

    def __init__(self, topic: str, message: bytes) -> None:
        headers = [_HOST, ("Content-Length", str(len(message)))]
        super().__init__(h11.Request(method="POST", target=f"/swarmp2p/1/messages/{topic}", headers=headers), message)
