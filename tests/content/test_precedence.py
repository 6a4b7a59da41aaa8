"""Merged chunks give way to updates that are being sent."""

import threading
from pathlib import Path

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.exchange import Live, LiveObject, ServerLimits
from swarmp2p.content.exchange.answers import Answers
from swarmp2p.content.exchange.effects import Conversation, Effect, ReadHead, Send, Work
from swarmp2p.content.exchange.precedence import Precedence
from swarmp2p.content.exchange.requests import Outgoing, What
from swarmp2p.content.exchange.serving import serve
from swarmp2p.core.types import CHUNK_SIZE, Digest
from tests.content.wire import pattern

DATA = pattern(2 * CHUNK_SIZE)
NAME = b"n" * 32
LONG = 60.0


def test_nobody_waits_when_nothing_goes_first() -> None:
    Precedence().give_way(LONG)


def test_who_gives_way_goes_on_when_the_last_is_done() -> None:
    precedence, passed = Precedence(), threading.Event()

    def pass_by() -> None:
        precedence.give_way(LONG)
        passed.set()

    with precedence.taken():
        with precedence.taken():
            thread = threading.Thread(target=pass_by)
            thread.start()
        assert not passed.wait(0.05)
    thread.join(LONG)
    assert passed.is_set()


def test_who_gives_way_does_not_do_so_for_ever() -> None:
    precedence = Precedence()
    with precedence.taken():
        precedence.give_way(0.01)


class Connection:
    """One side of a connection that asks for two chunks, effect by effect."""

    def __init__(self, answers: Answers, name: Digest) -> None:
        self._conversation: Conversation[None] = serve(answers, ServerLimits(), waits=True)
        self._effect: Effect = self._conversation.send(None)
        self._head = bytes(Outgoing(name, What.CHUNKS, range(2)).head)

    def until_a_chunk_is_sent(self) -> list[str]:
        """The calls made until then; the next one is the sending itself."""
        calls: list[str] = []
        while not (isinstance(self._effect, Send) and len(self._effect.data) == CHUNK_SIZE):
            result = None
            if isinstance(self._effect, ReadHead):
                result = self._head
            elif isinstance(self._effect, Work):
                function = getattr(self._effect.call, "func", self._effect.call)
                calls.append(getattr(function, "__name__", "?"))
                result = self._effect.call()
            self._effect = self._conversation.send(result)
        return calls

    def close(self) -> None:
        self._conversation.close()


def test_chunks_in_the_making_wait_for_those_of_files(tmp_path: Path) -> None:
    store, live = EmbeddedStore(tmp_path), Live()
    file = store.put(DATA)
    live.publish(NAME, LiveObject(len(DATA), lambda index: DATA[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]))
    answers = Answers(store, live)
    update, slice_ = Connection(answers, file.digest), Connection(answers, NAME)
    assert "give_way" in slice_.until_a_chunk_is_sent()
    assert "give_way" not in update.until_a_chunk_is_sent()
    went: list[bool] = []
    answers.precedence.give_way = lambda timeout: went.append(answers.precedence._first == 1)  # type: ignore[method-assign]
    again = Connection(answers, NAME)
    again.until_a_chunk_is_sent()
    update.close()  # and an answer that is cut off holds nobody up
    assert went == [True]
    assert answers.precedence._first == 0
    for connection in (slice_, again):
        connection.close()
    store.close()
