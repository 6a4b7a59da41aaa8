"""The serving side over streams of libp2p: answers those that members open."""

import logging
from collections import Counter

import trio

from swarmp2p.content.exchange.answers import Answers
from swarmp2p.content.exchange.effects import AsyncPipe, BadMessage
from swarmp2p.content.exchange.live import Live
from swarmp2p.content.exchange.offload import BROKEN, Offload, close_stream, name_of, threads
from swarmp2p.content.exchange.serving import ServerLimits, serve
from swarmp2p.content.interface import ContentStore, Stream
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable
from swarmp2p.core.types import Address

_log = logging.getLogger(__name__)


class Server:
    """Serves whatever the store holds, whole or in parts, to whoever has a stream: admitting only members is the
    network's part.

    Args:
        store: read in worker threads.
        limits: what one peer may take up.
        live: what is in the making.
        offload: how blocking calls run; tests with a fake clock run them inline.
    """

    def __init__(
        self,
        store: ContentStore,
        *,
        limits: ServerLimits | None = None,
        live: Live | None = None,
        offload: Offload | None = None,
    ) -> None:
        self._answers = Answers(store, live or Live())
        self._limits = limits or ServerLimits()
        self._offload = offload or threads(8)
        self._streams: Counter[Address] = Counter()

    async def serve(self, stream: Stream, peer: Address) -> None:
        """Answer one inbound stream until it ends. Never raises for what the peer does: garbage, silence and a broken
        stream end this stream only, with a line in the log. The stream is closed on return."""
        self._streams[peer] += 1
        try:
            if self._streams[peer] > self._limits.connections_per_peer:
                raise BadMessage(f"more than {self._limits.connections_per_peer} streams at once")
            await AsyncPipe(stream, self._offload).run(serve(self._answers, self._limits, waits=False))
        except BadMessage as error:
            _log.warning("refused a content stream of %s: %s", name_of(peer), error)
        except trio.TooSlowError:
            _log.info("closed a content stream of %s that was idle or stuck", name_of(peer))
        except (ContentUnavailable, ContentCorrupt) as error:
            _log.info("closed a content stream of %s in mid-answer: %s", name_of(peer), error)
        except BROKEN as error:
            _log.debug("content stream of %s broke: %s", name_of(peer), error)
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]
            await close_stream(stream)
