"""The weighted mean with server momentum (docs/protocol.md, section 8)."""

import numpy as np

from swarmp2p.merge.base import BaseRule, Block
from swarmp2p.merge.floats import limit, sum_of_products
from swarmp2p.merge.kernels import shares
from swarmp2p.merge.parameters import Parameter


class FedAvgM(BaseRule):
    """Rule `fedavgm/1;momentum=…;rate=…`: h' = h + rate (x - h) + momentum (h - g), where x is the weighted mean of the
    updates, h the head that they were trained from, and g the model before h (the genesis has itself before it).

    Federated averaging with server momentum (T. H. Hsu, H. Qi, M. Brown, "Measuring the effects of non-identical data
    distribution for federated visual classification", 2019): v' = momentum v + (x - h), h' = h + rate v'. The velocity
    needs no state of its own, since v = (h - g) / rate, so the rule is a function of the merged models and anybody can
    recompute it. After a rollback h and g are the older models. Integers and bools get their weighted mean.
    """

    NAME = "fedavgm"
    HEADS = 2
    PARAMETERS = (
        Parameter("momentum", 0.9, 0, 1, below=True),
        Parameter("rate", 1.0, 0, 10, above=True),
    )

    def floats(self, block: Block) -> None:
        """See `BaseRule.floats`. x is rounded to the dtype computed in, as is every step."""
        kind = block.out.dtype.type
        head, before = block.heads
        sum_of_products(block.values, shares(block.weights), block.out, block.spare)
        np.subtract(block.out, head, out=block.out)
        np.multiply(block.out, kind(self.number("rate")), out=block.out)
        np.add(head, block.out, out=block.out)
        np.subtract(head, before, out=block.spare)
        np.multiply(block.spare, kind(self.number("momentum")), out=block.spare)
        np.add(block.out, block.spare, out=block.out)
        limit(block.dtype, block.out)
