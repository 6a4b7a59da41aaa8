"""The swarm's manifest: what its members agree on, as `swarm.toml` (docs/protocol.md, section 2).

There are two files of one form. The founder's *draft* says what the swarm shall be; `found` writes the *founded* one
with the chain, the contract and the genesis, complete and without defaults to be filled in. Members get the founded
one. What the contract fixes is hashed into the manifest's digest, which the contract holds: nobody can change it later.
The RPC URLs, bootstrap addresses and the [local] knobs are each member's own.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace

from multiformats import CID, multihash

from swarmp2p.core.config import Config, Knobs
from swarmp2p.core.errors import ConfigError
from swarmp2p.core.types import CHUNK_SIZE, NO_ADDRESS, Address, Digest

DAY = 86_400
MICRO = 1_000_000
"""Metrics are fixed-point with 6 decimals on the chain, and in the digest."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What members report of a head."""

    name: str
    maximize: bool
    target: float | None
    """Value at which a member votes to stop; None: never."""
    min_delta: float
    """What counts as an improvement."""


@dataclass(frozen=True, slots=True)
class Rewards:
    """What taking part pays, and what it needs as a stake. Amounts in the token's smallest unit."""

    token: Address
    """An ERC-20 contract."""
    policy: str
    """How a round's money is shared: "equal", "weight", or the address of an IRewardPolicy contract (0x...)."""
    per_round: int
    """The pot of a merged round, as far as the pool reaches."""
    attester_share: float = 0.0
    """Part of the pot that goes in equal parts to those that attested the merge; at most 4 decimals."""
    min_stake: int = 0
    """What invitations ask for."""
    unstake_delay: int = 7 * DAY
    treasury: Address = b""
    """The contract that holds the money; empty in a draft, where `found` deploys it."""
    treasury_transaction: Digest = b""
    """Hash of the transaction that deployed it."""
    policy_transaction: Digest = b""
    """Hash of the transaction that deployed the policy, if it is "equal" or "weight"."""

    @property
    def attester_bps(self) -> int:
        """`attester_share` as the contract has it."""
        return round(self.attester_share * 10_000)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A swarm's manifest. Times in seconds, sizes in bytes. Check it with `validate` if it was not read from a file."""

    name: str
    purpose: str
    """The agreed purpose and terms, or their CID. Invitations sign it."""
    founders: tuple[Address, ...]
    k_invite: int
    initial_members: int
    f: int
    min_updates: int
    fraction: float
    k_max: int
    max_missed: int
    max_rounds: int
    patience: int
    sync_interval: int
    """Local batches between two merges."""
    interval_seconds: float
    """How long the slowest expected member takes for that, as its founder declares."""
    collect_timeout: int
    grace: int
    merge_timeout: int
    metric: Metric
    max_abs: float
    rule: str
    """Id of the merge rule."""
    rpc: tuple[str, ...]
    apply: str = "replace/1"
    """Id of the apply rule: how members take a merged model over."""
    abandon_after: int = 30 * DAY
    """Seconds without a merge after which anybody may stop the swarm."""
    rewards: Rewards | None = None
    agreement: tuple[bytes, ...] = ()
    """The founders' signatures of the digest, in any order; see control/agreement.py."""
    bootstrap: tuple[str, ...] = ()
    knobs: Knobs = field(default_factory=Knobs)
    genesis_file: str | None = None
    """In a draft: the safetensors file of the first model."""
    purpose_file: str | None = None
    """In a draft: the document of the terms, whose CID will be the purpose; `purpose` is empty then."""
    chain_id: int = 0
    contract: Address = b""
    """Empty, as all that follows, in a draft."""
    transaction: Digest = b""
    """Hash of the transaction that deployed it."""
    genesis: Digest = b""
    size: int = 0
    schema: Digest = b""
    update_size: int = 0
    """As `update_schema`, of updates where these are not written as the models are; else 0 and empty."""
    update_schema: Digest = b""

    @property
    def min_stake(self) -> int:
        """What invitations ask for; 0 in a swarm without money."""
        return 0 if self.rewards is None else self.rewards.min_stake

    @property
    def q(self) -> int:
        """Recomputations needed for every slice."""
        return self.f + 1

    @property
    def founded(self) -> bool:
        """Whether this is a founded swarm's manifest."""
        return bool(self.contract)

    @property
    def may_die(self) -> int:
        """How many of the initial members may die for good before the swarm waits for one to come back."""
        return self.initial_members - max(self.q, self.min_updates)

    @property
    def genesis_cid(self) -> CID:
        """CID of the first model."""
        if not self.genesis:
            raise ConfigError("A draft has no genesis CID yet.", "Found the swarm first.")
        return CID(
            "base32", 1, "raw" if self.size <= CHUNK_SIZE else "dag-pb", multihash.wrap(self.genesis, "sha2-256")
        )

    @property
    def purpose_cid(self) -> CID | None:
        """The CID that `purpose` is; None if it is a text."""
        try:
            return CID.decode(self.purpose)
        except (ValueError, KeyError):
            return None

    @property
    def purpose_digest(self) -> Digest:
        """The digest that invitations sign: of the CID that `purpose` is, or of its text as a raw block."""
        cid = self.purpose_cid
        if cid is None:
            return hashlib.sha256(self.purpose.encode()).digest()
        return bytes(cid.raw_digest) if cid.hashfun.name == "sha2-256" else hashlib.sha256(bytes(cid)).digest()

    def canonical(self) -> bytes:
        """What the contract fixes and members agree on, as JSON with sorted keys, whole numbers and texts only.

        As a raw block it has the manifest's CID; any IPFS can hold it.
        """
        if not self.genesis or not self.purpose:
            raise ConfigError("A draft has no digest yet.", "Found the swarm first.")
        agreed = {
            "version": 2,
            "name": self.name,
            "purpose": self.purpose,
            "founders": ["0x" + founder.hex() for founder in self.founders],
            "invite_signatures": self.k_invite,
            "genesis": str(self.genesis_cid),
            "size": self.size,
            "schema": self.schema.hex(),
            "initial_members": self.initial_members,
            "colluders": self.f,
            "min_updates": self.min_updates,
            "fraction_bps": round(self.fraction * 10_000),
            "leaders": self.k_max,
            "max_missed": self.max_missed,
            "max_rounds": self.max_rounds,
            "patience": self.patience,
            "sync_interval": self.sync_interval,
            "collect_timeout": self.collect_timeout,
            "grace": self.grace,
            "merge_timeout": self.merge_timeout,
            "abandon_after": self.abandon_after,
            "rewards": None if self.rewards is None else _agreed_rewards(self.rewards),
            "metric": self.metric.name,
            "maximize": self.metric.maximize,
            "target_micro": None if self.metric.target is None else round(self.metric.target * MICRO),
            "min_delta_micro": round(self.metric.min_delta * MICRO),
            "max_abs": repr(self.max_abs),
            "rule": self.rule,
        }
        if self.update_schema or self.apply != "replace/1":
            # Swarms without these were founded before there were any, and keep their digest.
            agreed |= {
                "version": 3,
                "apply": self.apply,
                "update_size": self.update_size or self.size,
                "update_schema": (self.update_schema or self.schema).hex(),
            }
        return json.dumps(agreed, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    @property
    def digest(self) -> Digest:
        """sha2-256 of the canonical form: the digest of the manifest's CID."""
        return hashlib.sha256(self.canonical()).digest()

    @property
    def cid(self) -> CID:
        """The manifest's CID."""
        return CID("base32", 1, "raw", multihash.wrap(self.digest, "sha2-256"))

    def config(self) -> Config:
        """What the contract is deployed with."""
        if not self.genesis:
            raise ConfigError("A draft has no configuration yet.", "Found the swarm first.")
        return Config(
            genesis=self.genesis,
            size=self.size,
            schema=self.schema,
            update_size=self.update_size or self.size,
            update_schema=self.update_schema or self.schema,
            rule=hashlib.sha256(self.rule.encode()).digest(),
            purpose=self.purpose_digest,
            manifest=self.digest,
            initial_members=self.initial_members,
            f=self.f,
            k_max=self.k_max,
            min_updates=self.min_updates,
            frac_bps=round(self.fraction * 10_000),
            collect_timeout=self.collect_timeout,
            grace=self.grace,
            merge_timeout=self.merge_timeout,
            max_missed=self.max_missed,
            max_rounds=self.max_rounds,
            patience=self.patience,
            abandon_after=self.abandon_after,
            k_invite=self.k_invite,
            treasury=NO_ADDRESS if self.rewards is None else self.rewards.treasury,
            founders=self.founders,
        )

    def with_genesis(
        self, genesis: Digest, size: int, schema: Digest, update_size: int = 0, update_schema: Digest = b""
    ) -> "Manifest":
        """This draft with its first model: then it has a digest and a configuration to deploy.

        Args:
            update_size, update_schema: of updates; left out, or the same: as the model's.
        """
        other = update_schema not in (b"", schema)
        return replace(
            self,
            genesis_file=None,
            genesis=genesis,
            size=size,
            schema=schema,
            update_size=update_size if other else 0,
            update_schema=update_schema if other else b"",
        )

    def with_purpose(self, cid: CID) -> "Manifest":
        """This draft with the CID of its document of terms."""
        return replace(self, purpose_file=None, purpose=str(cid))

    def with_treasury(
        self, treasury: Address, transaction: Digest = b"", policy_transaction: Digest = b""
    ) -> "Manifest":
        """This draft with the contract that holds its money, and the transactions that deployed it and its policy."""
        if self.rewards is None:
            return self
        rewards = replace(
            self.rewards, treasury=treasury, treasury_transaction=transaction, policy_transaction=policy_transaction
        )
        return replace(self, rewards=rewards)

    def with_contract(self, chain_id: int, contract: Address, transaction: Digest = b"") -> "Manifest":
        """The founded manifest, with the transaction that deployed the contract."""
        return replace(self, chain_id=chain_id, contract=contract, transaction=transaction)


def _agreed_rewards(rewards: Rewards) -> dict[str, str | int]:
    """All but the treasury: it is deployed after the founders have signed, and holds these terms itself."""
    return {
        "token": "0x" + rewards.token.hex(),
        "policy": rewards.policy,
        "per_round": str(rewards.per_round),
        "attester_bps": rewards.attester_bps,
        "min_stake": str(rewards.min_stake),
        "unstake_delay": rewards.unstake_delay,
    }


def colluders_by_default(initial_members: int) -> int:
    """f by the number of initial members (section 2)."""
    if initial_members == 1:
        return 0
    return 1 if initial_members <= 6 else 2 if initial_members <= 15 else 3


def validate(manifest: Manifest, name: str = "swarm.toml") -> None:
    """Refuse values that contradict each other or that no swarm could live with (section 2).

    Raises:
        ConfigError: naming the keys.
    """
    initial, q = manifest.initial_members, manifest.q
    if initial < q:
        problem = f"{initial} initial members cannot give the {q} recomputations that {manifest.f} colluders need"
        mend = "Lower [members] colluders, or start with more."
    elif manifest.min_updates < q:
        problem = f"min_updates = {manifest.min_updates} is below the {q} recomputations needed"
        mend = f"Set [rounds] min_updates to {q} or more, or lower [members] colluders."
    elif manifest.min_updates > initial:
        problem = f"min_updates = {manifest.min_updates} is more than the {initial} initial members"
        mend = "The swarm would wait for ever after round 1: lower [rounds] min_updates."
    elif manifest.k_invite > len(manifest.founders):
        problem = f"invitations need {manifest.k_invite} signatures of {len(manifest.founders)} founders"
        mend = "Lower [members] invite_signatures."
    elif manifest.collect_timeout < 3 * manifest.interval_seconds:
        interval = f"{manifest.interval_seconds:g}"
        problem = f"collect_timeout = {manifest.collect_timeout} s is below 3 x the interval of {interval} s"
        mend = "Slow members would be left out: raise [timing] collect_timeout, or declare a shorter interval."
    elif manifest.abandon_after <= manifest.collect_timeout + manifest.merge_timeout:
        problem = f"abandon_after = {manifest.abandon_after} s is not above collect_timeout and merge_timeout together"
        mend = "A slow round would look abandoned: raise [timing] abandon_after."
    elif manifest.rewards is not None and manifest.rewards.attester_share != round(manifest.rewards.attester_share, 4):
        problem = f"attester_share = {manifest.rewards.attester_share} has more than 4 decimals"
        mend = "The contract keeps 4: round it."
    elif manifest.fraction != round(manifest.fraction, 4):
        problem = f"fraction = {manifest.fraction} has more than 4 decimals"
        mend = "The contract keeps 4: round it."
    else:
        return
    raise ConfigError(f"{name}: {problem}.", mend)
