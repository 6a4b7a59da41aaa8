"""What a merge rule is, and how the rule id of a swarm's configuration names one (docs/protocol.md, sections 2 and 8).

A rule id reads `name/version;parameter=value;...`: the rule's name, the version of its kernel, and its parameters
sorted by name. Whoever has the id has everything that decides the merged bits. A new rule is one file with a class
that fits `Rule`, and its line in `swarmp2p/merge/registry.py`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Protocol, TypeAlias

from swarmp2p.core.errors import ConfigError
from swarmp2p.core.schema import Schema, Tensor

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes of one chunk."""

MAX_ID = 200
"""Longest rule id, in characters."""

_NAME = r"[a-z][a-z0-9_]*"
_ID = re.compile(rf"({_NAME})/([1-9][0-9]{{0,8}})((?:;{_NAME}=[A-Za-z0-9_.+-]+)*)")


ChunkSource: TypeAlias = Callable[[int], Buffer]
"""Gives the chunk of an index of one file. What it raises passes through the merge."""

ANY_LEADERS = 16
"""`Rule.max_leaders` of rules that make each chunk on its own: as many as a round can have."""


@dataclass(frozen=True, slots=True)
class RoundInputs:
    """All that the merged model of one round is made of.

    Attributes:
        schema: of the model; one that the rule's `check_schema` accepted.
        updates: of the included members, in ascending order of their addresses. Each chunk that is given has passed
            `check_chunk` under the rule's update schema; it is only read.
        weights: of the same members, from the contract's storage: 1 to 2^32 - 1.
        heads: the model that the updates were trained from, then its parent, and so on: `Rule.heads` of them. Before the
            genesis comes the genesis.
    """

    schema: Schema
    updates: Sequence[ChunkSource]
    weights: Sequence[int]
    heads: Sequence[ChunkSource] = ()


class Wire(Protocol):
    """How updates are written; see `swarmp2p/merge/wire.py`."""

    @property
    def name(self) -> str:
        """As rule ids name it."""
        ...

    @property
    def plain(self) -> bool:
        """Whether an update is the learner's weights as they are."""
        ...

    def encode(self, weights: Path, head: Path, residual: Path | None, update: Path, left: Path) -> None:
        """Writes an update, both files atomically, a batch of elements in memory at a time. Not for a plain wire.

        Args:
            weights: the learner's, in the layout of `Rule.weights_schema`.
            head: the model that they were trained from.
            residual: what `left` was the last time; None: nothing is left from before.
            update: the file to make, of `Rule.update_schema`.
            left: the file to make with what the update does not say of the weights and of `residual`.

        Raises:
            InvalidUpdate: a weight that the wire cannot hold. MalformedModel: `residual` is of another model or broken.
            QuotaExceeded: no room.
        """
        ...


class Merge(Protocol):
    """The merge of one round, begun. One thread at a time may use it."""

    def chunk(self, chunk_index: int, out: bytearray | memoryview | None = None) -> memoryview:
        """One chunk of the merged model, with the same bytes on every machine, whatever chunks were made before.

        Args:
            chunk_index: which chunk of the model's file.
            out: where to write, at least the chunk's size and no input's memory; new memory when None.

        Returns:
            A view of exactly the chunk's bytes, in `out` when that was given.

        Raises:
            InvalidUpdate: a source gave a chunk of another size.
            KernelFault: this thread's arithmetic is not the protocol's.
            IndexError: there is no such chunk. ValueError: an `out` that does not fit (the caller's mistake).
        """
        ...


class Rule(Protocol):
    """A map from the updates of a round, and perhaps the models before it, to the merged model. Thread-safe; keeps nothing
    from one round to the next."""

    @property
    def id(self) -> str:
        """The rule id: name, kernel version and parameters."""
        ...

    @property
    def id_digest(self) -> bytes:
        """sha2-256 of the id (`Config.rule`)."""
        ...

    @property
    def max_leaders(self) -> int:
        """1 for rules that look at whole vectors first, else ANY_LEADERS."""
        ...

    @property
    def min_updates(self) -> int:
        """Fewer updates than this do not give what the rule promises; they are merged all the same."""
        ...

    @property
    def heads(self) -> int:
        """How many earlier models it reads: 0, 1 (the head that was trained from) or 2 (its parent too)."""
        ...

    @property
    def wire(self) -> Wire:
        """How updates are written."""
        ...

    def check_schema(self, schema: Schema) -> None:
        """Refuses a genesis that this rule cannot merge.

        Raises:
            SchemaMismatch: names the tensor and the mend.
        """
        ...

    def model_schema(self, weights: Schema) -> Schema:
        """The swarm's models, from what learners have: with the rule's own state, if it has any."""
        ...

    def weights_schema(self, model: Schema) -> Schema:
        """What learners have, from the swarm's models: without the rule's own state."""
        ...

    def write_state(self, weights: Schema, out: IO[bytes], tensor: Tensor) -> bool:
        """Writes a tensor of the rule's own state as it is in the genesis; False for a tensor that is none."""
        ...

    def update_schema(self, model: Schema) -> Schema:
        """The updates, from the swarm's models."""
        ...

    def update_chunks(self, model: Schema, chunks: Iterable[int]) -> set[int]:
        """The chunks of every update that these chunks of the merged model are made of."""
        ...

    def begin(self, inputs: RoundInputs) -> Merge:
        """Begins a merge; whole-vector rules read all updates now, chunk by chunk, with flat memory.

        Raises:
            ValueError: no input, or weights or heads that break the contract of `RoundInputs` (the caller's mistake).
            InvalidUpdate, KernelFault: as `Merge.chunk`.
        """
        ...


def format_rule_id(name: str, version: int, parameters: Mapping[str, str] | None = None) -> str:
    """The canonical id. ConfigError when a part of it cannot stand in one."""
    tail = "".join(f";{key}={value}" for key, value in sorted((parameters or {}).items()))
    rule_id = f"{name}/{version}{tail}"
    parse_rule_id(rule_id)
    return rule_id


def parse_rule_id(rule_id: str) -> tuple[str, int, dict[str, str]]:
    """(name, kernel version, parameters) of a canonical id.

    Raises:
        ConfigError: malformed, or not the canonical spelling (its digest would differ from the canonical one's).
    """
    match = _ID.fullmatch(rule_id) if len(rule_id) <= MAX_ID else None
    if match is None:
        raise ConfigError(
            f"{rule_id[:MAX_ID]!r} is not a merge rule's id.",
            "Write it as name/version;parameter=value, in lower case.",
        )
    keys = [part.partition("=")[0] for part in match[3].split(";")[1:]]
    if keys != sorted(set(keys)):
        raise ConfigError(f"The parameters of merge rule {rule_id!r} are not sorted.", "Sort them, each once.")
    parameters = dict(part.split("=", 1) for part in match[3].split(";")[1:])
    return match[1], int(match[2]), parameters


def rule_digest(rule_id: str) -> bytes:
    """sha2-256 of the id, as the contract keeps it."""
    return sha256(rule_id.encode()).digest()
