"""What the chain tells of a swarm, sorted by round."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from swarmp2p.control.interface import RoundResult
from swarmp2p.core.config import Config
from swarmp2p.core.history import Enrolled, Merged, Opened, Record, Sealed, Updated
from swarmp2p.core.types import Address, Digest
from swarmp2p.core.view import View


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that an audit knows of the chain, as a node tells it."""

    chain_id: int
    contract: Address
    domain: Digest
    """EIP-712 domain separator, by the contract."""
    config: Config
    view: View
    results: Mapping[int, RoundResult]
    """What the contract keeps of each round that has a Merged event or that another one names as its parent."""
    records: tuple[Record, ...]
    """Events in the chain's order, up to the block of `view`."""


@dataclass(slots=True)
class RoundEvidence:
    """The events of one round."""

    round: int
    opened: Opened | None = None
    updates: list[Updated] = field(default_factory=list)
    """In the order in which they are in `inputs`."""
    sealed: Sealed | None = None
    merged: Merged | None = None
    members: dict[Address, Enrolled] = field(default_factory=dict)
    """Members at the merge, by address."""
    terms: list[Enrolled | None] = field(default_factory=list)
    """For each update, what its member was enrolled with then."""


def by_round(records: Iterable[Record]) -> dict[int, RoundEvidence]:
    """The events of each round, with the members of the time."""
    rounds: dict[int, RoundEvidence] = {}
    members: dict[Address, Enrolled] = {}
    for record in records:
        if isinstance(record, Enrolled):
            members[record.address] = record
            continue
        if not isinstance(record, Opened | Updated | Sealed | Merged):
            continue
        current = rounds.setdefault(record.round, RoundEvidence(record.round))
        if isinstance(record, Opened):
            current.opened = record
        elif isinstance(record, Updated):
            current.updates.append(record)
            current.terms.append(members.get(record.address))
        elif isinstance(record, Sealed):
            current.sealed = record
        else:
            current.merged = record
            current.members = dict(members)
    return rounds
