"""How a simulated peer carries out actions: generators that yield the time that a step takes.

A process may die at every yield. Retries live inside an action: it goes on until it succeeds or is not wanted any more.
"""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from swarmp2p.core.actions import (
    Action,
    Announce,
    Apply,
    BuildRoot,
    FetchFile,
    FetchLeafList,
    FetchSlice,
    Merge,
    SendAdvance,
    SendFinalize,
    SendReady,
    SendReport,
    SendUpdate,
    Sign,
    Sync,
    Train,
    Verify,
)
from swarmp2p.core.slices import slice_of
from swarmp2p.core.store import Report, RoundStore, Update
from swarmp2p.core.types import Reason, ReportFlag
from swarmp2p.testing.simulator import liars
from swarmp2p.testing.simulator.chain import Transaction
from swarmp2p.testing.simulator.content import Piece, honest_slice, leaf_list, merged_part, part, root_of, whole
from swarmp2p.testing.simulator.plan import digest_of

if TYPE_CHECKING:
    from swarmp2p.testing.simulator.peer import SimPeer

Work = Generator[float, None, None]

SYNC_PARTNERS = 2


def carry_out(peer: "SimPeer", action: Action) -> Work:
    """Start carrying out an action."""
    return _CARRIERS[type(action)](peer, action)


def _fetch_file(peer: "SimPeer", action: FetchFile) -> Work:
    while True:
        yield peer.random.uniform(0.05, 0.5)
        if peer.world.content.get_model(peer, action.digest):
            peer.store.held.add(action.digest)
            return
        yield peer.random.uniform(0.3, 1.5)


def _apply(peer: "SimPeer", action: Apply) -> Work:
    yield peer.random.uniform(0.02, 0.2)
    peer.store.applied = action.digest
    if peer.store.report is None or peer.store.report.head != action.digest:
        better = peer.world.is_better(action.digest)
        if not peer.honest:
            better = liars.judges(peer, better)
        flags = ReportFlag.HAS_REPORT | (ReportFlag.IMPROVED if better else ReportFlag(0))
        peer.remember(report=Report(action.digest, peer.id, flags))


def _train(peer: "SimPeer", action: Train) -> Work:
    yield peer.plan.train_time * peer.random.uniform(0.9, 1.1)
    peer.trained += 1
    digest = digest_of("update", peer.id, action.base, peer.trained)
    library = peer.world.content.library
    library.origin[digest] = peer.id
    if not peer.honest and liars.spoils_update(peer):
        library.invalid[digest] = peer.random.randrange(peer.world.plan.config.chunks)
    peer.disk.add(whole(digest))
    yield 0.0  # flushed, not yet journaled
    peer.remember(update=Update(action.base, digest, peer.store.weight))


def _transact(peer: "SimPeer", action: SendReady | SendUpdate | SendAdvance | SendFinalize | SendReport) -> Work:
    transaction = Transaction(peer.address, action)
    peer.journal.pending[transaction] = None
    yield 0.0  # journaled, not yet sent
    while True:
        peer.send(transaction)
        if isinstance(action, SendAdvance):
            return  # it names its attempt, and the next one has another
        yield 3 * peer.world.plan.block_time + peer.random.uniform(1.0, 2.0)


def _fetch_leaf_list(peer: "SimPeer", action: FetchLeafList) -> Work:
    while True:
        yield peer.random.uniform(0.03, 0.2)
        current = _current(peer, action.round)
        if current is None:
            return
        if _had(peer, current, action.index, leaf_list(action.digest)):
            current.leaf_lists.add(action.index)
            return
        yield peer.random.uniform(0.2, 0.8)


def _verify(peer: "SimPeer", action: Verify) -> Work:
    config, library = peer.world.plan.config, peer.world.content.library
    while True:
        yield peer.random.uniform(0.03, 0.2)
        current = _current(peer, action.round)
        if current is None:
            return
        k = current.k
        wanted = part(action.digest, slice_of(min(action.chunk, config.chunks - 1), k, config.chunks), k)
        if _had(peer, current, action.index, wanted):
            break
        yield peer.random.uniform(0.2, 0.8)
    if library.invalid.get(action.digest) == action.chunk:
        current.invalid[action.index] = action.chunk
        return
    for objector in sorted(current.objectors(action.index, Reason.INVALID)):
        current.refuted.add((objector, action.index, action.chunk))


