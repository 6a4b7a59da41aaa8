"""The content exchange, both sides (docs/protocol.md, section 6): requests.py has what is said."""

from swarmp2p.content.exchange.fetcher import Fetcher
from swarmp2p.content.exchange.pull import Limits
from swarmp2p.content.exchange.requests import CONTENT_PROTOCOL
from swarmp2p.content.exchange.server import Server
from swarmp2p.content.exchange.serving import ServerLimits

__all__ = ["CONTENT_PROTOCOL", "Fetcher", "Limits", "Server", "ServerLimits"]
