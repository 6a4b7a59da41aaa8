"""FedAdam and FedYogi: server optimisers with moments, which travel in the model (docs/protocol.md, section 8)."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import IO

import numpy as np

from swarmp2p.core.errors import SchemaMismatch
from swarmp2p.core.schema import ITEM_SIZE, Schema, Tensor, canonical_schema
from swarmp2p.merge.base import BaseRule, Block, RoundMerge
from swarmp2p.merge.floats import FLOATS, Elements, limit, narrow, sum_of_products
from swarmp2p.merge.kernels import KERNELS, shares
from swarmp2p.merge.layout import Part, Run, places
from swarmp2p.merge.parameters import Parameter

FIRST, SECOND = ":m", ":v"
"""Behind a tensor's name: its moments."""
MOST = 1e38
"""Where the second moment stops, so that it stays finite in float32 whatever the updates are."""
PIECE = 65_536


class Adaptive(BaseRule):
    """What FedAdam and FedYogi share: with d = x - h, where x is the weighted mean of the updates and h the head that they
    were trained from,

        m' = beta1 m + (1 - beta1) d,    v' by the rule,    h' = h + rate m' / (sqrt(v') + tau)

    for each float element; integers and bools get their weighted mean. In the genesis m = 0 and v = tau^2. There is no
    bias correction. The moments are tensors of the model beside the weights (NAME:m and NAME:v, float64 for float64 and
    else float32), so the model is three times as large for float32 and the rule a function of head and updates, which
    anybody can recompute. Updates and learners have the weights only.

    S. J. Reddi et al., "Adaptive federated optimization", 2021 (algorithm 2).
    """

    HEADS = 1
    PARAMETERS = (
        Parameter("beta1", 0.9, 0, 1, below=True),
        Parameter("beta2", 0.99, 0, 1, below=True),
        Parameter("rate", 0.01, 0, 10, above=True),
        Parameter("tau", 0.001, 1e-9, 1e6),
    )

    @abstractmethod
    def second(self, old: Elements, square: Elements, out: Elements) -> None:
        """Writes v' from v and d^2; may spoil d^2."""

    # ---- the model's tensors

    def model_schema(self, weights: Schema) -> Schema:
        """See `Rule.model_schema`."""
        return _with_moments(weights)

    def weights_schema(self, model: Schema) -> Schema:
        """See `Rule.weights_schema`."""
        return _without_moments(model)

    def check_schema(self, schema: Schema) -> None:
        """See `Rule.check_schema`."""
        super().check_schema(schema)
        if _with_moments(_without_moments(schema)).head != schema.head:
            raise SchemaMismatch(
                f"The model has not the tensors that {self.id} needs for its moments, or not in their order.",
                "Found the swarm with a file of the weights alone: `found` adds them.",
            )

    def write_state(self, weights: Schema, out: IO[bytes], tensor: Tensor) -> bool:
        """See `Rule.write_state`."""
        base, role = _role(tensor.name, places(weights))
        if role == "" or base not in places(weights):
            return False
        tau = self.number("tau")
        value = 0.0 if role == FIRST else tau * tau
        left = (tensor.stop - tensor.start) // ITEM_SIZE[tensor.dtype]
        while left:
            count = min(left, PIECE)
            out.write(np.full(count, value, KERNELS[tensor.dtype][0]).data)
            left -= count
        return True

    def weight_parts(self, parts: Sequence[Part]) -> Sequence[Part]:
        """See `BaseRule.weight_parts`. Of which model the parts are, only their names are needed."""
        return [_base(part) for part in parts]

    # ---- arithmetic

    def floats(self, block: Block) -> None:
        """See `BaseRule.floats`: not used, `run` needs to know which tensor it is about."""
        raise NotImplementedError

    def run(self, merge: RoundMerge, run: Run, out: Elements) -> None:
        """See `BaseRule.run`. Weights and moments of a tensor are each made from all three of them."""
        if run.dtype not in FLOATS:
            super().run(merge, run, out)
            return
        position = 0
        for part in run.parts:
            self._part(merge, part, out[position : position + part.count])
            position += part.count

    def _part(self, merge: RoundMerge, part: Part, out: Elements) -> None:
        base, role = _base(part), part.tensor.name[len(_base(part).tensor.name) :]
        tensors = places(merge.inputs.schema)
        weights = tensors[base.tensor.name]
        first, second = (
            merge.heads([Part(tensors[weights.name + suffix], part.first, part.count)])[0] for suffix in (FIRST, SECOND)
        )
        own = Part(weights, part.first, part.count)
        for block, piece in merge.blocks(weights.dtype, merge.updates([own]), merge.heads([own])):
            result = self._step(block, first[piece], second[piece], role)
            narrow(part.tensor.dtype, result, out[piece])

    def _step(self, block: Block, first: Elements, second: Elements, role: str) -> Elements:
        """The new weights (role ""), first or second moments of a block."""
        kind, number, head, delta = block.out.dtype.type, self.number, block.heads[0], block.out
        sum_of_products(block.values, shares(block.weights), delta, block.spare)
        np.subtract(delta, head, out=delta)
        square = delta * delta
        np.multiply(delta, kind(1.0 - number("beta1")), out=delta)
        np.multiply(first, kind(number("beta1")), out=block.spare)
        moment = np.add(block.spare, delta)
        limit("F32", moment)
        if role == FIRST:
            return moment
        self.second(second, square, block.out)
        np.minimum(block.out, kind(MOST), out=block.out)
        if role == SECOND:
            return block.out
        np.sqrt(block.out, out=block.out)
        np.add(block.out, kind(number("tau")), out=block.out)
        np.multiply(moment, kind(number("rate")), out=moment)
        np.divide(moment, block.out, out=moment)
        np.add(head, moment, out=block.out)
        limit(block.dtype, block.out)
        return block.out


