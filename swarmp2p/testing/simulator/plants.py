"""Faults to plant, which the checkers must find. Each is one that a draft of the protocol had (section 10)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from swarmp2p.core import decide, decide_merging, observe
from swarmp2p.core.actions import SendReady
from swarmp2p.core.store import RoundStore
from swarmp2p.core.types import Address, Bitmap, Digest
from swarmp2p.testing.contract_model import ContractModel, Reverted


class _RecomputesOnExtension(ContractModel):
    __slots__ = ()

    def extend(self) -> None:
        ContractModel.extend(self)
        self.wait_for = self.submitted


class _CountsHeads(ContractModel):
    __slots__ = ()

    def sealable(self) -> bool:
        needed = self.threshold if self.round == 1 else self.config.min_updates
        if self.count >= needed and self.count >= self.wait_for.bit_count():
            return True
        return ContractModel.sealable(self)


class _FloorOfMinUpdates(ContractModel):
    __slots__ = ()

    def floor_of_included(self) -> int:
        return self.config.min_updates


class _NoExtension(ContractModel):
    __slots__ = ()

    def extend(self) -> None:
        raise Reverted("NothingDue")


class _CountsAlmostCovered(ContractModel):
    """Takes f attestations for enough: one honest member's worth less than it needs."""

    __slots__ = ()

    def finalize(self, sender: Address, *arguments: Any) -> None:
        config = self.config
        object.__setattr__(config, "f", config.f - 1)
        try:
            ContractModel.finalize(self, sender, *arguments)
        finally:
            object.__setattr__(config, "f", config.f + 1)


def _widens_on_claims_only(self: Any, slice_: int, attested_by: int) -> tuple[bool, float | None]:
    return _duty(self, slice_, max(attested_by, self.config.q))


def _counts_unequal_claims(current: RoundStore, excluded: Bitmap, slice_: int, q: int) -> Digest | None:
    by_digest = current.claims(excluded, slice_)
    if sum(len(signers) for signers in by_digest.values()) < q:
        return None
    return max(by_digest, key=lambda digest: (len(by_digest[digest]), digest))


def _never_says_ready(*arguments: Any) -> list[Any]:
    return [action for action in _collecting(*arguments) if not isinstance(action, SendReady)]


def _nothing(*_: Any) -> list[Any]:
    return []


def _excludes_on_one_objection(view: Any, current: RoundStore, config: Any) -> Bitmap:
    excluded = _excluded_mask(view, current, config)
    for by_key in current.signed.values():
        for message in by_key.values():
            member = getattr(message.body, "member", None)
            if member is not None:
                excluded |= 1 << member
    return excluded


_duty = decide_merging._Merging.duty
_collecting = decide._collecting
_excluded_mask = observe.excluded_mask


@dataclass(frozen=True)
class Plant:
    """A fault: replaced functions, or another contract."""

    about: str
    patches: tuple[tuple[ModuleType | type, str, Callable[..., Any]], ...] = ()
    contract: type[ContractModel] = ContractModel


PLANTS = {
    "claims-only": Plant(
        "duty widens only while claims are missing", ((decide_merging._Merging, "duty", _widens_on_claims_only),)
    ),
    "unequal-claims": Plant(
        "claims that differ are counted together",
        ((observe, "claimed", _counts_unequal_claims), (decide_merging, "claimed", _counts_unequal_claims)),
    ),
    "recompute-waiting": Plant("an extension waits for nobody else", contract=_RecomputesOnExtension),
    "returners": Plant(
        "a member that comes back is not waited for",
        ((decide, "_collecting", _never_says_ready), (decide, "_ready", _nothing)),
    ),
    "heads": Plant("the seal counts heads, not those waited for", contract=_CountsHeads),
    "floor": Plant("a merge must include minUpdates updates", contract=_FloorOfMinUpdates),
    "no-extension": Plant("an incomplete round is never extended", contract=_NoExtension),
    "coverage": Plant("one attestation a slice too few is enough", contract=_CountsAlmostCovered),
    "one-objection": Plant(
        "a single member's objection excludes an update",
        (
            (observe, "excluded_mask", _excludes_on_one_objection),
            (decide_merging, "excluded_mask", _excludes_on_one_objection),
        ),
    ),
}
"""The first six are those that section 10 names; the others show that the other checkers see something too."""


@contextmanager
def planted(name: str | None) -> Iterator[type[ContractModel]]:
    """The contract's class to simulate with; within the block the fault is in force in this process."""
    if name is None:
        yield ContractModel
        return
    plant = PLANTS[name]
    with ExitStack() as undo:
        for place, attribute, replacement in plant.patches:
            undo.callback(setattr, place, attribute, getattr(place, attribute))
            setattr(place, attribute, replacement)
        yield plant.contract
