"""What merge rules share: their id, the wire, and working through a chunk in blocks (docs/protocol.md, section 8).

A rule subclasses `BaseRule`, says its name and parameters, and computes one block of floats (docs/merge-rules.md shows
one). What keeps the bits equal everywhere is in the hands of this module but for one thing: a rule must compute with
element-wise ufuncs only, in the order of the members, and may use +, -, *, /, sqrt, minimum, maximum and comparisons.
These are exact in IEEE 754 and the same on every machine. exp, log, pow, sin and the like are not; neither is anything
that sums in an order of NumPy's own (sum, mean, dot, matmul, einsum).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any, ClassVar

import numpy as np

from swarmp2p.core.errors import ConfigError
from swarmp2p.core.schema import Schema, Tensor, require_aligned
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.floats import FLOATS, Elements, narrow, widen
from swarmp2p.merge.kernels import BLOCK, KERNELS, MAX_INPUTS, MAX_WEIGHT, require_sound_arithmetic
from swarmp2p.merge.layout import FileReader, Part, Run, chunk_runs, chunks_of, require_mergeable, spans
from swarmp2p.merge.parameters import Parameter, Value, parse_all, show
from swarmp2p.merge.rule import ANY_LEADERS, RoundInputs, format_rule_id, rule_digest
from swarmp2p.merge.wire import WIRES, BaseWire

WIRE = Parameter("wire", "plain", words=tuple(WIRES))
"""Every rule has it."""


@dataclass(slots=True)
class Block:
    """Some elements of one dtype, of all members.

    Attributes:
        dtype: that of the model's tensors.
        values: a member each, in merge order. Floats come widened (`FLOATS`), and -0 as +0; all else as it is stored.
            They may be spoilt.
        heads: the same elements of the rule's earlier models.
        weights: of the members.
        first_pass: what the rule's `look` made of the whole vectors; None if it does not.
        out: for the result: floats in the dtype computed in, rounded to the model's afterwards.
    """

    dtype: str
    values: list[Elements]
    heads: list[Elements]
    weights: Sequence[int]
    first_pass: Any
    out: Elements
    spare: Elements
    """Scratch of the same size and dtype as `out`."""


class BaseRule(ABC):
    """A merge rule. Its docstring gives formula and source.

    Attributes:
        NAME, VERSION: of the kernel, for the id. A change of any result's bits changes the version.
        PARAMETERS: besides the wire.
        WHOLE_VECTOR: it looks at all updates first (`look`), so a round has one leader.
        HEADS: earlier models that it reads.
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = ()
    WHOLE_VECTOR: ClassVar[bool] = False
    HEADS: ClassVar[int] = 0

    def __init__(self, **parameters: Value) -> None:
        """Parameters by name; the others have their defaults. ConfigError for one that is not possible."""
        texts = {name: show(value) for name, value in parameters.items()}
        self.parameters = parse_all(self.NAME, (*self.PARAMETERS, WIRE), texts)
        self.wire: BaseWire = WIRES[str(self.parameters["wire"])]

    @classmethod
    def from_parameters(cls, version: int, parameters: Mapping[str, str]) -> "BaseRule":
        """For the registry; see `rule_from_id`."""
        if version != cls.VERSION:
            raise ConfigError(
                f"The swarm merges with kernel version {version} of {cls.NAME}, this library has {cls.VERSION}.",
                "Install the release of swarmp2p that the other members use.",
            )
        return cls(**parse_all(cls.NAME, (*cls.PARAMETERS, WIRE), parameters))

    def number(self, name: str) -> float:
        """A parameter that is a number."""
        return float(self.parameters[name])

    # ---- what `Rule` says

    @cached_property
    def id(self) -> str:
        """See `Rule.id`."""
        shown = {name: show(value) for name, value in self.parameters.items() if (name, value) != ("wire", "plain")}
        return format_rule_id(self.NAME, self.VERSION, shown)

    @cached_property
    def id_digest(self) -> bytes:
        """See `Rule.id_digest`."""
        return rule_digest(self.id)

    @property
    def max_leaders(self) -> int:
        """See `Rule.max_leaders`."""
        return 1 if self.WHOLE_VECTOR else ANY_LEADERS

    @property
    def min_updates(self) -> int:
        """See `Rule.min_updates`."""
        return 1

    @property
    def heads(self) -> int:
        """See `Rule.heads`."""
        return max(self.HEADS, self.wire.heads)

    def check_schema(self, schema: Schema) -> None:
        """See `Rule.check_schema`."""
        for tensor in schema.tensors:
            require_mergeable(tensor)
        require_aligned(schema)
        self.update_schema(schema)

    def model_schema(self, weights: Schema) -> Schema:
        """See `Rule.model_schema`."""
        return weights

    def weights_schema(self, model: Schema) -> Schema:
        """See `Rule.weights_schema`."""
        return model

    def write_state(self, weights: Schema, out: IO[bytes], tensor: Tensor) -> bool:
        """See `Rule.write_state`."""
        return False

    def update_schema(self, model: Schema) -> Schema:
        """See `Rule.update_schema`."""
        return self.wire.schema(self.weights_schema(model))

    def update_chunks(self, model: Schema, chunks: Iterable[int]) -> set[int]:
        """See `Rule.update_chunks`."""
        update = self.update_schema(model)
        if self.WHOLE_VECTOR:
            return set(range(update.chunks))
        if update == model:
            return set(chunks)
        found: set[int] = set()
        for chunk_index in chunks:
            for run in chunk_runs(model, chunk_index):
                for part in self.weight_parts(run.parts):
                    found |= chunks_of(spans(update, self.wire.sources(update, part)))
        return found

    def begin(self, inputs: RoundInputs) -> "RoundMerge":
        """See `Rule.begin`."""
        return RoundMerge(self, inputs)

    # ---- what a rule may say of itself

    def weight_parts(self, parts: Sequence[Part]) -> Sequence[Part]:
        """The learner's weights that parts of the model are made from; a rule with state of its own maps it to them."""
        return parts

    def look(self, merge: "RoundMerge") -> Any:
        """The first pass of a whole-vector rule: what it makes of all updates. `merge.float_blocks` streams them."""
        return None

    @abstractmethod
    def floats(self, block: Block) -> None:
        """Writes `block.out`."""

    def integers(self, block: Block) -> None:
        """Writes `block.out` for integers and bools: their weighted mean, unless the rule says otherwise."""
        KERNELS[block.dtype][1](block.values, block.weights, block.out)

    def run(self, merge: "RoundMerge", run: Run, out: Elements) -> None:
        """Merges one run into `out`, in the stored dtype. The usual way: block by block."""
        assert run.dtype is not None
        updates, heads = merge.updates(run.parts), merge.heads(run.parts)
        for block, piece in merge.blocks(run.dtype, updates, heads):
            if run.dtype in FLOATS:
                self.floats(block)
                narrow(run.dtype, block.out, out[piece])
            else:
                block.out = out[piece]
                self.integers(block)


