"""Members of the content exchange with TLS listeners of their own."""

from pathlib import Path

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.exchange import Endpoint, Listener, Live, Pins, ServerLimits, TlsLinks
from swarmp2p.content.interface import Stream
from swarmp2p.content.unixfs import Hashed
from swarmp2p.core.types import Address
from swarmp2p.identity import Key
from swarmp2p.network.certificate import issue_certificate

LOCAL = "127.0.0.1"
REFUSED = b"nonsense"
"""A message that members refuse."""


class Member:
    """A key, its certificate, a store, and a listener that serves it."""

    def __init__(self, name: str, folder: Path, limits: ServerLimits | None = None) -> None:
        self.key = Key.from_seed(name)
        self.store = EmbeddedStore(folder / name)
        self._limits = limits
        self.start()

    @property
    def address(self) -> Address:
        return self.key.address

    def start(self) -> None:
        self.certificate, chain = issue_certificate(self.key.secret)
        self.pins = Pins(chain)
        self.listener = Listener((LOCAL,), 0, self.pins, self._limits)
        self.live = Live()
        self.heard: list[tuple[Address, str, bytes]] = []
        self.listener.start(self.store, self.live, self.hear)

    def hear(self, member: Address, topic: str, message: bytes) -> bool:
        self.heard.append((member, topic, message))
        return message != REFUSED

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.certificate, ((LOCAL, self.listener.port),))

    def links_to(self, *others: "Member", listening: bool = True) -> TlsLinks:
        """Connections whose greetings go straight to the others."""

        async def greet(peer: Address) -> Endpoint | None:
            other = next(each for each in others if each.address == peer)
            other.pins.pin(self.address, self.certificate)
            self.greeted.append(peer)
            return other.endpoint if listening else None

        self.greeted: list[Address] = []
        return TlsLinks(self.pins, greet)

    def put(self, data: bytes) -> Hashed:
        return self.store.put(data)


class Nowhere:
    """A carrier whose network reaches nobody, so that all comes over TLS."""

    def __init__(self, *peers: Member) -> None:
        self._peers = [peer.address for peer in peers]

    async def open(self, peer: Address) -> Stream:
        raise ConnectionRefusedError("not over a stream")

    def reachable(self) -> list[Address]:
        return self._peers
