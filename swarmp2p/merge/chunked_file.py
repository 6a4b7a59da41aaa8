"""Writing a file so that somebody sees each of its chunks on the way, while it is in the processor's cache."""

from collections.abc import Callable
from typing import IO, TypeAlias

from swarmp2p.core.types import CHUNK_SIZE

Look: TypeAlias = Callable[[int, memoryview], object]
"""Called with the index and bytes of each chunk, before it is written; the memory is used again afterwards."""


class ChunkedFile:
    """What is written to it goes to a file chunk by chunk; the last one of a stretch, which may be shorter, at `end`.

    Args:
        file: seekable.
        look: see `Look`; what it raises goes to the writer, and the chunk is not written.
    """

    def __init__(self, file: IO[bytes], look: Look) -> None:
        self._file = file
        self._look = look
        self._chunk = memoryview(bytearray(CHUNK_SIZE))
        self._filled = 0
        self._index = 0

    def begin(self, index: int) -> None:
        """What is written next begins with this chunk."""
        self._index = index
        self._file.seek(index * CHUNK_SIZE)

    def write(self, data: bytes | memoryview) -> int:
        """Take all of it; how many bytes."""
        left = memoryview(data).cast("B")
        while left:
            taken = min(len(left), CHUNK_SIZE - self._filled)
            self._chunk[self._filled : self._filled + taken] = left[:taken]
            self._filled += taken
            left = left[taken:]
            if self._filled == CHUNK_SIZE:
                self._pass_on()
        return memoryview(data).nbytes

    def end(self) -> None:
        """Nothing more comes of this stretch."""
        if self._filled:
            self._pass_on()

    def _pass_on(self) -> None:
        chunk = self._chunk[: self._filled]
        self._look(self._index, chunk)
        self._file.write(chunk)
        self._index += 1
        self._filled = 0
