"""What is asked of a Kubo node, over its RPC API (https://docs.ipfs.tech/reference/kubo/rpc/), and what can go wrong.

Blocking; any number of threads. A node that does not answer is asked again for a while: it may be starting anew.
"""

import logging
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import ipfshttpclient
import requests
import urllib3
from ipfshttpclient import exceptions
from ipfshttpclient.client import base

from swarmp2p.content.unixfs import LINKS_PER_NODE, cid_text
from swarmp2p.core.errors import ConfigError, ContentCorrupt, QuotaExceeded, StoreUnreachable
from swarmp2p.core.types import CHUNK_SIZE, Digest

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

OLDEST = (0, 37)
"""The first Kubo that knows all options of `add` that are used here: the last to come was a pin's name."""
PIN_NAME = "swarmp2p"
"""Of the pins that are ours: a pin of another name was made by somebody else, who is to remove it."""
CONNECT_TIMEOUT, ANSWER_TIMEOUT = 5.0, 120.0
"""Seconds; the answer to a large file comes when all of it is flushed."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two tries."""
BLOCKS_A_CALL = 256
"""CIDs of about 60 characters in one URL."""

# ipfshttpclient 0.7.0 still passes it to urllib3, for each connection.
warnings.filterwarnings("ignore", message="The 'strict' parameter is no longer needed", category=FutureWarning)

_GONE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ProtocolError,
    exceptions.DecodingError,  # an answer that was cut off
    requests.RequestException,
    urllib3.exceptions.HTTPError,
)
_STOPPING = re.compile(r"context canceled|closed|shut(ting)? ?down|not ready|not initialized", re.IGNORECASE)
"""In what a node says while it starts or stops."""
_NOT_THERE = re.compile(r"not found|could not find", re.IGNORECASE)
_NO_ROOM = re.compile(r"no space left|quota|storage limit", re.IGNORECASE)


class _Blocks(base.SectionBase):  # type: ignore[misc]
    """A command that ipfshttpclient does not have."""

    def remove(self, cids: Sequence[str]) -> None:
        """Remove blocks; those that are not there, or that a pin needs, are left as they are."""
        self._client.request("/block/rm", cids, opts={"force": "true"}, decoder="json")


class _Client(ipfshttpclient.Client):  # type: ignore[misc]
    raw_blocks = base.SectionProperty(_Blocks)


