"""How updates are written: compression as an option of the swarm (docs/protocol.md, section 8).

What is merged is what was published, decoded: first come the bytes of an update, then, by arithmetic that is the same to
the bit everywhere, elements of the model's own dtypes, and only these the rule sees. So any rule goes with any wire.

Lossy wires have error feedback (F. Seide et al., "1-bit stochastic gradient descent and its application to data-parallel
distributed training of speech DNNs", 2014; S. P. Karimireddy et al., "Error feedback fixes SignSGD", 2019): what rounding
took from one update is added to the next before that is rounded, e' = (x + e) - decoded(encoded(x + e)), so that small
changes add up instead of getting lost. e is each member's own and never travels.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from swarmp2p.core.errors import InvalidUpdate, SchemaMismatch
from swarmp2p.core.schema import Schema, Tensor, canonical_schema
from swarmp2p.merge.floats import FLOATS, Elements, limit, narrow, widen
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.layout import FileReader, Part, places

QUANTUM = 256
"""Elements of a tensor that share a scale on the wire `int8`, counted from its first."""
SCALE = ":scale"
"""Behind a tensor's name: its scales."""


class BaseWire(ABC):
    """A wire as the merge uses it; `Wire` says what the peer does with it.

    Attributes:
        name: as rule ids name it.
        heads: earlier models needed to decode an update.
        keep: chunks of an update that decoding neighbouring runs needs again.
    """

    name: str
    heads = 0
    keep = 1
    plain = False

    @abstractmethod
    def schema(self, weights: Schema) -> Schema:
        """Of updates. SchemaMismatch when the tensors' names do not allow it."""

    def sources(self, update: Schema, part: Part) -> list[Part]:
        """What of an update the elements of a part of the weights are decoded from."""
        return [part]

    @abstractmethod
    def read(self, update: FileReader, parts: Sequence[Part], head: FileReader | None) -> Elements:
        """Decoded elements in their model's stored dtype, only to be read. All parts have one dtype."""

    def encode_part(self, part: Part, target: Elements, head: Elements) -> tuple[list[tuple[Part, Elements]], Elements]:
        """What of the update says these elements, and what it will be decoded to.

        Args:
            part: of a float tensor of the weights; `first` is a multiple of QUANTUM.
            target: the elements to send, in the dtype computed in.
            head: those of the head, in the same.

        Returns:
            Parts of the update's tensors by name with their elements in the stored dtype; the decoded elements, in the
            dtype computed in.
        """
        raise NotImplementedError(f"the wire {self.name} encodes nothing")

    def encode(self, weights: Path, head: Path, residual: Path | None, update: Path, left: Path) -> None:
        """See `Wire.encode`."""
        from swarmp2p.merge.encode import encode_update  # it needs this module's wires

        encode_update(self, weights, head, residual, update, left)


class PlainWire(BaseWire):
    """`plain`: an update has the weights as they are, in the genesis' layout. Needs no parameter, and is left out of ids."""

    name = "plain"
    plain = True

    def schema(self, weights: Schema) -> Schema:
        """See `BaseWire.schema`."""
        return weights

    def read(self, update: FileReader, parts: Sequence[Part], head: FileReader | None) -> Elements:
        """See `BaseWire.read`."""
        return update.read(parts)


class HalfWire(BaseWire):
    """`bf16` and `f16`: float32 and float64 weights rounded to 16 bits, to nearest even; all else as it is.

    bfloat16 keeps float32's range and 8 bits of precision, float16 keeps 11 bits and ends at 65504. Half of the bytes.
    """

    keep = 2

    def __init__(self, name: str, dtype: str) -> None:
        self.name = name
        self._dtype = dtype

    def schema(self, weights: Schema) -> Schema:
        """See `BaseWire.schema`."""
        return _half_schema(weights, self._dtype)

    def read(self, update: FileReader, parts: Sequence[Part], head: FileReader | None) -> Elements:
        """See `BaseWire.read`."""
        values = update.read(parts)
        dtype = parts[0].tensor.dtype
        if dtype not in ("F64", "F32"):
            return values
        wide = np.empty(values.size, np.float32)
        widen(self._dtype, values, wide)
        return wide if dtype == "F32" else wide.astype(np.float64)

    def encode_part(self, part: Part, target: Elements, head: Elements) -> tuple[list[tuple[Part, Elements]], Elements]:
        """See `BaseWire.encode_part`. float64 is rounded to float32 first."""
        if part.tensor.dtype not in ("F64", "F32"):
            stored = np.empty(target.size, KERNELS[part.tensor.dtype][0])
            narrow(part.tensor.dtype, target.copy(), stored)
            return [(part, stored)], target
        sent, decoded = np.empty(target.size, KERNELS[self._dtype][0]), np.empty(target.size, np.float32)
        with np.errstate(over="ignore", under="ignore"):
            narrow(self._dtype, target.astype(np.float32), sent)
        widen(self._dtype, sent, decoded)
        if not np.isfinite(decoded).all():
            raise InvalidUpdate(
                f"Tensor {part.tensor} has a value that {self.name} cannot hold.",
                "Look at the training; a swarm whose weights are that large needs wire=bf16 or wire=plain.",
            )
        return [(part, sent)], decoded.astype(target.dtype)


