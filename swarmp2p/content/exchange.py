"""The content exchange, both sides (docs/protocol.md, section 6): see frames.py for what is said on a stream."""

from swarmp2p.content.fetcher import Fetcher
from swarmp2p.content.frames import CONTENT_PROTOCOL
from swarmp2p.content.pull import Limits
from swarmp2p.content.server import Server

__all__ = ["CONTENT_PROTOCOL", "Fetcher", "Limits", "Server"]
