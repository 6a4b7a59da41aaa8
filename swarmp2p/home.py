"""A peer's home folder: its key, its journal, its content; used by one process at a time.

home/  key  lock  journal.sqlite  content/  papers/  evidence/
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType

from swarmp2p.core.errors import ConfigError, HomeLocked
from swarmp2p.identity import Key, load_key, save_key
from swarmp2p.journal import Journal

KEY_FILE = "key"
CONTENT_FOLDER = "content"
EVIDENCE_FOLDER = "evidence"
"""Pairs of signed messages that contradict each other, a file each."""
PAPERS_FOLDER = "papers"
RECEIPTS_FILE = "receipts.sqlite"
"""Invitations and ballots; other processes may put some in while a peer runs."""


class Home:
    """An open, locked home folder. Use as a context manager, or call `close`."""

    def __init__(self, path: Path, key: Key, lock: int) -> None:
        self.path = path
        self.key = key
        self.content = path / CONTENT_FOLDER
        self.papers = path / PAPERS_FOLDER
        self.journal = Journal(path / "journal.sqlite")
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: str | Path, *, create: bool = True) -> "Home":
        """Open and lock a home; with `create`, a missing folder or key is made.

        Raises:
            HomeLocked: another process has it open.
            ConfigError: the key cannot be read, or the folder cannot be used.
        """
        path = Path(path).expanduser()
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"The home folder {path} cannot be used: {error.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise HomeLocked(
                f"Another process uses the home folder {path}.",
                "One key is one peer: stop that process, or give this one a home of its own.",
            ) from None
        try:
            key_file = path / KEY_FILE
            if create and not key_file.exists():
                save_key(Key.generate(), key_file)
            return cls(path, load_key(key_file, os.environ.get("SWARMP2P_PASSWORD")), lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Close the journal and let go of the lock. Safe to call twice."""
        if self._lock is not None:
            self.journal.close()
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "Home":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
