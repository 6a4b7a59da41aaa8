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

from swarmp2p.control.ballot import Ballot, described
from swarmp2p.control.invitation import Invitation, described_invite
from swarmp2p.control.paper import moment
from swarmp2p.core.errors import BallotRefused, ConfigError, InvitationRefused
from swarmp2p.core.view import View

AnyPaper: TypeAlias = Ballot | Invitation

_KINDS: dict[str, type[Ballot] | type[Invitation]] = {Ballot.KIND: Ballot, Invitation.KIND: Invitation}
_log = logging.getLogger(__name__)


def paper_id(paper: AnyPaper) -> str:
    """A short name for what is signed, whoever has signed: of body, chain and contract."""
    text = repr((paper.chain_id, paper.contract, paper.body))
    return f"{paper.KIND}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def told(paper: AnyPaper, min_stake: int = 0) -> str:
    """What a paper would do, and until when it can, for whoever is to sign it.

    Args:
        min_stake: what the manifest asks of a member.
    """
    does = described(paper.vote) if isinstance(paper, Ballot) else described_invite(paper.invite, min_stake)
    return f"{does}; good until {moment(paper.body.deadline)}"


def is_past(paper: AnyPaper, view: View, term: int) -> bool:
    """Whether the chain is past it: another ballot of its number was carried out, or the invitation was used.

    Args:
        term: the invitee's, as the contract has it now.
    """
    return paper.vote.ballot < view.ballot if isinstance(paper, Ballot) else paper.invite.term < term


def _of_this_name(paper: AnyPaper, path: Path) -> AnyPaper:
    if path.stem != paper_id(paper):
        raise paper.REFUSED(f"{path} is {paper.NAME} of another name.", f"Call it {paper_id(paper)}.json.")
    return paper


def _there(paper: AnyPaper, path: Path) -> AnyPaper | None:
    """What the file holds; None if there is none, or if what it holds is no paper."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise paper.REFUSED(f"{path} cannot be read: {error.strerror}.", "Move it away.") from None
    try:
        there: AnyPaper = type(paper).from_json(data, str(path))
    except (BallotRefused, InvitationRefused) as error:
        _log.warning("replaced: %s", error)
        return None
    return _of_this_name(there, path)


class PaperBox:
    """A folder of papers; made when the first one is put in. Methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._passed_over: set[str] = set()

    def papers(self) -> dict[str, AnyPaper]:
        """All that are there, by id. Files that are no papers, or not of this name, are passed over, with a line in the
        log for each.

        Raises:
            ConfigError: the folder cannot be read.
        """
        found: dict[str, AnyPaper] = {}
        try:
            paths = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
        except OSError as error:
            raise ConfigError(f"The folder {self._folder} cannot be read: {error.strerror}.") from None
        for path in paths:
            kind = _KINDS.get(path.name.partition("-")[0])
            try:
                if kind is not None:
                    found[path.stem] = _of_this_name(kind.load(path), path)
            except (BallotRefused, InvitationRefused) as error:
                if str(error) not in self._passed_over:
                    _log.warning("passed over: %s", error)
                    self._passed_over.add(str(error))
        return found

    def get(self, id_: str) -> AnyPaper:
        """The paper of this id. Raises ConfigError if there is none."""
        paper = self.papers().get(id_)
        if paper is None:
            raise ConfigError(f"There is no paper {id_} in {self._folder}.", "`swarmp2p vote list` shows those there.")
        return paper

    def add(self, paper: AnyPaper) -> AnyPaper:
        """Put one in; with the signatures that are there already, if so. Returns what is there now.

        Raises:
            The paper's refusal: together they have too many signatures, or the file cannot be read or written, or it says
                something else. A file that is no paper is replaced.
        """
        with self._locked():
            path = self._folder / f"{paper_id(paper)}.json"
            there = _there(paper, path)
            joined = (there or paper).with_signatures(paper.signatures)
            if there is None or joined.signatures != there.signatures:
                joined.save(path)
            return joined

    def remove(self, id_: str) -> None:
        """Throw one away."""
        with self._locked():
            try:
                (self._folder / f"{id_}.json").unlink(missing_ok=True)
            except OSError as error:
                raise ConfigError(f"{id_} cannot be removed from {self._folder}: {error.strerror}.") from None

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