class FedAdam(Adaptive):
    """Rule `fedadam/1;beta1=…;beta2=…;rate=…;tau=…`: v' = beta2 v + (1 - beta2) d^2; the rest as `Adaptive` says.

    S. J. Reddi et al., "Adaptive federated optimization", 2021 (algorithm 2, FedAdam).
    """

    NAME = "fedadam"

    def second(self, old: Elements, square: Elements, out: Elements) -> None:
        """See `Adaptive.second`."""
        kind = out.dtype.type
        np.multiply(square, kind(1.0 - self.number("beta2")), out=square)
        np.multiply(old, kind(self.number("beta2")), out=out)
        np.add(out, square, out=out)


class FedYogi(Adaptive):
    """Rule `fedyogi/1;beta1=…;beta2=…;rate=…;tau=…`: v' = v - (1 - beta2) d^2 sign(v - d^2); the rest as `Adaptive` says.

    S. J. Reddi et al., "Adaptive federated optimization", 2021 (algorithm 2, FedYogi).
    """

    NAME = "fedyogi"

    def second(self, old: Elements, square: Elements, out: Elements) -> None:
        """See `Adaptive.second`."""
        kind = out.dtype.type
        smaller, equal = np.less(old, square), np.equal(old, square)
        np.multiply(square, kind(1.0 - self.number("beta2")), out=square)
        square[equal] = 0
        np.negative(square, out=square, where=~smaller)
        np.add(old, square, out=out)


def _role(name: str, weights: Mapping[str, Tensor]) -> tuple[str, str]:
    """(name of the weights, suffix) of a tensor of the model; no suffix: it is of the weights itself."""
    for suffix in (FIRST, SECOND):
        if name.endswith(suffix) and name not in weights:
            return name[: -len(suffix)], suffix
    return name, ""


def _base(part: Part) -> Part:
    # check_schema has seen to it that no tensor of the weights has such a name.
    name = part.tensor.name
    for suffix in (FIRST, SECOND):
        if name.endswith(suffix):
            tensor = part.tensor
            name = name[: -len(suffix)]
            return Part(Tensor(name, tensor.dtype, tensor.shape, tensor.start, tensor.stop), part.first, part.count)
    return part


@lru_cache(maxsize=8)
def _with_moments(weights: Schema) -> Schema:
    entries = [(tensor.name, tensor.dtype, tensor.shape) for tensor in weights.tensors]
    for tensor in weights.tensors:
        if tensor.name.endswith((FIRST, SECOND)):
            raise SchemaMismatch(
                f"Tensor {tensor.name!r} has a name that this merge rule needs for moments.", "Rename it."
            )
        if tensor.dtype in FLOATS:
            dtype = "F64" if tensor.dtype == "F64" else "F32"
            entries += [(tensor.name + FIRST, dtype, tensor.shape), (tensor.name + SECOND, dtype, tensor.shape)]
    return canonical_schema(entries)


@lru_cache(maxsize=8)
def _without_moments(model: Schema) -> Schema:
    return canonical_schema(
        (tensor.name, tensor.dtype, tensor.shape)
        for tensor in model.tensors
        if not tensor.name.endswith((FIRST, SECOND))
    )
