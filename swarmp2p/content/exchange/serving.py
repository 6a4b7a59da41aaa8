"""The serving side's half of a conversation."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

from swarmp2p.content.exchange.answers import NOT_UNDERSTOOD, REFUSED, TAKEN, Answers, Reply
from swarmp2p.content.exchange.effects import Conversation, Fill, ReadHead, Send, Work
from swarmp2p.content.exchange.requests import MAX_HEAD, Incoming, Request, What

GIVES_WAY = 1.0
"""Seconds, at most, that a merged chunk waits for updates that are being sent."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one peer may take up.

    Attributes:
        idle: seconds that a connection may be silent between two requests.
        send: seconds that the other side may take to accept a chunk.
        connections_per_peer: more than this from one peer at once are closed at once.
        connections: in all.
    """

    idle: float = 120.0
    send: float = 60.0
    connections_per_peer: int = 32
    connections: int = 512


def serve(
    answers: Answers, limits: ServerLimits, *, waits: bool, hear: Callable[[str, bytes], bool] | None = None
) -> Conversation[None]:
    """Answer requests until the other side ends the connection.

    Args:
        waits: whether an answer may be put off until a chunk is made; it takes a thread up.
        hear: blocking; takes topic and message of the other side, and says whether it was worth anything. None: no messages.

    Raises:
        BadMessage: what came is not HTTP.
        ContentUnavailable, ContentCorrupt: a chunk vanished within an answer; the connection cannot go on.
    """
    while True:
        head = yield ReadHead(MAX_HEAD, limits.idle)
        if not head:
            return
        incoming = Incoming(head)
        request = incoming.understood()
        if request is not None and request.wait and not waits:
            request = replace(request, wait=0.0)
        if request is not None and request.what is What.MESSAGE:
            answer = yield from _heard(incoming, request, limits, hear)
        else:
            answer = NOT_UNDERSTOOD if request is None else (yield Work(partial(answers.reply, request)))
        yield Send(incoming.answer(answer.status, answer.length, answer.headers), limits.send)
        if request is None or not request.head_only:
            with nullcontext() if answer.gives_way else answers.precedence.taken():
                for piece in answer.body:
                    data = piece if isinstance(piece, bytes) else (yield Work(piece))
                    if answer.gives_way:
                        yield Work(partial(answers.precedence.give_way, GIVES_WAY))
                    yield Send(data if answer.length is not None else incoming.piece(data), limits.send)
            if answer.length is None:
                yield Send(incoming.end(), limits.send)
        if not incoming.keeps_open:
            return


def _heard(
    incoming: Incoming, request: Request, limits: ServerLimits, hear: Callable[[str, bytes], bool] | None
) -> Conversation[Reply]:
    body = bytearray(request.body)
    yield Fill(memoryview(body), limits.send)
    incoming.take(body)
    if hear is None:
        return NOT_UNDERSTOOD
    return TAKEN if (yield Work(partial(hear, request.topic, bytes(body)))) else REFUSED
