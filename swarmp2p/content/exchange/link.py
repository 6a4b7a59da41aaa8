"""One connection to a source, whatever it is made of."""

from typing import Protocol, TypeVar

from swarmp2p.content.exchange.effects import AsyncPipe, Conversation
from swarmp2p.content.exchange.offload import Offload, close_stream
from swarmp2p.content.interface import Carrier, Stream
from swarmp2p.core.types import Address

_T = TypeVar("_T")


class Link(Protocol):
    """A connection that one conversation after the other is held on."""

    async def run(self, conversation: Conversation[_T]) -> _T:
        """Hold a conversation. Cancelled, or when it raises, the connection is of no further use."""

    async def release(self, *, reusable: bool) -> None:
        """Give it back, or close it. Works also while being cancelled."""


class Direct(Protocol):
    """Connections to members that can be dialled, faster than streams of the network."""

    async def connect(self, peer: Address) -> Link | None:
        """A connection to a member, a kept one if there is one; None if only the network reaches it.

        Raises:
            OSError: it should be there, and does not answer.
        """


class StreamLink:
    """A `Link` over a stream of the network; not kept."""

    def __init__(self, stream: Stream, offload: Offload) -> None:
        self._stream = stream
        self._pipe = AsyncPipe(stream, offload)

    async def run(self, conversation: Conversation[_T]) -> _T:
        return await self._pipe.run(conversation)

    async def release(self, *, reusable: bool) -> None:
        await close_stream(self._stream)


class Links:
    """Opens a link to a source, the best kind that it can be reached by.

    Args:
        carrier: streams of the network.
        direct: other connections, tried first; None: none.
        offload: how blocking calls run beside streams.
    """

    def __init__(self, carrier: Carrier, direct: Direct | None, offload: Offload) -> None:
        self._carrier = carrier
        self._direct = direct
        self._offload = offload

    async def open(self, peer: Address, *, direct: bool = False) -> Link:
        """A link to a member; with `direct`, no stream of the network. Raises OSError, PeerUnreachable."""
        if self._direct is not None:
            link = await self._direct.connect(peer)
            if link is not None:
                return link
        if direct:
            raise ConnectionError("cannot be dialled")
        return StreamLink(await self._carrier.open(peer), self._offload)

    def reachable(self) -> list[Address]:
        """Members connected now."""
        return self._carrier.reachable()