def _merge(peer: "SimPeer", action: Merge) -> Work:
    content, config = peer.world.content, peer.world.plan.config
    yield peer.random.uniform(0.05, 0.3)
    while True:
        current = _current(peer, action.round)
        if current is None:
            return
        included = [member for member in current.members if not action.excluded >> member.index & 1]
        missing = False
        for member in included:
            missing |= not _had(peer, current, member.index, part(member.digest, action.slice, current.k))
        if not missing:
            break
        yield peer.random.uniform(0.2, 0.8)
    for member in included:
        chunk = content.library.invalid.get(member.digest)
        if chunk is not None and slice_of(chunk, current.k, config.chunks) == action.slice:
            current.invalid[member.index] = chunk
            return
    digest = honest_slice(action.inputs, action.excluded, action.slice)
    peer.disk |= {leaf_list(digest), merged_part(digest)}
    peer.slice_rounds[digest] = action.round
    yield peer.random.uniform(0.01, 0.1)  # flushed
    if _current(peer, action.round) is current:
        current.computed[action.excluded, action.slice] = digest
        current.slice_lists.add(digest)
        current.slices_held.add((action.excluded, action.slice, digest))


def _fetch_slice(peer: "SimPeer", action: FetchSlice) -> Work:
    for piece in (leaf_list(action.digest), merged_part(action.digest)):
        while True:
            yield peer.random.uniform(0.03, 0.3)
            current = _current(peer, action.round)
            if current is None:
                return
            if peer.world.content.get(peer, piece):
                break
            yield peer.random.uniform(0.2, 0.8)
        peer.slice_rounds[action.digest] = action.round
        if piece == leaf_list(action.digest):
            current.slice_lists.add(action.digest)
            peer.wake()
        else:
            current.slices_held.add((action.excluded, action.slice, action.digest))


def _build_root(peer: "SimPeer", action: BuildRoot) -> Work:
    yield 0.01
    current = _current(peer, action.round)
    if current is not None:
        merged = root_of(action.slices)
        current.roots[action.excluded, action.slices] = merged
        peer.world.content.library.slices[merged] = action.slices


def _sign(peer: "SimPeer", action: Sign) -> Work:
    yield 0.01
    current = _current(peer, action.body.round)
    if current is None or current.inputs != action.body.inputs:
        return
    body = action.body if peer.honest else liars.twist(peer, action.body)
    if body is None:
        return
    signed = peer.sign(body)
    yield 0.0  # journaled, not yet sent
    current.add(signed)
    peer.world.trace("sign", peer.id, body)
    peer.world.broadcast(peer, (signed,))


def _announce(peer: "SimPeer", action: Announce) -> Work:
    yield 0.0
    current = _current(peer, action.round)
    if current is not None and peer.address in current.signed:
        peer.world.broadcast(peer, tuple(current.signed[peer.address].values()))


def _sync(peer: "SimPeer", action: Sync) -> Work:
    yield peer.random.uniform(0.02, 0.2)
    others = [other for other in peer.world.peers if other is not peer]
    for other in peer.random.sample(others, min(SYNC_PARTNERS, len(others))):
        if other.live and peer.online and peer.random.random() >= peer.world.plan.loss:
            current = other.store.round
            if current is not None and current.round == action.round:
                peer.receive(tuple(current.messages()))


def _current(peer: "SimPeer", round_: int) -> RoundStore | None:
    """The evidence of this round, if it is still the one that merges."""
    current = peer.store.round
    return current if current is not None and current.round == round_ else None


def _had(peer: "SimPeer", current: RoundStore, index: int, piece: Piece) -> bool:
    """One attempt to get a piece of a member's update; writes down since when that member's content cannot be had."""
    if peer.holds(piece):
        return True  # no news of whether the rest can be had
    content = peer.world.content
    if content.get(peer, piece, content.library.origin.get(piece[1])):
        current.failing.pop(index, None)
        return True
    current.failing.setdefault(index, peer.now)
    return False


_CARRIERS: dict[type, Callable[["SimPeer", Any], Work]] = {
    FetchFile: _fetch_file,
    Apply: _apply,
    Train: _train,
    SendReady: _transact,
    SendUpdate: _transact,
    SendAdvance: _transact,
    SendFinalize: _transact,
    SendReport: _transact,
    FetchLeafList: _fetch_leaf_list,
    Verify: _verify,
    Merge: _merge,
    FetchSlice: _fetch_slice,
    BuildRoot: _build_root,
    Sign: _sign,
    Announce: _announce,
    Sync: _sync,
}
