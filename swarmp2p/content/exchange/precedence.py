"""What is sent first where a link is what all wait for: updates before merged chunks.

A member that has not got all updates yet cannot merge, and then nobody gets its slice. Were it to share the links with those
who are done, and who already take merged chunks, it would come in late, and all with it: members that keep in step are what
makes an all-reduce as fast as its links (docs/decisions/0004).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Precedence:
    """Of the answers of one peer. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._first = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While an answer is sent that others give way to."""
        with self._condition:
            self._first += 1
        try:
            yield
        finally:
            with self._condition:
                self._first -= 1
                if not self._first:
                    self._condition.notify_all()

    def give_way(self, timeout: float) -> None:
        """Block while such answers are being sent, at most `timeout` seconds."""
        if self._first:
            with self._condition:
                self._condition.wait_for(lambda: not self._first, timeout)
