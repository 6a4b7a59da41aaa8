"""What a merge rule is, and how the rule id of a swarm's configuration names one (docs/protocol.md, sections 2 and 8).

A rule id reads `name/version;parameter=value;...`: the rule's name, the version of its kernel, and its parameters
sorted by name. Whoever has the id has everything that decides the merged bits. A new rule is one file with a class
that fits `Rule`, and its line in `swarmp2p/merge/registry.py`.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Protocol, TypeAlias

from swarmp2p.core.errors import ConfigError
from swarmp2p.core.schema import Schema

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes of one chunk."""

MAX_ID = 200
"""Longest rule id, in characters."""

_NAME = r"[a-z][a-z0-9_]*"
_ID = re.compile(rf"({_NAME})/([1-9][0-9]{{0,8}})((?:;{_NAME}=[A-Za-z0-9_.+-]+)*)")


class Rule(Protocol):
    """A map from the updates of a round to the merged model, chunk by chunk. Thread-safe; keeps nothing in between."""

    @property
    def id(self) -> str:
        """The rule id: name, kernel version and parameters."""
        ...

    @property
    def id_digest(self) -> bytes:
        """sha2-256 of the id (`Config.rule`)."""
        ...

    def check_schema(self, schema: Schema) -> None:
        """Refuses a genesis that this rule cannot merge.

        Raises:
            SchemaMismatch: names the tensor and the mend.
        """
        ...

    def merge_chunk(
        self,
        schema: Schema,
        chunk_index: int,
        inputs: Sequence[Buffer],
        weights: Sequence[int],
        out: bytearray | memoryview | None = None,
    ) -> memoryview:
        """One chunk of the merged model, with the same bytes on every machine.

        Args:
            schema: of the model; one that `check_schema` accepted.
            chunk_index: which chunk of the file.
            inputs: that chunk of each included update, in ascending order of the members' addresses; each one passed
                `check_chunk`. Any buffer of the chunk's size; it is only read.
            weights: of the same members, from the contract's storage: 1 to 2^32 - 1.
            out: where to write, at least the chunk's size and no input's memory; new memory when None.

        Returns:
            A view of exactly the chunk's bytes, in `out` when that was given.

        Raises:
            InvalidUpdate: an input has another size than the chunk.
            KernelFault: this thread's arithmetic is not the protocol's.
            ValueError: no input, or weights or `out` that break the contract above (the caller's mistake).
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