@dataclass(slots=True)
class RoundMerge:
    """One round's merge by a rule. See `Merge`."""

    rule: BaseRule
    inputs: RoundInputs
    first_pass: Any = None
    _updates: list[FileReader] = field(init=False)
    _heads: list[FileReader] = field(init=False)

    def __post_init__(self) -> None:
        rule, inputs = self.rule, self.inputs
        _require(rule, inputs)
        update = rule.update_schema(inputs.schema)
        self._updates = [FileReader(update, source, rule.wire.keep) for source in inputs.updates]
        self._heads = [FileReader(inputs.schema, source, 2) for source in inputs.heads]
        require_sound_arithmetic()
        with np.errstate(all="ignore"):
            self.first_pass = rule.look(self)

    def chunk(self, chunk_index: int, out: bytearray | memoryview | None = None) -> memoryview:
        """See `Merge.chunk`."""
        require_sound_arithmetic()
        schema = self.inputs.schema
        size = schema.chunk_size(chunk_index)
        merged = memoryview(np.empty(size, np.uint8).data if out is None else out).cast("B")[:size]
        if len(merged) != size or merged.readonly:
            raise ValueError(f"out must be {size} writable bytes")
        with np.errstate(all="ignore"):  # the user's own np.seterr must not decide whether a merge succeeds
            for run in chunk_runs(schema, chunk_index):
                if run.dtype is None:
                    first = chunk_index * CHUNK_SIZE
                    merged[run.start : run.stop] = schema.head[first + run.start : first + run.stop]
                    continue
                stored = KERNELS[run.dtype][0]
                self.rule.run(self, run, np.frombuffer(merged[run.start : run.stop], stored))
        return merged

    def updates(self, parts: Sequence[Part]) -> list[Elements]:
        """Decoded elements of every update, in their stored dtype; only to be read."""
        head = self._heads[0] if self._heads else None
        return [self.rule.wire.read(update, parts, head) for update in self._updates]

    def heads(self, parts: Sequence[Part]) -> list[Elements]:
        """The same elements of the rule's earlier models."""
        return [head.read(parts) for head in self._heads[: self.rule.HEADS]]

    def blocks(
        self, dtype: str, updates: Sequence[Elements], heads: Sequence[Elements]
    ) -> Iterator[tuple[Block, slice]]:
        """Elements of one run, block by block, each with its place in the run. The next block takes the memory."""
        count = updates[0].size
        if dtype not in FLOATS:
            whole = updates[0][:0]
            yield (
                Block(dtype, list(updates), list(heads), self.inputs.weights, self.first_pass, whole, whole),
                slice(0, count),
            )
            return
        zero = FLOATS[dtype].type(0.0)
        scratch = np.empty((len(updates) + len(heads) + 2, min(BLOCK, count)), FLOATS[dtype])
        for start in range(0, count, BLOCK):
            piece = slice(start, min(start + BLOCK, count))
            rows = list(scratch[:, : piece.stop - start])
            for row, values in zip(rows, (*updates, *heads), strict=False):
                widen(dtype, values[piece], row)
                np.add(row, zero, out=row)
            end = len(updates) + len(heads)
            values_of, heads_of = rows[: len(updates)], rows[len(updates) : end]
            weights, first = self.inputs.weights, self.first_pass
            yield Block(dtype, values_of, heads_of, weights, first, rows[end], rows[end + 1]), piece

    def float_blocks(self) -> Iterator[Iterator[Block]]:
        """All elements of float tensors of the weights, for a first pass: the blocks of each chunk, chunk by chunk."""
        for index in range(self.inputs.schema.chunks):
            yield self._float_blocks(index)

    def _float_blocks(self, index: int) -> Iterator[Block]:
        for run in chunk_runs(self.inputs.schema, index):
            if run.dtype is not None and run.dtype in FLOATS:
                for block, _ in self.blocks(run.dtype, self.updates(run.parts), self.heads(run.parts)):
                    yield block


def _require(rule: BaseRule, inputs: RoundInputs) -> None:
    updates, weights, heads = len(inputs.updates), list(inputs.weights), len(inputs.heads)
    if not 1 <= updates <= MAX_INPUTS or updates != len(weights):
        raise ValueError(f"{updates} inputs with {len(weights)} weights; 1 to {MAX_INPUTS} of each are needed")
    if not all(1 <= weight <= MAX_WEIGHT for weight in weights):
        raise ValueError(f"weights must be 1 to {MAX_WEIGHT}: {weights}")
    if heads != rule.heads:
        raise ValueError(f"{rule.id} reads {rule.heads} earlier models, {heads} were given")
