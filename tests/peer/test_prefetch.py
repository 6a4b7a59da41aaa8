"""Updates are fetched while others still train, as soon as there is room for them."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from swarmp2p.content.interface import ContentStore
from swarmp2p.core.actions import Keep
from swarmp2p.core.config import Knobs
from swarmp2p.core.decide import decide
from swarmp2p.core.errors import ContentUnavailable
from swarmp2p.core.store import Store
from swarmp2p.core.types import CHUNK_SIZE, Address, Digest
from swarmp2p.core.view import View
from swarmp2p.identity import keccak256
from swarmp2p.peer.events import Broadcast
from swarmp2p.peer.merging import Merging
from swarmp2p.peer.prefetch import Allowance, Prefetch
from swarmp2p.peer.turns import Turns
from swarmp2p.testing.memory_content import MemoryStore
from tests.core.builders import CONFIG, HEAD, MERGED, T0, a_store, address, collecting, of, update_of


class NothingToBeHad:
    """In place of the fetcher."""

    def __init__(self) -> None:
        self.asked: list[Digest] = []

    async def fetch_leaf_list(self, digest: Digest, size: int, *, prefer: list[Address]) -> bytes:
        await trio.lowlevel.checkpoint()
        self.asked.append(digest)
        raise ContentUnavailable("nobody has it")


class Peer:
    """As much of one as prefetches and collects."""

    def __init__(self, view: View, store: Store, content: ContentStore) -> None:
        self.fetcher = NothingToBeHad()
        self.changed = trio.Event()
        context: Any = SimpleNamespace(
            view=view, store=store, config=CONFIG, knobs=Knobs(confirmations=0), rule=SimpleNamespace(heads=0),
            content=content, fetcher=self.fetcher, announced={}, turns=Turns(), own_update=trio.Lock(),
            broadcast=Broadcast(), collected_at=None, change=lambda: self.changed, wake=self.wake,
        )  # fmt: skip
        self.context = context
        unused: Any = None
        delivery: Any = SimpleNamespace(listen=lambda *_: None)
        self.merging = Merging(context, unused)
        self.prefetch = Prefetch(context, delivery)

    def wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def collect(self) -> None:
        context = self.context
        actions = decide(context.view, context.store, CONFIG, context.knobs, T0, keccak256)
        await self.merging.keep(of(Keep, actions)[0])
        self.wake()
        await wait_all_tasks_blocked()


async def test_updates_are_prefetched_once_those_of_the_last_round_are_gone(nursery: trio.Nursery) -> None:
    content = MemoryStore()
    peer = Peer(collecting(submitted=0b10), a_store(held=set()), content)
    nursery.start_soon(peer.prefetch.run)
    await peer.collect()
    assert peer.fetcher.asked == []  # the head is not here: it may have to be merged again from them
    peer.context.store.held.add(HEAD)
    await peer.collect()
    assert peer.fetcher.asked == [update_of(1)]
    # The next round: its head is here, but what it was merged from is, too.
    peer.context.view = replace(peer.context.view, round=4, head=MERGED, head_round=3)
    peer.context.store.held.add(MERGED)
    peer.wake()
    await wait_all_tasks_blocked()
    assert peer.fetcher.asked == [update_of(1)]
    await peer.collect()
    assert peer.fetcher.asked == [update_of(1)] * 2
    content.close()


def test_no_more_is_granted_than_there_is_room_for() -> None:
    allowance = Allowance()
    assert allowance.grant(address(1), {7, 5, 6}, 4) == [5, 6, 7]
    assert allowance.grant(address(2), range(3), 4) == [0]
    assert allowance.grant(address(1), {7, 5, 6}, 4) == [5, 6, 7]
    assert allowance.grant(address(3), range(3), 4) == []
    assert allowance.grant(address(2), range(3), 5) == [0, 1]
    assert allowance.grant(address(2), range(3), -1) == []
    allowance.clear()
    assert allowance.grant(address(3), range(3), 4) == [0, 1, 2]


@pytest.mark.parametrize(("size", "same", "models"), [(3, False, 1), (3, True, 2), (4, False, 2), (1, True, 0)])
def test_before_the_seal_a_disk_holds_one_model_more_than_the_inputs(size: int, same: bool, models: int) -> None:
    """Head, best and own update, and as many chunks of others' as are left of that."""
    content = MemoryStore()
    view = collecting(size, best=HEAD if same else MERGED)
    peer = Peer(view, a_store(), content)
    assert peer.prefetch.most() == models * CONFIG.size // CHUNK_SIZE
    content.close()
