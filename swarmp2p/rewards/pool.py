"""What is left of the money that somebody paid into the pool: twin of contracts/src/libraries/PoolLib.sol, bit for bit.

Every payment out of the pool takes the same fraction of all that is in it. The level is the product of the fractions that
payments left, as a floating-point number factor / 2^96 / 2^(48 scale), rounded down.
"""

from dataclasses import dataclass

_ONE = 1 << 96
_STEP = 1 << 48


@dataclass(frozen=True, slots=True)
class Level:
    """How much a unit that was in the pool from the beginning is worth now."""

    factor: int = _ONE
    scale: int = 0

    def spend(self, pool: int, paid: int) -> "Level":
        """The level after a payment of `paid` out of `pool`."""
        if paid == 0:
            return self
        left, scale = pool - paid, self.scale
        factor = self.factor * left // pool
        if factor < _STEP:
            factor, scale = self.factor * _STEP * left // pool, scale + 1
        if factor < _STEP:
            # Nothing, or less than a 2^48th, is left: whoever pays in from now on starts afresh.
            factor, scale = _ONE, scale + 1
        return Level(factor, scale)


def worth(amount: int, since: Level, level: Level) -> int:
    """What is left at `level` of an amount that was paid in at `since`, rounded down."""
    if amount == 0 or level.scale > since.scale + 1:
        return 0
    divisor = since.factor if level.scale == since.scale else since.factor * _STEP
    return amount * level.factor // divisor
