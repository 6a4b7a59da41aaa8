"""JSON-RPC over HTTP to one or more nodes of the same chain: fail-over, time limits, errors that say what to mend."""

import itertools
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeAlias

import httpx
import trio

from swarmp2p.core.errors import ChainUnreachable, ConfigError, SwarmError, WrongChain

Json: TypeAlias = Any

METHOD_NOT_FOUND = -32601
REQUEST_TIMEOUT = 10.0
"""Seconds for a node to answer."""
LONG_POLL = 20.0
"""Seconds of one swarm_waitForBlock request; the embedded chain takes up to 30."""
_PASSES = 2
"""Times that all nodes are tried before ChainUnreachable; whoever calls decides on longer patience."""
_PAUSE = 0.2
_MAX_ANSWER = 64 * 1024 * 1024
BATCH = 50
"""Requests that go to a node at once; nodes refuse batches that are too long for them, often above 100."""


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


class _NoAnswerError(Exception):
    """This node did not give a usable answer; another one may."""


class RpcClient:
    """Async JSON-RPC client. Use as an async context manager, or call `aclose`.

    Args:
        urls: nodes of one chain, in order of preference. Requests stay with one node until it fails.
        chain_id: if given, each node is asked for it before its first use.
        timeout: seconds for a node to answer.
        poll_interval: seconds between two looks for a new block, where the node has no better way.

    Every method raises ChainUnreachable when no node answers, WrongChain when one serves another chain, and NodeError
    when one answers with an error. All requests may safely be sent twice (a signed transaction has only one effect).
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        chain_id: int | None = None,
        timeout: float = REQUEST_TIMEOUT,
        poll_interval: float = 0.1,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not urls:
            raise ConfigError("There is no RPC URL.", 'Set rpc = ["http://..."] under [chain].')
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ConfigError(f"The RPC URL {url!r} is not one of http:// or https://.", "Write it in full.")
        self.urls = tuple(urls)
        self.chain_id = chain_id
        self._timeout = timeout
        self._poll_interval = poll_interval
        self._current = 0
        self._checked: set[str] = set()
        self._long_poll = True
        self._ids = itertools.count(1)
        # trust_env: a proxy set for the web must not come between a peer and the node on its own machine.
        self._client = httpx.AsyncClient(timeout=timeout, trust_env=False, transport=transport)

    async def __aenter__(self) -> "RpcClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(self, method: str, *params: Json, timeout: float | None = None) -> Json:
        """One request; the result."""
        return _result(method, await self._send(self._request(method, params), timeout))

    async def batch(self, requests: Sequence[tuple[str, Sequence[Json]]]) -> list[Json]:
        """Many requests in few round trips, as many at once as nodes take; the results in order. The first error among
        them is raised."""
        results: list[Json] = []
        for start in range(0, len(requests), BATCH):
            bodies = [self._request(method, params) for method, params in requests[start : start + BATCH]]
            answers = await self._send(bodies, None)
            by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
            results += [_result(body["method"], by_id.get(body["id"], {})) for body in bodies]
        return results

    @property
    def long_polls(self) -> bool:
        """Whether the node tells of new blocks at once, as far as is known."""
        return self._long_poll

    async def block_number(self) -> int:
        """Number of the latest block."""
        return int(await self.call("eth_blockNumber"), 16)

    async def wait_for_block(self, above: int, timeout: float) -> int:
        """The latest block's number, as soon as it is above `above` or after `timeout` seconds."""
        deadline = trio.current_time() + timeout
        while True:
            left = max(0.0, deadline - trio.current_time())
            number = await self._wait_there(above, min(left, LONG_POLL)) if self._long_poll else None
            if number is None:
                number = await self.block_number()
                left = min(left, self._poll_interval)
                if number <= above and left > 0:
                    await trio.sleep(left)
            if number > above or trio.current_time() >= deadline:
                return number

    async def _wait_there(self, above: int, seconds: float) -> int | None:
        try:
            answer = await self.call("swarm_waitForBlock", above, seconds, timeout=seconds + self._timeout)
        except NodeError:
            # Only the embedded chain has it; nodes differ in the code that says so.
            self._long_poll = False
            return None
        return int(answer, 16)

    def _request(self, method: str, params: Sequence[Json]) -> dict[str, Json]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    async def _send(self, body: Json, timeout: float | None) -> Json:
        problems: dict[str, str] = {}
        for attempt in range(_PASSES * len(self.urls)):
            at = self._current
            url = self.urls[at]
            if attempt and attempt % len(self.urls) == 0:
                await trio.sleep(_PAUSE)
            try:
                await self._check(url)
                return await self._post(url, body, timeout)
            except _NoAnswerError as error:
                problems[url] = str(error)
                # Another task may have moved on from the same node already.
                if self._current == at:
                    self._current = (at + 1) % len(self.urls)
        listed = "; ".join(f"{url}: {problem}" for url, problem in problems.items())
        raise ChainUnreachable(
            f"No RPC node answers ({listed}).",
            "Check that the node runs, and the rpc URLs under [chain] in swarm.toml.",
        )

    async def _check(self, url: str) -> None:
        if self.chain_id is None or url in self._checked:
            return
        request = self._request("eth_chainId", ())
        found = int(_result("eth_chainId", await self._post(url, request, None)), 16)
        if found != self.chain_id:
            raise WrongChain(
                f"{url} serves the chain {found}, and the swarm lives on {self.chain_id}.",
                "Give the RPC URL of a node of that chain.",
            )
        self._checked.add(url)

    def _http_request(self, url: str, body: Json, timeout: float) -> httpx.Request:
        data = json.dumps(body, separators=(",", ":")).encode()
        headers = {"content-type": "application/json"}
        request = self._client.build_request("POST", url, content=data, headers=headers, timeout=timeout)
        request.stream = _Body(data)
        return request

    async def _post(self, url: str, body: Json, timeout: float | None) -> Json:
        try:
            response = await self._client.send(self._http_request(url, body, timeout or self._timeout))
        except httpx.TimeoutException:
            raise _NoAnswerError(f"no answer in {timeout or self._timeout:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _NoAnswerError(str(error) or type(error).__name__) from None
        if len(response.content) > _MAX_ANSWER:
            raise _NoAnswerError("the answer is too long")
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError):
            raise _NoAnswerError(f"HTTP {response.status_code}, and no JSON") from None
        expected = list if isinstance(body, list) else dict
        if isinstance(answer, expected) and (expected is list or "result" in answer or "error" in answer):
            if response.status_code == 429 or response.status_code >= 500:
                raise _NoAnswerError(f"HTTP {response.status_code}")
            return answer
        raise _NoAnswerError(f"HTTP {response.status_code}, and no JSON-RPC answer")


def _result(method: str, answer: dict[str, Json]) -> Json:
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