class Int8Wire(BaseWire):
    """`int8`: of float tensors the difference from the head, as 8-bit steps of a scale for each 256 elements.

    x = h + q s with s = max|x - h| / 127 over the block and q = round((x - h) / s), |q| <= 127, ties to even; block-wise
    absmax quantisation (T. Dettmers et al., "8-bit optimizers via block-wise quantization", 2021). A quarter of float32's
    bytes and 1.6 % for the scales, which are float32. Decoded: q s in float32, the sum in the dtype computed in, brought
    into the dtype's LIMITS, rounded to the dtype of the model. Integers and bools travel as they are.
    """

    name = "int8"
    heads = 1
    keep = 3

    def schema(self, weights: Schema) -> Schema:
        """See `BaseWire.schema`."""
        return _int8_schema(weights)

    def sources(self, update: Schema, part: Part) -> list[Part]:
        """See `BaseWire.sources`."""
        return [part, _scales(update, part)] if part.tensor.dtype in FLOATS else [part]

    def read(self, update: FileReader, parts: Sequence[Part], head: FileReader | None) -> Elements:
        """See `BaseWire.read`."""
        steps, dtype = update.read(parts), parts[0].tensor.dtype
        if dtype not in FLOATS:
            return steps
        if head is None:
            raise ValueError("the wire int8 needs the head")
        each = np.empty(steps.size, np.float32)
        position = 0
        for part in parts:
            offset = part.first % QUANTUM
            scales = np.repeat(update.read([_scales(update.schema, part)]), QUANTUM)
            each[position : position + part.count] = scales[offset : offset + part.count]
            position += part.count
        values = np.empty(steps.size, FLOATS[dtype])
        widen(dtype, head.read(parts), values)
        stored = np.empty(steps.size, KERNELS[dtype][0])
        _add_steps(dtype, values, steps, each)
        narrow(dtype, values, stored)
        return stored

    def encode_part(self, part: Part, target: Elements, head: Elements) -> tuple[list[tuple[Part, Elements]], Elements]:
        """See `BaseWire.encode_part`."""
        blocks = -(-part.count // QUANTUM)
        with np.errstate(all="ignore"):
            delta = np.zeros(blocks * QUANTUM, np.float32)
            delta[: part.count] = target - head
            rows = delta.reshape(blocks, QUANTUM)
            scales = np.abs(rows).max(axis=1) / np.float32(127)
            if not np.isfinite(scales).all():
                raise InvalidUpdate(
                    f"Tensor {part.tensor} is too far from the head for the wire int8.", "Lower the learning rate."
                )
            steps = np.clip(np.rint(rows / np.where(scales > 0, scales, np.float32(1))[:, None]), -127, 127)
            steps = steps.astype(np.int8).reshape(-1)[: part.count]
            dtype = part.tensor.dtype
            stored, decoded = np.empty(part.count, KERNELS[dtype][0]), head.copy()
            _add_steps(dtype, decoded, steps, np.repeat(scales, QUANTUM)[: part.count])
            narrow(dtype, decoded, stored)
        widen(dtype, stored, decoded)
        name = Tensor(part.tensor.name + SCALE, "F32", (blocks,), 0, 0)
        return [(part, steps), (Part(name, part.first // QUANTUM, blocks), scales)], decoded


def _add_steps(dtype: str, values: Elements, steps: Elements, scales: Elements) -> None:
    """`values` (the head's, in the dtype computed in) plus steps times scales, in place."""
    delta = steps.astype(np.float32)
    np.multiply(delta, scales, out=delta)
    np.add(values, delta.astype(values.dtype, copy=False), out=values)
    limit(dtype, values)


def _scales(update: Schema, part: Part) -> Part:
    first = part.first // QUANTUM
    last = -(-(part.first + part.count) // QUANTUM)
    return Part(places(update)[part.tensor.name + SCALE], first, last - first)


@lru_cache(maxsize=8)
def _half_schema(weights: Schema, dtype: str) -> Schema:
    return canonical_schema(
        (tensor.name, dtype if tensor.dtype in ("F64", "F32") else tensor.dtype, tensor.shape)
        for tensor in weights.tensors
    )


@lru_cache(maxsize=8)
def _int8_schema(weights: Schema) -> Schema:
    entries: list[tuple[str, str, tuple[int, ...]]] = []
    for tensor in weights.tensors:
        if tensor.dtype not in FLOATS:
            entries.append((tensor.name, tensor.dtype, tensor.shape))
            continue
        if tensor.name + SCALE in places(weights):
            raise SchemaMismatch(
                f"The wire int8 needs the name {tensor.name + SCALE!r} for scales, and a tensor has it.",
                "Rename that tensor, or use another wire.",
            )
        count = (tensor.stop - tensor.start) // KERNELS[tensor.dtype][0].itemsize
        entries.append((tensor.name, "I8", tensor.shape))
        entries.append((tensor.name + SCALE, "F32", (-(-count // QUANTUM),)))
    return canonical_schema(entries)


WIRES: Mapping[str, BaseWire] = {
    wire.name: wire for wire in (PlainWire(), HalfWire("bf16", "BF16"), HalfWire("f16", "F16"), Int8Wire())
}
"""By the name that the parameter `wire` of a rule id has."""
