"""Parameters of merge rules, as rule ids and swarm.toml have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarmp2p.core.errors import ConfigError

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number, or one of some words, that a rule takes.

    Attributes:
        default: also says the type: int, float or str.
        least, most: of a number, both allowed; `above` if `least` itself is not.
        words: of a str.
    """

    name: str
    default: Value
    least: float = 0
    most: float = 0
    above: bool = False
    below: bool = False
    words: tuple[str, ...] = ()

    def parse(self, rule: str, text: str) -> Value:
        """The value that a text names.

        Raises:
            ConfigError: naming rule, parameter and what it may be.
        """
        value: Value
        if self.words:
            value, good = text, text in self.words
        else:
            try:
                value = int(text) if isinstance(self.default, int) else float(text)
            except ValueError:
                value = float("nan")
            good = self._fits(value)
        if not good:
            raise ConfigError(
                f"Merge rule {rule}: {self.name}={text} is not possible.", f"Parameter {self.name} is {self._range()}."
            )
        return value

    def _fits(self, value: int | float) -> bool:
        low = value > self.least if self.above else value >= self.least
        high = value < self.most if self.below else value <= self.most
        return low and high

    def _range(self) -> str:
        if self.words:
            return f"one of {', '.join(self.words)}"
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        low = f"above {self.least:g}" if self.above else f"from {self.least:g}"
        return f"{kind} {low} {'below' if self.below else 'to'} {self.most:g}"


def show(value: Value) -> str:
    """The one spelling of a value in rule ids: a float is the shortest decimal that reads back as it."""
    return repr(value) if isinstance(value, float) else str(value)


def parse_all(rule: str, parameters: Sequence[Parameter], texts: Mapping[str, str]) -> dict[str, Value]:
    """Values of all parameters, defaults for those that are not named.

    Raises:
        ConfigError: an unknown parameter, or one that has another value than it may.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in texts:
        if name not in known:
            has = f"It has {', '.join(known)}." if known else "Leave it out: it has none."
            raise ConfigError(f"Merge rule {rule} has no parameter {name!r}.", has)
    return {
        name: parameter.parse(rule, texts[name]) if name in texts else parameter.default
        for name, parameter in known.items()
    }
