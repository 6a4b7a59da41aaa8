"""What liars do differently. Otherwise they follow the protocol, which makes them harder to find."""

from typing import TYPE_CHECKING

from swarmp2p.core.actions import SendFinalize
from swarmp2p.core.messages import Attestation, Claim, Objection, RoundMessage, Signed
from swarmp2p.core.store import RoundStore
from swarmp2p.core.types import NO_DIGEST, Digest, Phase, Reason, bits
from swarmp2p.testing.simulator.chain import Transaction
from swarmp2p.testing.simulator.content import Piece, leaf_list, merged_part, root_of
from swarmp2p.testing.simulator.plan import Lie, digest_of

if TYPE_CHECKING:
    from swarmp2p.testing.simulator.peer import SimPeer


def serves(liar: "SimPeer", who: "SimPeer", piece: Piece) -> bool:
    """Whether a liar answers this request for content."""
    lies, kind = liar.plan.lies, piece[0]
    if liar.world.content.library.origin.get(piece[1]) != liar.id:
        return True
    if Lie.UNAVAILABLE in lies:
        return False
    if Lie.LISTS_ONLY in lies and kind == "part":
        return False
    return not (Lie.SELECTIVE in lies and (who.id + liar.id) % 2)


def judges(liar: "SimPeer", better: bool) -> bool:
    """What a liar reports of a head."""
    return better is not (Lie.REPORTS in liar.plan.lies)


def spoils_update(liar: "SimPeer") -> bool:
    """Whether the update that it has just made is wrong."""
    liar.world.faults["invalid update"] += Lie.INVALID in liar.plan.lies
    return Lie.INVALID in liar.plan.lies


def evil_slice(inputs: Digest, excluded: int, slice_: int, who: int) -> Digest:
    """A wrong digest for a slice; colluders have `who` in common."""
    return digest_of("evil", inputs, excluded, slice_, who)


def twist(liar: "SimPeer", body: RoundMessage) -> RoundMessage | None:
    """What a liar signs in place of an honest message; None: nothing."""
    lies = liar.plan.lies
    if Lie.SILENT in lies:
        return None
    if isinstance(body, Claim) and lies & {Lie.WRONG_CLAIM, Lie.COLLUDE}:
        liar.world.faults["wrong claim"] += 1
        who = -1 if Lie.COLLUDE in lies else liar.id
        wrong = evil_slice(body.inputs, body.excluded, body.slice, who)
        return Claim(body.round, body.inputs, body.excluded, body.slice, wrong)
    return body


def mischief(liar: "SimPeer") -> None:
    """What a liar does unasked, once a round each."""
    view, current = liar.view, liar.store.round
    if view is None or current is None or view.phase is not Phase.MERGING or current.round != view.round:
        return
    lies = liar.plan.lies
    for lie, act in _HABITS:
        if lie in lies and liar.world.once((liar.id, lie, current.round, current.inputs)):
            act(liar, current)


def _collude(liar: "SimPeer", current: RoundStore) -> None:
    assert liar.view is not None
    k = liar.view.k
    slices = tuple(evil_slice(current.inputs, 0, j, -1) for j in range(k))
    for digest in slices:
        liar.disk |= {leaf_list(digest), merged_part(digest)}
        liar.slice_rounds[digest] = current.round
    for j in range(k):
        _say(liar, Claim(current.round, current.inputs, 0, j, slices[j]))
    _say(liar, Attestation(current.round, current.inputs, 0, root_of(slices), slices, (1 << k) - 1))


def _equivocate(liar: "SimPeer", current: RoundStore) -> None:
    assert liar.view is not None
    for j in range(liar.view.k):
        for other in liar.world.peers:
            wrong = evil_slice(current.inputs, 0, j, 100 * liar.id + other.id)
            body = Claim(current.round, current.inputs, 0, j, wrong)
            other.receive((Signed(body, liar.address, b""),))
    liar.world.faults["equivocation"] += 1


def _object(liar: "SimPeer", current: RoundStore, reason: Reason) -> None:
    assert liar.view is not None
    for index in bits(liar.view.roster):
        chunk = liar.random.randrange(liar.world.plan.config.chunks) if reason is Reason.INVALID else 0
        _say(liar, Objection(current.round, current.inputs, index, reason, chunk))
    liar.world.faults["false objections"] += 1


def _abort(liar: "SimPeer", current: RoundStore) -> None:
    _say(liar, Attestation(current.round, current.inputs, 0, NO_DIGEST, (), 0))


def _forge(liar: "SimPeer", current: RoundStore) -> None:
    """Finalize a wrong model with the colluders' signatures, one of them twice, and one for another model."""
    assert liar.view is not None
    k = liar.view.k
    slices = tuple(evil_slice(current.inputs, 0, j, -1) for j in range(k))
    wrong = Attestation(current.round, current.inputs, 0, root_of(slices), slices, (1 << k) - 1)
    colluders = [peer for peer in liar.world.peers if not peer.honest]
    signed = [Signed(wrong, peer.address, b"") for peer in colluders]
    stolen = [m for m in current.messages() if isinstance(m.body, Attestation) and m.signer not in _of(colluders)]
    for signatures in (signed, [*signed, *signed], [*signed, *stolen]):
        call = SendFinalize(current.round, 0, root_of(slices), slices, tuple(signatures))
        liar.send(Transaction(liar.address, call))
    honest_early = [m for m in current.messages() if isinstance(m.body, Attestation) and m.body.merged != NO_DIGEST]
    if honest_early and isinstance(body := honest_early[0].body, Attestation):
        call = SendFinalize(current.round, body.excluded, body.merged, body.slices, (honest_early[0],))
        liar.send(Transaction(liar.address, call))
    liar.world.faults["forged finalize"] += 1


def _of(peers: list["SimPeer"]) -> set[bytes]:
    return {peer.address for peer in peers}


def _say(liar: "SimPeer", body: RoundMessage) -> None:
    signed = Signed(body, liar.address, b"")
    current = liar.store.round
    if current is not None:
        current.add(signed)
    liar.world.broadcast(liar, (signed,))
    liar.world.faults["lie told"] += 1


_HABITS = (
    (Lie.COLLUDE, _collude),
    (Lie.EQUIVOCATE, _equivocate),
    (Lie.FALSE_UNAVAILABLE, lambda liar, current: _object(liar, current, Reason.UNAVAILABLE)),
    (Lie.FALSE_INVALID, lambda liar, current: _object(liar, current, Reason.INVALID)),
    (Lie.EARLY_ABORT, _abort),
    (Lie.FORGE, _forge),
)
