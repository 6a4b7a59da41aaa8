"""The asking side's half of a conversation: leaf lists, and one source of a pull.

A source keeps its connection until everything is here, so that it can take over what another source leaves behind.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from swarmp2p.content.exchange.arrivals import Arrivals
from swarmp2p.content.exchange.effects import BadMessage, Conversation, Fill, Pause, ReadHead, Send, Work
from swarmp2p.content.exchange.pull import Limits, Pull
from swarmp2p.content.exchange.requests import MAX_CHUNKS, MAX_HEAD, MAX_RUN, Answer, Asked, Outgoing, Posting, What
from swarmp2p.content.unixfs import HASH_SIZE
from swarmp2p.core.errors import ContentCorrupt
from swarmp2p.core.types import CHUNK_SIZE, Digest

_AHEAD = 2
"""Requests under way for an object in the making: there is always one that can be answered."""


def _answer(request: Asked, stall: float) -> Conversation[Answer]:
    head = yield ReadHead(MAX_HEAD, stall)
    if not head:
        raise ConnectionError("closed the connection")
    answer = request.answered(head)
    if not answer.found:
        yield from _body(answer.length, CHUNK_SIZE, stall)
    return answer


def _body(length: int, at_most: int, stall: float) -> Conversation[bytes]:
    if length > at_most:
        raise BadMessage(f"a body of {length} bytes, where at most {at_most} were expected")
    body = bytearray(length)
    for at in range(0, length, CHUNK_SIZE):
        yield Fill(memoryview(body)[at : at + CHUNK_SIZE], stall)
    return bytes(body)


def leaf_list_of(
    name: Digest, chunks: int | None, digest_of: Callable[[bytes], Digest], stall: float
) -> Conversation[bytes | None]:
    """The leaf list of an object, verified; None when the source does not have it.

    Args:
        name: the object.
        chunks: in the object; None when its leaf list alone tells.
        digest_of: blocking; the digest that a leaf list makes, to compare with `name`.
        stall: seconds without an answer that are too many.

    Raises:
        BadMessage, ContentCorrupt: the source lies.
    """
    request = Outgoing(name, What.LEAVES)
    yield Send(request.head, stall)
    answer = yield from _answer(request, stall)
    if not answer.found:
        return None
    expected = HASH_SIZE * (MAX_CHUNKS if chunks is None else chunks)
    if answer.length % HASH_SIZE or not answer.length or (chunks is not None and answer.length != expected):
        raise BadMessage(f"{answer.length} bytes are not the leaf list of {chunks or 'any number of'} chunks")
    leaf_list = yield from _body(answer.length, expected, stall)
    if (yield Work(partial(digest_of, leaf_list))) != name:
        raise ContentCorrupt(f"The leaf list does not make {name.hex()}.")
    return leaf_list


def follow(
    name: Digest, total: int, take: Callable[[int, memoryview], object], wanted: range, stall: float
) -> Conversation[int]:
    """Take chunks of an object in the making, one after the other as they become ready.

    Args:
        name: as in live.py.
        total: chunks in it.
        take: blocking; called with each chunk's index and bytes, unverified; ValueError: none of this length fits there.
        wanted: the chunks to take.
        stall: seconds without a chunk after which it is given up.

    Returns:
        The first of them that did not come, or their end.

    Raises:
        BadMessage: the source does not keep to the protocol.
    """
    buffer = memoryview(bytearray(CHUNK_SIZE))
    runs = deque(range(at, min(at + MAX_RUN, wanted.stop)) for at in range(wanted.start, wanted.stop, MAX_RUN))
    asked: deque[Outgoing] = deque()
    while runs or asked:
        while runs and len(asked) < _AHEAD:
            asked.append(Outgoing(name, What.CHUNKS, runs.popleft(), wait=max(1, int(stall))))
            yield Send(asked[-1].head, stall)
        request = asked.popleft()
        answer = yield from _answer(request, 2 * stall + 1)
        if not answer.found:
            return request.run.start
        length = _length_of(answer, request.run, total)
        for index in request.run:
            data = buffer[: min(CHUNK_SIZE, length - CHUNK_SIZE * (index - request.run.start))]
            yield Fill(data, stall + 1)
            try:
                yield Work(partial(take, index, data))
            except ValueError as error:
                raise BadMessage(str(error)) from error
    return wanted.stop


def _length_of(answer: Answer, run: range, total: int) -> int:
    """Bytes in an answer with all these chunks. BadMessage if it has others."""
    if (answer.first, answer.last, answer.total) != (run.start, run.stop - 1, total):
        asked = f"{run.start} to {run.stop - 1} of {total}"
        raise BadMessage(f"chunks {answer.first} to {answer.last} of {answer.total} where {asked} were asked for")
    if not CHUNK_SIZE * (len(run) - 1) < answer.length <= CHUNK_SIZE * len(run):
        raise BadMessage(f"{answer.length} bytes are not {len(run)} chunks")
    return answer.length


def told(topic: str, message: bytes, stall: float) -> Conversation[bool]:
    """Tell the other side something; whether it took it. Raises BadMessage."""
    request = Posting(topic, message)
    yield Send(request.head, stall)
    answer = yield from _answer(request, stall)
    yield from _body(answer.length, CHUNK_SIZE, stall)
    return answer.found


class Lane:
    """One source of one pull.

    Args:
        has_all: it should have the whole object, so that it is not asked first which chunks it has.

    Raises, from `run`: BadMessage or ContentCorrupt (the source lies), TimeoutError or trio.TooSlowError (it stalls),
    OSError and trio's stream errors (it is gone), and whatever the target raises for reasons of its own (QuotaExceeded,
    ContentUnavailable).
    """

    def __init__(self, pull: Pull, limits: Limits, arrived: Arrivals, *, has_all: bool = False) -> None:
        self._pull = pull
        self._arrived = arrived
        self._limits = limits
        self._has_all = has_all
        self._available = set(range(pull.total)) if has_all else set()
        self._asked: deque[Outgoing] = deque()
        self._owed: set[int] = set()
        self._buffer = memoryview(bytearray(CHUNK_SIZE))
        self.received = 0
        """Bytes that came and proved right."""

    @property
    def settled(self) -> bool:
        """Whether all that was asked for was answered, so that the connection can be used again."""
        return not self._asked

    def run(self) -> Conversation[bool]:
        """Pull until nothing is left that this source has. False if it had none of what is wanted."""
        if not self._has_all:
            yield from self._ask_what_is_there()
        try:
            while self._pull.wants_any_of(self._available):
                yield from self._request()
                if self._asked:
                    yield from self._take(self._asked.popleft())
                else:
                    yield Pause(self._pull.changed, self._limits.hedge)
        finally:
            for index in self._owed:
                self._pull.give_back(index)
        return self.received > 0

    def _ask_what_is_there(self) -> Conversation[None]:
        request = Outgoing(self._pull.target.object, What.HELD)
        yield Send(request.head, self._limits.stall)
        answer = yield from _answer(request, self._limits.stall)
        if not answer.found:
            return
        total, expected = self._pull.total, -(-self._pull.total // 8)
        if answer.total != total or answer.length != expected:
            raise BadMessage(f"{answer.length} bytes do not say which of {total} chunks are there")
        bitmap = yield from _body(answer.length, expected, self._limits.stall)
        self._available = {i for i in range(total) if bitmap[i // 8] >> i % 8 & 1}

    def _request(self) -> Conversation[None]:
        while (free := self._limits.window - len(self._owed)) > 0:
            run = self._pull.take(self._available, self._owed, min(free, self._limits.run), self._limits.hedge)
            if not run:
                return
            request = Outgoing(self._pull.target.object, What.CHUNKS, run)
            self._owed.update(run)
            self._asked.append(request)
            yield Send(request.head, self._limits.stall)

    def _take(self, request: Outgoing) -> Conversation[None]:
        """Read one answer: as many of the chunks as the source has, from the first one on."""
        answer = yield from _answer(request, self._limits.stall)
        run = request.run
        count = 0
        if answer.found:
            count = answer.last + 1 - run.start
            if answer.first != run.start or not 1 <= count <= len(run) or answer.total != self._pull.total:
                raise BadMessage(
                    f"chunks {answer.first} to {answer.last} where {run.start} to {run.stop - 1} were asked"
                )
            if not CHUNK_SIZE * (count - 1) <= answer.length <= CHUNK_SIZE * count:
                raise BadMessage(f"{answer.length} bytes are not {count} chunks")
        for index in run[:count]:
            length = min(CHUNK_SIZE, answer.length - CHUNK_SIZE * (index - run.start))
            data = self._buffer[:length]
            yield Fill(data, self._limits.stall)
            try:
                yield Work(partial(self._pull.target.write_chunk, index, data))
            except ValueError as error:
                raise ContentCorrupt(str(error)) from error
            except ContentCorrupt:
                # A disk may rot; a source that sends the same again, having looked, lies.
                if request.recheck:
                    raise
                again = Outgoing(self._pull.target.object, What.CHUNKS, range(index, index + 1), recheck=True)
                self._asked.append(again)
                yield Send(again.head, self._limits.stall)
                continue
            self._owed.discard(index)
            self.received += length
            self._pull.done(index)
            self._arrived.came(self._pull.target.object, index)
        for index in run[count:]:
            self._owed.discard(index)
            self._available.discard(index)
            self._pull.give_back(index)
