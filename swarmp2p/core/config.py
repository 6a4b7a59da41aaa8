"""The immutable configuration of a swarm (docs/protocol.md, section 2), and the knobs that each peer sets."""

from dataclasses import dataclass, field

from swarmp2p.core.types import CHUNK_SIZE, Address, Digest


@dataclass(frozen=True, slots=True)
class Config:
    """What the contract was deployed with. Field for field `ISwarm.Config`; times in seconds, sizes in bytes."""

    genesis: Digest
    size: int
    schema: Digest
    """sha2-256 of the genesis file's safetensors head: its 8 length bytes and its JSON."""
    update_size: int
    update_schema: Digest
    rule: Digest
    """sha2-256 of the merge rule's id, which names its parameters and kernel version."""
    purpose: Digest
    manifest: Digest
    initial_members: int
    f: int
    k_max: int
    min_updates: int
    frac_bps: int
    collect_timeout: int
    grace: int
    merge_timeout: int
    max_missed: int
    max_rounds: int
    patience: int
    """Merged rounds without improvement after which the swarm stops; 0: off."""
    abandon_after: int
    """Seconds without a merge after which anyone may stop the swarm."""
    k_invite: int
    treasury: Address
    """The contract that holds stakes and rewards; 20 zero bytes: none."""
    founders: tuple[Address, ...]

    @property
    def q(self) -> int:
        """Recomputations needed for every slice: one more than the colluders withstood."""
        return self.f + 1

    @property
    def chunks(self) -> int:
        """Chunks in a model; an empty file has one (empty) chunk."""
        return max(1, -(-self.size // CHUNK_SIZE))


@dataclass(frozen=True, slots=True)
class Knobs:
    """A peer's own choices, timing in seconds: nothing of it needs to be equal among members."""

    leader_timeout: float = 10.0
    fetch_timeout: float = 5.0
    slack: float = 2.0
    stagger: float = 1.0
    """Between two members that would send the same permissionless transaction."""
    announce_interval: float = 1.0
    """Between two re-announcements of own claims and attestations while a round merges."""
    linger: float = 60.0
    keep_rounds: int = field(default=0, kw_only=True)
    """Rounds for which files stay that the protocol needs no more, so that merges can be recomputed in an audit."""
    confirmations: int = field(default=0, kw_only=True)
    """Chain blocks after which a block is final. For so many blocks files stay that the protocol needs no more: should the
    chain be reorganised, they are needed again. 0 with instant finality (QBFT, one node), floor(signers / 2) + 1 on
    Clique."""
