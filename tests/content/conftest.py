"""Fixtures of several files."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarmp2p.content.exchange import ServerLimits
from tests.content.tls import Member


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Callable[..., Member]]:
    members: list[Member] = []

    def make(name: str, **options: ServerLimits) -> Member:
        members.append(Member(name, tmp_path, **options))
        return members[-1]

    yield make
    for member in members:
        member.listener.close()
        member.store.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "swarmp2p-tls"]
