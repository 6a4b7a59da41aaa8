"""The invitations and ballots of a home: files in one folder, which the command line and a running peer both write.

A paper with more signatures takes the place of one with fewer; no signature is ever lost, whoever writes first.
"""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from swarmp2p.control.ballot import Ballot
from swarmp2p.control.invitation import Invitation
from swarmp2p.core.errors import BallotRefused, ConfigError, InvitationRefused

AnyPaper: TypeAlias = Ballot | Invitation

_KINDS: dict[str, type[Ballot] | type[Invitation]] = {Ballot.KIND: Ballot, Invitation.KIND: Invitation}
_log = logging.getLogger(__name__)


def paper_id(paper: AnyPaper) -> str:
    """A short name for what is signed, whoever has signed: of body, chain and contract."""
    text = repr((paper.chain_id, paper.contract, paper.body))
    return f"{paper.KIND}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class PaperBox:
    """A folder of papers; made when the first one is put in. Methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def papers(self) -> dict[str, AnyPaper]:
        """All that are there, by id. Files that are no papers are passed over, with a line in the log."""
        found: dict[str, AnyPaper] = {}
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else ():
            kind = _KINDS.get(path.name.partition("-")[0])
            try:
                if kind is not None:
                    found[path.stem] = kind.load(path)
            except (BallotRefused, InvitationRefused) as error:
                _log.warning("passed over: %s", error)
        return found

    def get(self, id_: str) -> AnyPaper:
        """The paper of this id. Raises ConfigError if there is none."""
        paper = self.papers().get(id_)
        if paper is None:
            raise ConfigError(f"There is no paper {id_} in {self._folder}.", "`swarmp2p vote list` shows those there.")
        return paper

    def add(self, paper: AnyPaper) -> AnyPaper:
        """Put one in; with the signatures that are there already, if so. Returns what is there now."""
        with self._locked():
            path = self._folder / f"{paper_id(paper)}.json"
            there = type(paper).load(path) if path.exists() else paper
            joined = there.with_signatures(paper.signatures)
            if joined.signatures != there.signatures or not path.exists():
                joined.save(path)
            return joined

    def remove(self, id_: str) -> None:
        """Throw one away."""
        with self._locked():
            (self._folder / f"{id_}.json").unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"The folder {self._folder} cannot be used: {error.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
