"""JSON-RPC to one or more nodes of the same chain: fail-over, time limits, errors that say what to mend."""

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType

import httpx
import trio

from swarmp2p.control.hexadecimal import to_hex
from swarmp2p.control.node import Json as Json
from swarmp2p.control.node import NoAnswerError, Node, OtherChainError, is_quantity, request, result
from swarmp2p.control.node import NodeError as NodeError
from swarmp2p.core.errors import ChainUnreachable, ConfigError, WrongChain
from swarmp2p.core.types import Address

REQUEST_TIMEOUT = 10.0
"""Seconds for a node to answer."""
LONG_POLL = 20.0
"""Seconds of one swarm_waitForBlock request; the embedded chain takes up to 30."""
LOOK_BACK = 60.0
"""Seconds after which a node that was left is tried again."""
_PROBE = 2.0
"""Seconds for nodes to tell how far they are, when there is a choice."""
_PASSES = 2
"""Times that all nodes are tried before ChainUnreachable; whoever calls decides on longer patience."""
_PAUSE = 0.2
BATCH = 50
"""Requests that go to a node at once; nodes refuse batches that are too long for them, often above 100."""


class RpcClient:
    """Async JSON-RPC client. Use as an async context manager, or call `aclose`.

    Args:
        urls: nodes of one chain, in order of preference. Requests stay with one node until it fails; while waiting for
            blocks, a preferred one is gone back to when it has caught up.
        chain_id: if given, each node is asked for it before its first use. One of another chain counts as failed.
        timeout: seconds for a node to answer.
        poll_interval: seconds between two looks for a new block, where the node has no better way; longer, up to twice that,
            when none comes. A look costs the node less than a millisecond, and gossip of the others makes peers look at
            once; a subscription would need a second connection, and these looks besides it, since it may get lost.

    Every method raises ChainUnreachable when no node answers, WrongChain when all serve another chain, and NodeError
    when one answers with an error. All requests may safely be sent twice (a signed transaction has only one effect).
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        chain_id: int | None = None,
        timeout: float = REQUEST_TIMEOUT,
        poll_interval: float = 0.5,
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
        # trust_env: a proxy set for the web must not come between a peer and the node on its own machine.
        self._transport = transport or httpx.AsyncHTTPTransport(trust_env=False)
        self._nodes = [Node(self._transport, url, chain_id, timeout) for url in urls]
        self._current = 0
        self._look_back_at = 0.0
        self._long_poll = True
        self._hurry = trio.Event()

    async def __aenter__(self) -> "RpcClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def call(
        self,
        method: str,
        *params: Json,
        timeout: float | None = None,
        usable: Callable[[Json], bool] | None = None,
    ) -> Json:
        """One request; the result.

        Args:
            usable: whether a result can be one. A node that gives another is passed over like one that is silent.
        """
        return result(method, await self._send(request(method, params), timeout, usable))

    async def number(self, method: str, *params: Json, timeout: float | None = None) -> int:
        """One request whose result is a quantity."""
        return int(await self.call(method, *params, timeout=timeout, usable=is_quantity), 16)

    async def batch(self, requests: Sequence[tuple[str, Sequence[Json]]]) -> list[Json]:
        """Many requests in few round trips, as many at once as nodes take; the results in order. The first error among
        them is raised."""
        results: list[Json] = []
        for start in range(0, len(requests), BATCH):
            bodies = [request(method, params) for method, params in requests[start : start + BATCH]]
            answers = await self._send(bodies, None, None)
            by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
            results += [result(body["method"], by_id.get(body["id"], {})) for body in bodies]
        return results

    # ---- blocks

    @property
    def long_polls(self) -> bool:
        """Whether the node tells of new blocks at once, as far as is known."""
        return self._long_poll

    async def block_number(self) -> int:
        """Number of the latest block."""
        return await self.number("eth_blockNumber")

    async def wait_for_block(self, above: int, timeout: float, *, is_latest: bool = False) -> int:
        """The latest block's number: as soon as it is above `above`, soon if it is below (the chain was reorganised, or
        this node lags), and after `timeout` seconds in any case; `above` when `look` says that it is worth looking.

        Args:
            is_latest: `above` was the latest block a moment ago, so that there is no hurry to look.
        """
        begun = trio.current_time()
        deadline = begun + timeout
        while True:
            await self._look_back()
            left = max(0.0, deadline - trio.current_time())
            number = await self._wait_there(above, min(left, LONG_POLL)) if self._long_poll else None
            if number is None:
                pause = min(left, self._pause(trio.current_time() - begun))
                if is_latest and await self._rest(pause):
                    return above
                number = await self.block_number()
                if number < above and not is_latest:
                    await self._rest(pause)
                is_latest = True
            if number != above or trio.current_time() >= deadline:
                return number

    def look(self) -> None:
        """There is probably a new block: have `wait_for_block` return at once, where the node does not tell by itself."""
        self._hurry.set()

    async def _rest(self, seconds: float) -> bool:
        """True: `look` was called."""
        with trio.move_on_after(seconds):
            await self._hurry.wait()
        hurried, self._hurry = self._hurry.is_set(), trio.Event()
        return hurried

    def _pause(self, waited: float) -> float:
        """Seconds until the next look: late by a quarter of the time between blocks at most, as far as it is long."""
        return min(max(self._poll_interval, waited / 4), 2 * self._poll_interval)

    async def _wait_there(self, above: int, seconds: float) -> int | None:
        try:
            return await self.number("swarm_waitForBlock", above, seconds, timeout=seconds + self._timeout)
        except NodeError:
            # Only the embedded chain has it; nodes differ in the code that says so.
            self._long_poll = False
            return None

    # ---- which node

    def pass_over(self) -> None:
        """Use the next node from now on: the answers of this one make no sense."""
        self._current = (self._current + 1) % len(self._nodes)

    async def move_to_highest(self) -> bool:
        """Use the node with the highest block; True if that is another one than before."""
        numbers = await self._numbers() if len(self._nodes) > 1 else {}
        best = max(numbers, key=lambda at: (numbers[at], -at), default=self._current)
        if numbers.get(best, -1) <= numbers.get(self._current, -1):
            return False
        self._current = best
        return True

    async def _look_back(self) -> None:
        """Go back to a preferred node when it is as far as the one in use."""
        now = trio.current_time()
        if self._current == 0 or now < self._look_back_at:
            return
        self._look_back_at = now + LOOK_BACK
        numbers = await self._numbers()
        caught_up = [at for at, number in numbers.items() if number >= numbers.get(self._current, number)]
        self._current = min([self._current, *caught_up])

    async def _numbers(self) -> dict[int, int]:
        """The latest block of every node that tells it in time."""
        numbers: dict[int, int] = {}

        async def ask(at: int, node: Node) -> None:
            with contextlib.suppress(NoAnswerError):
                numbers[at] = await node.block_number(_PROBE)

        with trio.move_on_after(_PROBE):
            async with trio.open_nursery() as nursery:
                for at, node in enumerate(self._nodes):
                    nursery.start_soon(ask, at, node)
        return numbers

    async def _send(self, body: Json, timeout: float | None, usable: Callable[[Json], bool] | None) -> Json:
        problems: dict[str, NoAnswerError] = {}
        for attempt in range(_PASSES * len(self._nodes)):
            at = self._current
            node = self._nodes[at]
            if attempt and attempt % len(self._nodes) == 0:
                await trio.sleep(_PAUSE)
            try:
                answer = await node.ask(body, timeout)
                if usable is not None and answer.get("error") is None and not usable(answer.get("result")):
                    raise NoAnswerError(f"it answers {str(answer.get('result'))[:100]!r} to {body['method']}")
                return answer
            except NoAnswerError as error:
                problems[node.url] = error
                # Another task may have moved on from the same node already.
                if self._current == at:
                    self._current = (at + 1) % len(self._nodes)
                    self._look_back_at = trio.current_time() + LOOK_BACK
        raise self._unreachable(problems)

    def _unreachable(self, problems: dict[str, NoAnswerError]) -> ChainUnreachable | WrongChain:
        listed = "; ".join(f"{url}: {problem}" for url, problem in problems.items())
        if all(isinstance(problem, OtherChainError) for problem in problems.values()):
            return WrongChain(
                f"No RPC node is of the swarm's chain ({listed}).", "Give the URL of a node of that chain."
            )
        return ChainUnreachable(
            f"No RPC node answers ({listed}).",
            "Check that the node runs, and the rpc URLs under [chain] in swarm.toml.",
        )


async def call_each(rpc: RpcClient, contract: Address, calls: Sequence[bytes], block: str = "latest") -> list[str]:
    """What a contract answers to each of these calldata, as the node writes it; in few requests."""
    asked = [{"to": to_hex(contract), "data": to_hex(call)} for call in calls]
    return [str(output) for output in await rpc.batch([("eth_call", [call, block]) for call in asked])]
