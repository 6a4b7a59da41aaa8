"""A head that is known slice by slice, of which something is missing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.exchange import Fetcher, Server
from swarmp2p.content.part import EmbeddedPart
from swarmp2p.content.unixfs import HASH_SIZE, hash_bytes, slice_digest
from swarmp2p.core.actions import FetchFile, FetchSlice
from swarmp2p.core.store import RoundStore
from swarmp2p.core.types import CHUNK_SIZE, Digest
from swarmp2p.peer.following import assembly_name
from swarmp2p.peer.merging import Merging, _Built
from swarmp2p.testing.memory_content import MemoryStore
from tests.content.wire import ORIGIN, Memory, pattern

DATA = pattern(4 * CHUNK_SIZE - 100)


class NothingFollowed:
    """In place of `Following`."""

    async def settled(self, key: Any) -> None:
        await trio.lowlevel.checkpoint()


async def test_who_knows_only_the_whole_model_completes_a_slice(nursery: trio.Nursery) -> None:
    """Who fetched the head as a file has dropped the merge in the making, and with it the slices' names."""
    head = hash_bytes(DATA)
    theirs, mine = MemoryStore(), MemoryStore()
    theirs.put(DATA)
    carrier = Memory(nursery, {ORIGIN: Server(theirs).serve})
    context: Any = SimpleNamespace(
        content=mine,
        fetcher=Fetcher(mine, carrier),
        config=SimpleNamespace(size=head.size),
        store=SimpleNamespace(held=set()),
        emit=lambda *_, **__: None,
        wake=lambda: None,
        cid=lambda digest: digest.hex(),
    )
    half = 2 * HASH_SIZE
    lists = (head.leaf_list[:half], head.leaf_list[half:])
    slices = tuple((2 * i, leaves, slice_digest(leaves)) for i, leaves in enumerate(lists))
    part = mine.assemble("round-1-x", head.size)
    for index in range(2):
        part.write_chunk(index, DATA[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
    following: Any = NothingFollowed()
    merging = Merging(context, following)
    merging._built[head.digest] = _Built("round-1-x", bytes(32), 0, slices)
    with trio.fail_after(30):
        await merging.fetch_file(FetchFile(head.digest, 1))
    assert mine.read(head.digest) == DATA
    assert context.store.held == {head.digest}
    for store in (theirs, mine):
        store.close()


async def test_a_model_that_has_its_name_is_flushed_though_its_last_slice_is_wanted_no_more(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as it is here its slices are not, and whoever fetched the last of these is cancelled."""
    head = hash_bytes(DATA)
    store = EmbeddedStore(tmp_path)
    current = RoundStore(1, bytes(32), 0.0, k=1)
    part = store.assemble(assembly_name(current, 0), head.size)
    for index in range(part.chunks):
        part.write_chunk(index, DATA[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
    slice_ = part.seal_slice(0, part.chunks)
    current.roots[0, (slice_,)] = head.digest
    context: Any = SimpleNamespace(
        content=store,
        fetcher=Fetcher(store, Memory(nursery, {})),
        config=SimpleNamespace(size=head.size, chunks=part.chunks),
        store=SimpleNamespace(held=set(), round=current),
        wake=lambda: None,
    )
    finish, scope = EmbeddedPart.finish_unflushed, trio.CancelScope()

    def cancelling(part: EmbeddedPart, digest: Digest) -> None:
        finish(part, digest)
        trio.from_thread.run_sync(scope.cancel)

    monkeypatch.setattr(EmbeddedPart, "finish_unflushed", cancelling)
    following: Any = NothingFollowed()
    with trio.fail_after(30), scope:
        await Merging(context, following).fetch_slice(FetchSlice(1, 0, 0, slice_))
    assert scope.cancel_called
    assert store.read(head.digest) == DATA
    assert list((tmp_path / "parts").iterdir()) == []
    store.close()
