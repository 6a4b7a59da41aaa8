"""Small disk operations that are whole or not at all, and say so when there is no room."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmp2p.core.errors import QuotaExceeded


@contextmanager
def room(path: Path) -> Iterator[None]:
    """Turns a full disk into QuotaExceeded."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise QuotaExceeded(
                f"There is no room left on the disk of {path}.", "Free some; the peer goes on."
            ) from None
        raise


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file by way of a temporary one."""
    temporary = path.with_name(f".{path.name}.part")
    with room(path):
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
