"""What the chain tells of a swarm."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmp2p.control.interface import RoundResult
from swarmp2p.core.config import Config
from swarmp2p.core.history import Record, Sealed, Updated
from swarmp2p.core.types import Address, Bitmap, Digest, bitmap_of
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
    """What the contract keeps of every round that merged something."""
    records: tuple[Record, ...]
    """Events in the chain's order, up to the block of `view`."""


@dataclass(slots=True)
class RoundEvidence:
    """The events of one round, as far as they have come."""

    round: int
    updates: list[Updated] = field(default_factory=list)
    """In the order in which they are in `inputs`."""
    banned: Bitmap = 0
    """Updates that a vote forced out."""
    sealed: Sealed | None = None

    @property
    def submitted(self) -> Bitmap:
        """Who submitted an update."""
        return bitmap_of(update.index for update in self.updates)

    @property
    def roster(self) -> Bitmap:
        """Whose update may be merged."""
        return self.submitted & ~self.banned
