from pathlib import Path

import pytest

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.testing.content_checks import check_content_store
from swarmp2p.testing.memory_content import MemoryStore


def test_embedded(tmp_path: Path) -> None:
    count = iter(range(100))
    check_content_store(lambda: EmbeddedStore(tmp_path / str(next(count))))


def test_memory() -> None:
    check_content_store(MemoryStore)


def test_a_store_that_forgets_is_found_out() -> None:
    class Forgets(MemoryStore):
        def has(self, digest: bytes) -> bool:
            return False

    with pytest.raises(AssertionError):
        check_content_store(Forgets)