class KuboApi:
    """A Kubo node.

    Args:
        api: multiaddr of its RPC API, as in its `Addresses.API`: `/ip4/127.0.0.1/tcp/5001`.
        auth: user and password, where `API.Authorizations` asks for them.
        patience: seconds for which a node that does not answer is asked again.

    Everything here raises StoreUnreachable when that is over, or when the node refuses.

    Raises:
        ConfigError: `api` is no multiaddr of an HTTP API.
    """

    def __init__(self, api: str, *, auth: tuple[str, str] | None = None, patience: float = 30.0) -> None:
        self._api = api
        self._auth = auth
        self._patience = patience
        self._idle: list[_Client] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        try:
            self._idle.append(self._new_client())
        except (exceptions.AddressError, ValueError) as error:
            raise ConfigError(
                f"{api!r} is not the address of an IPFS node's API.",
                "Give a multiaddr such as /ip4/127.0.0.1/tcp/5001: `ipfs config Addresses.API` prints it.",
            ) from error

    def check(self, patience: float | None = None) -> str:
        """The node's version, when it is one that can be used."""
        version = str(self._call("version", lambda client: client.version()["Version"], patience))
        numbers = re.findall(r"\d+", version)[:2]
        if len(numbers) < 2 or tuple(map(int, numbers)) < OLDEST:
            raise StoreUnreachable(
                f"The IPFS node at {self._api} is Kubo {version}; this needs {'.'.join(map(str, OLDEST))} or newer.",
                "Update Kubo.",
            )
        return version

    def add(self, path: str | PathLike[str], digest: Digest, size: int) -> None:
        """Add a file and pin it, in the swarm's profile (unixfs.py). It is flushed, and pinned, on return. A pin that
        is there already stays as it is.

        Raises:
            ContentCorrupt: the node comes to another CID; what it made is not pinned.
            QuotaExceeded: no room on its disk.
        """
        text = cid_text(digest, size)

        def add(client: _Client) -> str:
            pinned = self._pin_name(client, text) is not None
            options = {"max-file-links": LINKS_PER_NODE, "hash": "sha2-256", "inline": False}
            if not pinned:
                options["pin-name"] = PIN_NAME
            # Each option is given, whatever the node's own defaults (its config, `Import`) are.
            added = client.add(
                Path(path),
                cid_version=1,
                raw_leaves=True,
                chunker=f"size-{CHUNK_SIZE}",
                trickle=False,
                pin=not pinned,
                opts=options,
            )
            return str(added["Hash"])

        made = self._call("add", add)
        if made != text:
            self.unpin([made])
            raise ContentCorrupt(
                f"The IPFS node at {self._api} comes to {made} for a file that is {text}.",
                "Check the disk, and whether something else writes to the peer's home.",
            )

    def pins(self) -> dict[str, str]:
        """CIDs that are pinned recursively, with the names of their pins."""
        found = self._call("pin/ls", lambda client: client.pin.ls(type="recursive", opts={"names": True}))
        return {text: str(pin.get("Name", "")) for text, pin in found.as_json().get("Keys", {}).items()}

    @staticmethod
    def _pin_name(client: _Client, text: str) -> str | None:
        try:
            found = client.pin.ls(text, type="recursive", opts={"names": True}).as_json()
        except exceptions.ErrorResponse as error:
            if "not pinned" in str(error):
                return None
            raise
        return next((str(pin.get("Name", "")) for pin in found.get("Keys", {}).values()), None)

    def unpin(self, cids: Sequence[str], patience: float | None = None) -> list[str]:
        """Remove our pins of these, but not others'. Returns those that nobody pins by themselves any more."""

        def unpin(client: _Client, text: str) -> bool:
            name = self._pin_name(client, text)
            if name == PIN_NAME:
                client.pin.rm(text)
            return name in (None, PIN_NAME)

        return [text for text in cids if self._call("pin/rm", partial(unpin, text=text), patience)]

    def block(self, digest: Digest) -> bytes | None:
        """The raw block of this sha2-256, from the node's own disk; None: it is not there. It is not verified."""

        def get(client: _Client) -> bytes | None:
            try:
                return bytes(client.block.get(cid_text(digest, 0), offline=True))
            except exceptions.ErrorResponse as error:
                if _NOT_THERE.search(str(error)):
                    return None
                raise

        return self._call("block/get", get)

    def remove_blocks(self, cids: Sequence[str], patience: float | None = None) -> None:
        """Free their room now, not when the node next collects its garbage. Blocks that a pin needs stay."""
        for at in range(0, len(cids), BLOCKS_A_CALL):
            self._call("block/rm", partial(_remove, cids=cids[at : at + BLOCKS_A_CALL]), patience)

    def close(self) -> None:
        """Close the connections; calls that wait for the node give up. Idempotent."""
        self._closed.set()
        self._drop_idle()

    # Connections

    def _new_client(self) -> _Client:
        return _Client(self._api, session=True, auth=self._auth, timeout=(CONNECT_TIMEOUT, ANSWER_TIMEOUT))

    @contextmanager
    def _client(self) -> Iterator[_Client]:
        """A client that no other thread uses: its connection stays open for the next call, unless this one fails."""
        with self._lock:
            client = self._idle.pop() if self._idle else None
        client = client or self._new_client()
        well = False
        try:
            yield client
            well = True
        finally:
            with self._lock:
                if well and not self._closed.is_set():
                    self._idle.append(client)
                    client = None
            if client is not None:
                client.close()

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for client in idle:
            client.close()

    def _call(self, command: str, work: Callable[[Any], _T], patience: float | None = None) -> _T:
        """Run `work` with a client, again while the node does not answer."""
        deadline = time.monotonic() + (self._patience if patience is None else patience)
        pause = FIRST_PAUSE
        while True:
            try:
                with self._client() as client:
                    return work(client)
            except _GONE as error:
                problem: Exception = error
                self._drop_idle()  # they are connections to the same node, or to one that is no more
            except exceptions.StatusError as error:
                if not _STOPPING.search(str(error)):
                    raise self._refusal(command, error) from error
                problem = error
            if self._closed.is_set() or time.monotonic() + pause > deadline:
                raise StoreUnreachable(
                    f"The IPFS node at {self._api} does not answer ({_brief(problem)}).",
                    "Start it (`ipfs daemon`), or name the address that `ipfs config Addresses.API` prints.",
                ) from problem
            _log.info("the IPFS node at %s does not answer, trying again: %s", self._api, _brief(problem))
            self._closed.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _refusal(self, command: str, error: exceptions.StatusError) -> StoreUnreachable | QuotaExceeded:
        said = _brief(error)
        if _NO_ROOM.search(said):
            return QuotaExceeded(
                f"The IPFS node at {self._api} has no room: {said}.", "Free some on its disk, or run `ipfs repo gc`."
            )
        status = getattr(getattr(error.original, "response", None), "status_code", None)
        mend = {
            401: "Give the user and password of its `API.Authorizations`.",
            403: "Give the user and password of its `API.Authorizations`, or allow this peer there.",
            404: "Name the address of the RPC API (`ipfs config Addresses.API`), not the gateway's.",
            405: "Name the address of the RPC API (`ipfs config Addresses.API`), not the gateway's.",
        }.get(status or 0, "Its log says more; `ipfs repo verify` checks its disk.")
        return StoreUnreachable(f"The IPFS node at {self._api} refuses {command}: {said}.", mend)


def _remove(client: _Client, cids: Sequence[str]) -> None:
    client.raw_blocks.remove(cids)


def _brief(error: Exception) -> str:
    """What went wrong, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:300].rstrip(".") if lines else type(error).__name__
