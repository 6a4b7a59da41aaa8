"""The content exchange, both sides (docs/protocol.md, section 6): requests.py has what is said."""

from swarmp2p.content.exchange.arrivals import Arrivals
from swarmp2p.content.exchange.direct import TlsLinks
from swarmp2p.content.exchange.fetcher import Fetcher
from swarmp2p.content.exchange.link import Direct
from swarmp2p.content.exchange.listener import Hear, Listener
from swarmp2p.content.exchange.live import Live, LiveObject
from swarmp2p.content.exchange.pins import Endpoint, Pins
from swarmp2p.content.exchange.pull import Limits
from swarmp2p.content.exchange.requests import CONTENT_PROTOCOL
from swarmp2p.content.exchange.server import Server
from swarmp2p.content.exchange.serving import ServerLimits

__all__ = [
    "CONTENT_PROTOCOL",
    "Arrivals",
    "Direct",
    "Endpoint",
    "Fetcher",
    "Hear",
    "Limits",
    "Listener",
    "Live",
    "LiveObject",
    "Pins",
    "Server",
    "ServerLimits",
    "TlsLinks",
]
