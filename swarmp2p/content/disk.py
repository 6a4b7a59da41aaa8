"""Writing files so that a crash or a full disk leaves nothing half-written."""

import errno
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmp2p.core.errors import QuotaExceeded

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ONE_NAME = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}
"""What file systems without hard links say, or with too many."""


class Budget:
    """Bytes of content held, against a quota. Thread-safe.

    Args:
        folder: named in the error.
        quota: bytes at most; None for as much as the disk has.
    """

    def __init__(self, folder: Path, quota: int | None) -> None:
        self._folder = folder
        self._quota = quota
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes held."""
        return self._used

    def spend(self, count: int, enforce: bool) -> None:
        """Count so many more bytes (negative: fewer). Raises QuotaExceeded if they do not fit and `enforce`."""
        with self._lock:
            if enforce:
                self._check(count)
            self._used += count

    def check(self, count: int) -> None:
        """Raises QuotaExceeded if so many bytes would not fit now."""
        with self._lock:
            self._check(count)

    def _check(self, count: int) -> None:
        if count > 0 and self._quota is not None and self._used + count > self._quota:
            raise QuotaExceeded(
                f"{self._folder} holds {self._used} bytes of content; {count} more exceed its quota of {self._quota}.",
                "Raise the quota, or wait until older rounds are collected.",
            )


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Turn the system's "no space left" into QuotaExceeded, naming the folder; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise QuotaExceeded(
            f"No room left on the disk of {folder}: {error.strerror}.",
            "Free some space there, or set the peer's home to a folder on a larger disk.",
        ) from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries: a rename is on disk only after this."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes | memoryview, offset: int) -> None:
    """`os.pwrite` until everything is written."""
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, offset)
        view = view[done:]
        offset += done


def read_all(handle: int, length: int, offset: int) -> bytes:
    """`os.pread` until `length` bytes or the end of the file."""
    data = os.pread(handle, length, offset)
    if len(data) == length or not data:
        return data
    pieces = [data]
    got = len(data)
    while got < length and (more := os.pread(handle, length - got, offset + got)):
        pieces.append(more)
        got += len(more)
    return b"".join(pieces)


def write_atomically(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Write a small file: whole, flushed and under its name, or not at all.

    Args:
        flush: False: the process may be killed at any instant, but what a power failure leaves may be an empty file.

    Raises:
        QuotaExceeded: no room.
    """
    temporary = path.with_name(path.name + ".tmp")
    with room(path.parent):
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                write_all(handle, data, 0)
                if flush:
                    os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if flush:
            sync_folder(path.parent)


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a large file piece by piece: whole, flushed and under its name, or not at all. Raises QuotaExceeded, and
    whatever making the pieces raises."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    with room(path.parent):
        try:
            with open(temporary, "wb") as out:
                for piece in pieces:
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def copy_flushed(source: Path, destination: Path) -> None:
    """Copy a file's content, flushed; the destination is removed when that fails. Raises QuotaExceeded, OSError."""
    with room(destination.parent):
        try:
            shutil.copyfile(source, destination)
            sync_file(destination)
        except BaseException:
            destination.unlink(missing_ok=True)
            raise


def name_also(source: Path, path: Path, temporary: Path) -> None:
    """Give a file a second name, which may be taken by another one; on file systems that know one name only, move it,
    flushed. Raises QuotaExceeded.

    Args:
        temporary: a name on the same disk, for the time being.
    """
    with room(path.parent):
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in _ONE_NAME:
                raise
            sync_file(source)
            os.replace(source, path)
        else:
            os.replace(temporary, path)


def sync_file(path: Path) -> None:
    """Flush a file's content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
