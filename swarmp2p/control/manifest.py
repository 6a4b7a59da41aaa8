"""The swarm's manifest: what its members agree on, as `swarm.toml` (docs/protocol.md, section 2).

There are two files of one form. The founder's *draft* says what the swarm shall be; `found` writes the *founded* one
with the chain, the contract and the genesis, complete and without defaults to be filled in. Members get the founded
one. What the contract fixes is hashed into the manifest's digest, which the contract holds: nobody can change it later.
The RPC URLs, bootstrap addresses and the [local] knobs are each member's own.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from multiformats import CID, multihash

from swarmp2p.control.manifest_form import DRAFT_MEND, FORM, FOUNDED_MEND
from swarmp2p.control.toml_form import parse_toml, read_toml
from swarmp2p.core.config import Config, Knobs
from swarmp2p.core.errors import ConfigError
from swarmp2p.core.types import CHUNK_SIZE, Address, Digest

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
    bootstrap: tuple[str, ...] = ()
    knobs: Knobs = field(default_factory=Knobs)
    genesis_file: str | None = None
    """In a draft: the safetensors file of the first model."""
    chain_id: int = 0
    contract: Address = b""
    """Empty, as the next three, in a draft."""
    genesis: Digest = b""
    size: int = 0
    schema: Digest = b""

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
    def purpose_digest(self) -> Digest:
        """The digest that invitations sign: of the CID that `purpose` is, or of its text as a raw block."""
        try:
            cid = CID.decode(self.purpose)
        except (ValueError, KeyError):
            return hashlib.sha256(self.purpose.encode()).digest()
        return bytes(cid.raw_digest) if cid.hashfun.name == "sha2-256" else hashlib.sha256(bytes(cid)).digest()

    def canonical(self) -> bytes:
        """What the contract fixes and members agree on, as JSON with sorted keys, whole numbers and texts only.

        As a raw block it has the manifest's CID; any IPFS can hold it.
        """
        if not self.genesis:
            raise ConfigError("A draft has no digest yet.", "Found the swarm first.")
        agreed = {
            "version": 1,
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
            "metric": self.metric.name,
            "maximize": self.metric.maximize,
            "target_micro": None if self.metric.target is None else round(self.metric.target * MICRO),
            "min_delta_micro": round(self.metric.min_delta * MICRO),
            "max_abs": repr(self.max_abs),
            "rule": self.rule,
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
            update_size=self.size,
            update_schema=self.schema,
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
            k_invite=self.k_invite,
            founders=self.founders,
        )

    def with_genesis(self, genesis: Digest, size: int, schema: Digest) -> "Manifest":
        """This draft with its first model: then it has a digest and a configuration to deploy."""
        return replace(self, genesis_file=None, genesis=genesis, size=size, schema=schema)

    def with_contract(self, chain_id: int, contract: Address) -> "Manifest":
        """The founded manifest."""
        return replace(self, chain_id=chain_id, contract=contract)


def colluders_by_default(initial_members: int) -> int:
    """f by the number of initial members (section 2)."""
    if initial_members == 1:
        return 0
    return 1 if initial_members <= 6 else 2 if initial_members <= 15 else 3


def load_draft(path: Path) -> Manifest:
    """Read a founder's draft.

    Raises:
        ConfigError: naming the key and the mend; also when the file is of a founded swarm already.
    """
    values = read_toml(path, FORM, DRAFT_MEND)
    return _draft(values, str(path))


def load_manifest(path: Path) -> Manifest:
    """Read a founded swarm's manifest.

    Raises:
        ConfigError: naming the key and the mend; also when the file is still a draft.
    """
    values = read_toml(path, FORM, FOUNDED_MEND)
    return _founded(values, str(path))


def parse_manifest(text: str, name: str = "swarm.toml") -> Manifest:
    """A draft or a founded manifest from its text, as `load_draft` and `load_manifest` read them."""
    values = parse_toml(text, FORM, name)
    return _draft(values, name) if values["chain"]["contract"] is None else _founded(values, name)


def _draft(values: dict[str, dict[str, Any]], name: str) -> Manifest:
    if values["chain"]["contract"] is not None:
        raise ConfigError(f"{name} is of a swarm that is founded already.", "Write a new draft for a new swarm.")
    for key in ("genesis", "size", "schema"):
        if values["model"][key] is not None:
            raise ConfigError(f"{name}: a draft has no [model] {key}.", "`found` computes it from [model] file.")
    if values["model"]["file"] is None:
        raise ConfigError(f"{name}: the key [model] file is missing.", "Name the safetensors file of the first model.")
    manifest = _manifest(values)
    validate(manifest, name)
    return manifest


def _founded(values: dict[str, dict[str, Any]], name: str) -> Manifest:
    if values["chain"]["contract"] is None:
        raise ConfigError(f"{name} is a draft: it names no contract.", FOUNDED_MEND)
    for section, key in (("chain", "id"), ("model", "genesis"), ("model", "size"), ("model", "schema")):
        if values[section][key] is None:
            raise ConfigError(f"{name}: the key [{section}] {key} is missing.", FOUNDED_MEND)
    if values["model"]["file"] is not None:
        raise ConfigError(f"{name}: [model] file belongs into a draft only.", "Remove it.")
    manifest = _manifest(values)
    if str(manifest.genesis_cid) != str(values["model"]["genesis"]):
        raise ConfigError(
            f"{name}: [model] genesis does not fit size {manifest.size}: it would be {manifest.genesis_cid}.",
            FOUNDED_MEND,
        )
    validate(manifest, name)
    return manifest


def _manifest(values: dict[str, dict[str, Any]]) -> Manifest:
    top, chain, model, founding = values[""], values["chain"], values["model"], values["members"]
    rounds, timing, metric, merge = values["rounds"], values["timing"], values["metric"], values["merge"]
    founders: tuple[Address, ...] = founding["founders"]
    initial = len(founders) if founding["initial"] is None else founding["initial"]
    f = colluders_by_default(initial) if founding["colluders"] is None else founding["colluders"]
    least = min(max(2, f + 1), initial) if rounds["min_updates"] is None else rounds["min_updates"]
    signatures = founding["invite_signatures"]
    knobs = {key: value for key, value in values["local"].items() if value is not None}
    return Manifest(
        name=top["name"],
        purpose=top["purpose"],
        founders=founders,
        k_invite=-(-len(founders) // 2) if signatures is None else signatures,
        initial_members=initial,
        f=f,
        min_updates=least,
        fraction=rounds["fraction"],
        k_max=rounds["leaders"],
        max_missed=rounds["max_missed"],
        max_rounds=rounds["max_rounds"],
        patience=rounds["patience"],
        sync_interval=rounds["sync_interval"],
        interval_seconds=timing["interval"],
        collect_timeout=timing["collect_timeout"],
        grace=timing["grace"],
        merge_timeout=timing["merge_timeout"],
        metric=Metric(metric["name"], metric["direction"] == "maximize", metric["target"], metric["min_delta"]),
        max_abs=merge["max_abs"],
        rule=merge["rule"],
        rpc=chain["rpc"],
        bootstrap=values["network"]["bootstrap"],
        knobs=Knobs(**knobs),
        genesis_file=model["file"],
        chain_id=chain["id"] or 0,
        contract=chain["contract"] or b"",
        genesis=b"" if model["genesis"] is None else bytes(model["genesis"].raw_digest),
        size=model["size"] or 0,
        schema=model["schema"] or b"",
    )


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
    elif manifest.fraction != round(manifest.fraction, 4):
        problem = f"fraction = {manifest.fraction} has more than 4 decimals"
        mend = "The contract keeps 4: round it."
    else:
        return
    raise ConfigError(f"{name}: {problem}.", mend)
