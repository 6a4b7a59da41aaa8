"""How a peer takes a merged model over: its apply step, which is no part of the merge (docs/protocol.md, section 9).

Only the peer itself computes here, so nothing of it needs to be equal on other machines, and nobody can check it. It is
agreed on all the same: members that mix their own weights in differently train another algorithm.
"""

from pathlib import Path
from typing import Protocol

import numpy as np

from swarmp2p.core.errors import ConfigError
from swarmp2p.merge.encode import batches, chunks_in
from swarmp2p.merge.floats import FLOATS, Elements, limit, narrow, widen
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.layout import FileReader, Part
from swarmp2p.merge.parameters import Parameter, parse_all, show
from swarmp2p.merge.rule import format_rule_id, parse_rule_id
from swarmp2p.merge.tensors import atomic_file, read_schema


class ApplyRule(Protocol):
    """From a learner's own weights and a merged model to what it trains on from."""

    @property
    def id(self) -> str:
        """Name, version and parameters, spelled as rule ids are."""
        ...

    @property
    def replaces(self) -> bool:
        """Whether the merged model takes the place of the own weights, so that `mix` is not needed."""
        ...

    def mix(self, own: Path, merged: Path, out: Path) -> None:
        """Writes the weights to train on from, atomically, a batch of elements in memory at a time.

        Args:
            own: the learner's weights before it validates the merged model.
            merged: the merged model; tensors of it that `own` has not are left out.
        """
        ...


class Replace:
    """Rule `replace/1`: the merged model, as in federated averaging."""

    id = "replace/1"
    replaces = True

    def mix(self, own: Path, merged: Path, out: Path) -> None:
        """See `ApplyRule.mix`."""
        raise NotImplementedError("nothing is mixed")


class Elastic:
    """Rule `elastic/1;alpha=…`: y = x + alpha (z - x) for own weights x and merged weights z; integers and bools are z's.

    The local step of elastic averaging (S. Zhang, A. Choromanska, Y. LeCun, "Deep learning with elastic averaging SGD",
    2015, equation 5 with alpha = eta rho): members stay apart and explore, tied to the centre z by a spring. The centre's
    own step is the merge. A peer that starts, and has no weights of its own, takes the merged model as it is.
    """

    replaces = False
    PARAMETERS = (Parameter("alpha", 0.5, 0, 1, above=True),)

    def __init__(self, alpha: float = 0.5) -> None:
        self.alpha = float(parse_all("elastic", self.PARAMETERS, {"alpha": show(alpha)})["alpha"])
        self.id = format_rule_id("elastic", 1, {"alpha": show(self.alpha)})

    def mix(self, own: Path, merged: Path, out: Path) -> None:
        """See `ApplyRule.mix`."""
        schema = read_schema(own)
        with own.open("rb") as ours, merged.open("rb") as centre, atomic_file(out) as file:
            mine, others = FileReader(schema, chunks_in(ours)), FileReader(read_schema(merged), chunks_in(centre))
            file.write(schema.head)
            for part in batches(schema):
                file.write(np.ascontiguousarray(self._mixed(part, mine.read([part]), others.read([part]))).data)

    def _mixed(self, part: Part, own: Elements, merged: Elements) -> Elements:
        dtype = part.tensor.dtype
        if dtype not in FLOATS:
            return merged
        mine, centre = (np.empty(part.count, FLOATS[dtype]) for _ in range(2))
        stored = np.empty(part.count, KERNELS[dtype][0])
        widen(dtype, own, mine)
        widen(dtype, merged, centre)
        with np.errstate(all="ignore"):
            centre -= mine
            centre *= mine.dtype.type(self.alpha)
            mine += centre
            limit(dtype, mine)
            narrow(dtype, mine, stored)
        return stored


def apply_from_text(text: str, *, complete: bool = True) -> ApplyRule:
    """The apply rule that an id names; in a draft (`complete` false) version and parameters may be left out.

    Raises:
        ConfigError: there is no such rule, or its parameters are not possible.
    """
    written = text
    if not complete and "/" not in text:
        name, _, tail = text.partition(";")
        written = f"{name}/1;{tail}" if tail else f"{name}/1"
    name, version, parameters = parse_rule_id(written)
    rule: ApplyRule
    if name == "replace" and not parameters:
        rule = Replace()
    elif name == "elastic":
        rule = Elastic(float(parse_all("elastic", Elastic.PARAMETERS, parameters)["alpha"]))
    else:
        raise ConfigError(f"There is no apply rule {text!r}.", 'It is "replace" or "elastic;alpha=0.5".')
    if version != 1:
        raise ConfigError(f"This library has version 1 of the apply rule {name}.", "Use the members' release.")
    if complete and rule.id != text:
        raise ConfigError(f"The apply rule {text!r} is not written in full.", f"Write it {rule.id!r}.")
    return rule
