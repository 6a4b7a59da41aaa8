"""Bitswap, both sides: gives blocks of a content store's files to IPFS nodes, and asks these for blocks.

Each side writes on streams that it has opened itself and reads those that the other opens: go-bitswap and Helia never
read the answers from the stream that they asked on. What is said is in bitswap_messages.py, how a whole file is fetched
in bitswap_fetch.py. Every limit has a name: peers are strangers.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import trio

from swarmp2p.content.bitswap_messages import (
    MAX_BLOCK,
    MAX_ENTRIES,
    MAX_MESSAGE,
    MAX_WANTLIST,
    BadMessage,
    Message,
    MessageReader,
    Want,
    block_prefix,
    digest_in,
    encode,
)
from swarmp2p.content.blocks import BlockIndex
from swarmp2p.content.exchange.offload import BROKEN, Offload, close_stream, threads
from swarmp2p.content.interface import ContentStore, Stream
from swarmp2p.core.errors import ContentUnavailable, PeerUnreachable
from swarmp2p.core.types import Digest

_log = logging.getLogger(__name__)


PRESENCE_COST = 256
"""Bytes that a presence counts for in a message: looking it up costs more than its length."""


class BitswapNetwork(Protocol):
    """Connections to IPFS nodes, by PeerID as text."""

    async def open(self, peer: str) -> Stream:
        """A new stream of BITSWAP_PROTOCOL to a connected node. Raises PeerUnreachable, OSError."""


@dataclass(frozen=True, slots=True)
class BitswapLimits:
    """What a peer may cost, and how long it may take.

    Attributes:
        peers: nodes that are served at once.
        streams: inbound streams of one peer.
        wants: open wants of one peer; more are not taken in.
        batch: bytes of blocks in one message: a peer's turn.
        unasked: bytes of blocks that one stream may bring unasked for.
        idle: seconds that an inbound stream may be silent.
        send: seconds that a message may take to be written.
        linger: seconds that an outbound stream is kept for the next message.
        stall: seconds until a block that was asked for is taken as not coming.
    """

    peers: int = 256
    streams: int = 16
    wants: int = MAX_ENTRIES
    batch: int = 1 << 20
    unasked: int = 16 << 20
    idle: float = 300.0
    send: float = 60.0
    linger: float = 10.0
    stall: float = 20.0


@dataclass(slots=True)
class _Peer:
    """What is to be said to a node. `wants` are its own, to be answered; `entries` are for our wantlist at its side;
    `asked` is whether it was ever asked for a block, so that large messages may come from it."""

    wants: dict[bytes, Want] = field(default_factory=dict)
    entries: dict[bytes, Want] = field(default_factory=dict)
    news: trio.Event = field(default_factory=trio.Event)
    streams: int = 0
    asked: bool = False
    sending: bool = False

    def tell(self) -> None:
        """There is something to send."""
        self.news.set()
        self.news = trio.Event()


@dataclass(slots=True)
class _Wait:
    """One block that one peer was asked for."""

    peer: str
    over: trio.Event = field(default_factory=trio.Event)
    data: bytes | None = None
    sender: str = ""


@asynccontextmanager
async def open_bitswap(
    store: ContentStore,
    network: BitswapNetwork,
    *,
    may_have: Callable[[str], Collection[Digest] | None] = lambda peer: None,
    limits: BitswapLimits | None = None,
    offload: Offload | None = None,
) -> AsyncIterator["Bitswap"]:
    """Bitswap at work for the time of a block.

    Args:
        store: gives blocks; called in worker threads.
        network: connections to other nodes.
        may_have: files whose blocks a node (PeerID as text) is given; None: of all.
        limits: what a peer may cost.
        offload: how blocking calls run; tests with a fake clock run them inline.
    """
    async with trio.open_nursery() as nursery:
        bitswap = Bitswap(
            nursery, BlockIndex(store), network, may_have, limits or BitswapLimits(), offload or threads(4)
        )
        try:
            yield bitswap
        finally:
            bitswap.over = True
            nursery.cancel_scope.cancel()


class Bitswap:
    """Made by `open_bitswap`. Belongs to trio's thread."""

    def __init__(
        self,
        nursery: trio.Nursery,
        blocks: BlockIndex,
        network: BitswapNetwork,
        may_have: Callable[[str], Collection[Digest] | None],
        limits: BitswapLimits,
        offload: Offload,
    ) -> None:
        self._nursery = nursery
        self._blocks = blocks
        self._network = network
        self._may_have = may_have
        self.limits = limits
        self._offload = offload
        self._peers: dict[str, _Peer] = {}
        self._waits: defaultdict[Digest, list[_Wait]] = defaultdict(list)
        self.sent = 0
        """Bytes of blocks sent."""
        self.over = False
        """Streams may still come in, and are closed."""

    # What comes in

    async def serve(self, stream: Stream, peer: str) -> None:
        """Take in one inbound stream until it ends. Never raises for what the peer does; closes the stream."""
        try:
            state = self._peer(peer)
            state.streams += 1
        except BadMessage as error:
            _log.warning("refused a Bitswap stream of %s: %s", peer, error)
            await close_stream(stream)
            return
        try:
            if state.streams > self.limits.streams:
                raise BadMessage(f"more than {self.limits.streams} streams at once")
            await self._take_in(stream, peer, state)
        except BadMessage as error:
            _log.warning("ended a Bitswap stream of %s: %s", peer, error)
        except (trio.TooSlowError, *BROKEN) as error:
            _log.debug("a Bitswap stream of %s ended: %r", peer, error)
        finally:
            state.streams -= 1
            self._forget_if_idle(peer, state)
            await close_stream(stream)

    async def _take_in(self, stream: Stream, peer: str, state: _Peer) -> None:
        reader = MessageReader(stream, lambda: MAX_MESSAGE if state.asked else MAX_WANTLIST)
        unasked = 0
        while True:
            with trio.fail_after(self.limits.idle):
                message = await reader.read()
            if message is None or self.over:
                return
            self._note_wants(peer, state, message)
            for cid, have in message.presences:
                if not have:
                    self._absent(peer, cid)
            unasked += await self._take_blocks(peer, [data for _, data in message.blocks])
            if unasked > self.limits.unasked:
                raise BadMessage("too many blocks that nobody asked for")

    def _note_wants(self, peer: str, state: _Peer, message: Message) -> None:
        if message.full:
            state.wants.clear()
        for want in message.wants:
            if want.cancel:
                state.wants.pop(want.cid, None)
            elif want.cid in state.wants or len(state.wants) < self.limits.wants:
                state.wants[want.cid] = want
        if state.wants:
            self._send_soon(peer, state)

    async def _take_blocks(self, peer: str, blocks: Sequence[bytes]) -> int:
        """Hand blocks to whoever waits for them; bytes of those that nobody asked for."""
        if not blocks:
            return 0
        unasked = 0
        digests = await self._offload(_digests, blocks)
        for digest, data in zip(digests, blocks, strict=True):
            waits = self._waits.pop(digest, [])
            unasked += 0 if waits else len(data)
            for wait in waits:
                wait.data, wait.sender = data, peer
                wait.over.set()
        return unasked

    def _absent(self, peer: str, cid: bytes) -> None:
        found = digest_in(cid)
        for wait in self._waits.get(found[1], ()) if found else ():
            if wait.peer == peer:
                wait.over.set()

    # What is asked for

    async def ask(self, peer: str, cid: bytes) -> bytes:
        """A block of a node, verified: it has the digest of its CID.

        Raises:
            ContentUnavailable: the node does not have it, or sent nothing in time, or cannot be reached.
        """
        found = digest_in(cid)
        if found is None:
            raise ContentUnavailable(f"{cid.hex()} is no CID of a block that is known here.")
        try:
            state, wait = self._peer(peer), _Wait(peer)
        except BadMessage as error:
            raise ContentUnavailable(f"{peer} cannot be asked: {error}.") from error
        self._waits[found[1]].append(wait)
        try:
            state.asked = True
            state.entries[cid] = Want(cid)
            self._send_soon(peer, state)
            with trio.move_on_after(self.limits.stall) as stall:
                await wait.over.wait()
            if wait.data is not None:
                return wait.data
            why = "sent nothing in time" if stall.cancelled_caught else "does not have it, or is gone"
            raise ContentUnavailable(f"No block {found[1].hex()} from {peer}: it {why}.")
        finally:
            self._no_longer(peer, cid, found[1], wait)

    def _no_longer(self, peer: str, cid: bytes, digest: Digest, wait: _Wait) -> None:
        waits = self._waits.get(digest, [])
        if wait in waits:
            waits.remove(wait)
        if not waits:
            self._waits.pop(digest, None)
        state = self._peers.get(peer)
        if state is None or wait.sender == peer or any(other.peer == peer for other in waits):
            return
        if not wait.over.is_set() or wait.data is not None:  # it may come yet, and is not wanted any more
            state.entries[cid] = Want(cid, cancel=True)
            self._send_soon(peer, state)

    # What goes out

    def _peer(self, peer: str) -> _Peer:
        if peer not in self._peers:
            if len(self._peers) >= self.limits.peers:
                raise BadMessage(f"{self.limits.peers} nodes are served already")
            self._peers[peer] = _Peer()
        return self._peers[peer]

    def _forget_if_idle(self, peer: str, state: _Peer) -> None:
        if not (state.streams or state.sending or state.wants or state.entries) and self._peers.get(peer) is state:
            del self._peers[peer]

    def _send_soon(self, peer: str, state: _Peer) -> None:
        state.tell()
        if not state.sending:
            state.sending = True
            self._nursery.start_soon(self._send_all, peer, state)

    async def _send_all(self, peer: str, state: _Peer) -> None:
        """Say what there is to say to one peer, a message at a time, until there is nothing more for a while."""
        stream: Stream | None = None
        try:
            while True:
                message = await self._next_message(peer, state)
                if message is not None:
                    stream = await self._send(peer, stream, encode(message))
                    continue
                news = state.news
                with trio.move_on_after(self.limits.linger) as patience:
                    await news.wait()
                if patience.cancelled_caught:
                    return
        except (PeerUnreachable, trio.TooSlowError, *BROKEN) as error:
            _log.info("cannot send blocks to %s: %r", peer, error)
            self._gone(peer, state)
        except Exception:  # this serves others: no fault in it may end the peer
            _log.exception("sending blocks to %s failed", peer)
            self._gone(peer, state)
        finally:
            state.sending = False
            self._forget_if_idle(peer, state)
            if stream is not None:
                await close_stream(stream)

    async def _send(self, peer: str, stream: Stream | None, data: bytes) -> Stream:
        """Send on this stream, or on a new one if there is none, or the other side has closed it for being idle."""
        with trio.fail_after(self.limits.send):
            if stream is not None:
                try:
                    await stream.send_all(data)
                    return stream
                except BROKEN:
                    await close_stream(stream)
            stream = await self._network.open(peer)
            try:
                await stream.send_all(data)
            except BaseException:
                await close_stream(stream)
                raise
            return stream

    def _gone(self, peer: str, state: _Peer) -> None:
        state.wants.clear()
        state.entries.clear()
        for waits in self._waits.values():
            for wait in waits:
                if wait.peer == peer:
                    wait.over.set()

    async def _next_message(self, peer: str, state: _Peer) -> Message | None:
        """Entries for our wantlist there, and answers to some of its wants: a turn, so that none waits for all of
        another's. None: there is nothing to say."""
        entries = tuple(state.entries.values())[:MAX_ENTRIES]
        for entry in entries:
            del state.entries[entry.cid]
        answers = _Answers()
        while state.wants and not (answers.blocks or answers.presences):
            wants = sorted(state.wants.values(), key=lambda want: -want.priority)
            answers = await self._offload(self._answer, wants, self._may_have(peer))
            for want in answers.done:
                if state.wants.get(want.cid) == want:  # else it was cancelled or changed meanwhile
                    del state.wants[want.cid]
        if not (entries or answers.blocks or answers.presences):
            return None
        self.sent += sum(len(data) for _, data in answers.blocks)
        return Message(entries, False, tuple(answers.blocks), tuple(answers.presences))

    def _answer(self, wants: Sequence[Want], only: Collection[Digest] | None) -> "_Answers":
        """Answers to the first of these wants, until a message is full. Blocking."""
        answers, room = _Answers(), self.limits.batch
        self._blocks.refresh()
        for want in wants:
            if room <= 0:
                break
            answers.done.append(want)
            found = digest_in(want.cid)
            if found is not None and want.have and self._blocks.has(found[1], only):
                answers.presences.append((want.cid, True))
                room -= PRESENCE_COST
                continue
            block = self._blocks.read(found[1], only) if found is not None and not want.have else None
            if block is not None and len(block) <= MAX_BLOCK:
                answers.blocks.append((block_prefix(want.cid), block))
                room -= len(block)
            elif want.dont_have:
                answers.presences.append((want.cid, False))
                room -= PRESENCE_COST
        return answers


@dataclass(slots=True)
class _Answers:
    """Blocks with the prefixes of their CIDs, presences, and the wants that these answer, or that stay unanswered."""

    blocks: list[tuple[bytes, bytes]] = field(default_factory=list)
    presences: list[tuple[bytes, bool]] = field(default_factory=list)
    done: list[Want] = field(default_factory=list)


def _digests(blocks: Sequence[bytes]) -> list[Digest]:
    return [hashlib.sha256(block).digest() for block in blocks]
