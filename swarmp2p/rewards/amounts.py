"""Amounts of a token for people: in its smallest unit, and with its decimals."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """A token's name, and how many decimals people write it with."""

    symbol: str
    decimals: int

    def show(self, amount: int) -> str:
        """Both ways: `1500000000000000000 (1.5 SWM)`."""
        if self.decimals == 0:
            return f"{amount} {self.symbol}"
        whole, rest = divmod(amount, 10**self.decimals)
        digits = f"{rest:0{self.decimals}}".rstrip("0")
        return f"{amount} ({whole}{'.' * bool(digits)}{digits} {self.symbol})"
