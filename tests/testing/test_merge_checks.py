"""The checks of merge rules: the library's rules pass on every wire, and careless ones are caught."""

from typing import Any

import numpy as np
import pytest

from swarmp2p.merge.base import BaseRule, Block, RoundMerge
from swarmp2p.merge.layout import Run
from swarmp2p.merge.registry import RULES, rule_from_draft
from swarmp2p.merge.wire import WIRES
from swarmp2p.testing.merge_checks import check_merge_rule


@pytest.mark.parametrize("wire", sorted(WIRES))
@pytest.mark.parametrize("name", sorted(RULES))
def test_the_librarys_rules_pass(name: str, wire: str) -> None:
    check_merge_rule(rule_from_draft(f"{name};wire={wire}"))


class Careless(BaseRule):
    """Rule `careless/1`."""

    NAME = "careless"

    def floats(self, block: Block) -> None:
        np.copyto(block.out, block.values[0])


class OfTheBlock(Careless):
    """Subtracts the block's mean: another one where blocks begin elsewhere."""

    def floats(self, block: Block) -> None:
        np.subtract(block.values[0], block.values[0].mean(), out=block.out)


class Remembers(Careless):
    """Counts its blocks."""

    def look(self, merge: RoundMerge) -> Any:
        return [0]

    def floats(self, block: Block) -> None:
        block.first_pass[0] += 1
        np.multiply(block.values[0], block.out.dtype.type(block.first_pass[0]), out=block.out)


class LooksAndSaysItDoesNot(Careless):
    """Needs all of the updates."""

    def look(self, merge: RoundMerge) -> Any:
        return max(float(np.abs(block.values[0]).max()) for blocks in merge.float_blocks() for block in blocks)

    def floats(self, block: Block) -> None:
        np.multiply(block.values[0], block.out.dtype.type(block.first_pass), out=block.out)


class KeepsTheSign(Careless):
    """Copies bits, and with them the sign of zero."""

    def run(self, merge: RoundMerge, run: Run, out: Any) -> None:
        np.copyto(out, merge.updates(run.parts)[0])


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        (OfTheBlock, "another place"),
        (Remembers, "made before it"),
        (LooksAndSaysItDoesNot, "more of the updates"),
        (KeepsTheSign, r"\+0"),
    ],
)
def test_careless_rules_are_caught(rule: type[BaseRule], word: str) -> None:
    with pytest.raises(AssertionError, match=word):
        check_merge_rule(rule())


def test_a_copy_passes() -> None:
    check_merge_rule(Careless())
