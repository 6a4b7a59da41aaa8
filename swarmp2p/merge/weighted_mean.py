"""The weighted mean of all updates, element by element (docs/protocol.md, section 8)."""

from swarmp2p.merge.base import BaseRule, Block, RoundMerge
from swarmp2p.merge.floats import Elements, sum_of_products
from swarmp2p.merge.kernels import KERNELS, shares
from swarmp2p.merge.layout import Run


class WeightedMean(BaseRule):
    """Rule `weighted_mean/1`: sum(w_i x_i) / sum(w_i), by the weights that the members declared.

    The aggregation of federated averaging (H. B. McMahan et al., "Communication-efficient learning of deep networks from
    decentralized data", 2017). Any member can move it as far as maxAbs and its weight allow: where members are not
    trusted that far, take a robust rule.
    """

    NAME = "weighted_mean"

    def floats(self, block: Block) -> None:
        """See `BaseRule.floats`."""
        sum_of_products(block.values, shares(block.weights), block.out, block.spare)

    def run(self, merge: RoundMerge, run: Run, out: Elements) -> None:
        """See `BaseRule.run`. Its kernels widen and sum in one go."""
        assert run.dtype is not None
        KERNELS[run.dtype][1](merge.updates(run.parts), merge.inputs.weights, out)
