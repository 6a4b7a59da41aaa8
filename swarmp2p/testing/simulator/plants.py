"""Faults to plant, so that tests see that the checkers find them. Each is one that a draft of the protocol had (section 10)."""

from collections.abc import Iterator
from contextlib import contextmanager

from swarmp2p.testing.contract_model import ContractModel


@contextmanager
def planted(name: str | None) -> Iterator[type[ContractModel]]:
    """The contract's class to simulate with; within the block the fault is in force."""
    yield ContractModel
PLANTS: dict[str, str] = {}
