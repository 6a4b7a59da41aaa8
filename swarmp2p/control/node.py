"""One Ethereum node, asked by JSON-RPC over HTTP: its answers, and what counts as none.

Nothing here parses block headers, and web3.py's providers are not used: so the longer extraData of proof-of-authority
chains (Clique, QBFT), for which web3.py needs its ExtraDataToPOAMiddleware, needs no care. web3.py itself is for users'
tools and for the tests that hold the embedded chain against it.
"""

import itertools
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeAlias

import httpx

from swarmp2p.core.errors import SwarmError

Json: TypeAlias = Any

_MAX_ANSWER = 64 * 1024 * 1024
_BUSY = ("rate limit", "too many requests")
_BEHIND = ("header not found", "missing trie node", "syncing")
"""What nodes say that cannot answer now, though others, or these later, can; the second of the latest block only, since an
old one may really not be there."""


class NodeError(SwarmError):
    """A node answered with a JSON-RPC error.

    Attributes:
        code: the JSON-RPC code.
        message: the node's words.
        data: the revert data if there are any, else nothing.
    """

    def __init__(self, method: str, code: int, message: str, data: bytes) -> None:
        super().__init__(f"The node refused {method}: {message}.")
        self.code = code
        self.message = message
        self.data = data


class NoAnswerError(Exception):
    """This node did not give a usable answer; another one may."""


class OtherChainError(NoAnswerError):
    """This node serves another chain."""


class _Body(httpx.AsyncByteStream):
    """A request's body. Unlike httpx's own it is no generator: trio warns of those when a request is cancelled."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = True

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        self._left = False
        return self._data


class Node:
    """One URL.

    Args:
        transport: that of httpx, without its client: redirects, cookies and the like, which no node has, would be a third of
            what a request takes of computing, and a round makes several.
        chain_id: if given, the node is asked for it before its first use, and again after each failure: what answers
            then may be another one.
    """

    _ids = itertools.count(1)

    def __init__(self, transport: httpx.AsyncBaseTransport, url: str, chain_id: int | None, timeout: float) -> None:
        self.url = url
        self._transport = transport
        self._chain_id = chain_id
        self._timeout = timeout
        self._checked = chain_id is None

    async def ask(self, body: Json, timeout: float | None = None) -> Json:
        """Post a request or a batch; the answer, or the list of answers, as it came.

        Raises:
            NoAnswerError: none that can be used.
        """
        try:
            await self._check()
            return await self._post(body, timeout or self._timeout)
        except NoAnswerError:
            self._checked = self._chain_id is None
            raise

    async def block_number(self, timeout: float) -> int:
        """The number of its latest block. Raises NoAnswerError."""
        return int(_sound(await self.ask(request("eth_blockNumber", ()), timeout)), 16)

    async def _check(self) -> None:
        if self._checked:
            return
        found = int(_sound(await self._post(request("eth_chainId", ()), self._timeout)), 16)
        if found != self._chain_id:
            raise OtherChainError(f"it serves the chain {found}, and the swarm lives on {self._chain_id}")
        self._checked = True

    def _http_request(self, body: Json, timeout: float) -> httpx.Request:
        data = json.dumps(body, separators=(",", ":")).encode()
        headers = {"content-type": "application/json", **self._authorization}
        limits = {"timeout": httpx.Timeout(timeout).as_dict()}
        made = httpx.Request("POST", self._parsed, headers=headers, content=data, extensions=limits)
        made.stream = _Body(data)
        return made

    @cached_property
    def _parsed(self) -> httpx.URL:
        return httpx.URL(self.url)

    @cached_property
    def _authorization(self) -> dict[str, str]:
        """What a user's name and password in the URL are sent as."""
        if not self._parsed.userinfo:
            return {}
        basic = httpx.BasicAuth(self._parsed.username, self._parsed.password)
        (signed,) = basic.auth_flow(httpx.Request("POST", self._parsed))
        return {"authorization": signed.headers["authorization"]}

    async def _response(self, request: httpx.Request) -> tuple[int, bytes]:
        response = await self._transport.handle_async_request(request)
        try:
            return response.status_code, await response.aread()
        finally:
            await response.aclose()

    async def _post(self, body: Json, timeout: float) -> Json:
        try:
            status, content = await self._response(self._http_request(body, timeout))
        except httpx.TimeoutException:
            raise NoAnswerError(f"no answer in {timeout:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise NoAnswerError(str(error) or type(error).__name__) from None
        if len(content) > _MAX_ANSWER:
            raise NoAnswerError("the answer is too long")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise NoAnswerError(f"HTTP {status}, and no JSON") from None
        expected = list if isinstance(body, list) else dict
        if not isinstance(answer, expected) or (expected is dict and not ("result" in answer or "error" in answer)):
            raise NoAnswerError(f"HTTP {status}, and no JSON-RPC answer")
        if status == 429 or status >= 500:
            raise NoAnswerError(f"HTTP {status}")
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            message = str(answer["error"].get("message"))[:200]
            sick = _BUSY + _BEHIND if "latest" in body["params"] else _BUSY
            if any(words in message.lower() for words in sick):
                raise NoAnswerError(message)
        return answer


def request(method: str, params: Sequence[Json]) -> dict[str, Json]:
    """A JSON-RPC request with an id of its own."""
    return {"jsonrpc": "2.0", "id": next(Node._ids), "method": method, "params": list(params)}


def result(method: str, answer: dict[str, Json]) -> Json:
    """The result in an answer. Raises NodeError if it is an error instead."""
    error = answer.get("error")
    if error is None:
        if "result" not in answer:
            raise NodeError(method, 0, "no answer to this request of the batch", b"")
        return answer["result"]
    if not isinstance(error, dict):
        raise NodeError(method, 0, str(error)[:200], b"")
    code = error.get("code")
    message = str(error.get("message", "no reason given"))[:500]
    raise NodeError(method, code if isinstance(code, int) else 0, message, _revert_data(error.get("data")))


def is_quantity(value: Json) -> bool:
    """Whether it is a number as JSON-RPC writes it, of at most 256 bits."""
    if not isinstance(value, str) or not value.startswith("0x") or not 3 <= len(value) <= 66:
        return False
    return all(digit in "0123456789abcdefABCDEF" for digit in value[2:])


def is_data(value: Json) -> bool:
    """Whether it is bytes as JSON-RPC writes them."""
    if not isinstance(value, str) or not value.startswith("0x"):
        return False
    try:
        bytes.fromhex(value[2:])
    except ValueError:
        return False
    return True


def _sound(answer: Json) -> str:
    value = answer.get("result")
    if not is_quantity(value):
        raise NoAnswerError(f"it answers {str(answer.get('error') or value)[:100]}")
    return str(value)


def _revert_data(data: Json) -> bytes:
    """geth and anvil give the data itself, others an object around it."""
    if isinstance(data, dict):
        data = data.get("data") or data.get("result")
    if isinstance(data, str):
        # Besu and Nethermind write "Reverted 0x...".
        _, found, digits = data.rpartition("0x")
        try:
            return bytes.fromhex(digits) if found else b""
        except ValueError:
            return b""
    return b""
