"""The merge rules that a swarm can be founded with. A new rule adds its line here."""

from collections.abc import Callable, Mapping

from swarmp2p.core.errors import ConfigError
from swarmp2p.merge.rule import Rule, parse_rule_id
from swarmp2p.merge.weighted_mean import WeightedMean

RULES: Mapping[str, Callable[[int, Mapping[str, str]], Rule]] = {
    WeightedMean.NAME: WeightedMean.from_parameters,
}
"""Name to a maker from (kernel version, parameters)."""

DEFAULT_RULE_ID = WeightedMean().id


def rule_from_id(rule_id: str) -> Rule:
    """The rule that an id names.

    Raises:
        ConfigError: malformed id, unknown rule, another kernel version than this library's, or unknown parameters.
    """
    name, version, parameters = parse_rule_id(rule_id)
    if name not in RULES:
        raise ConfigError(f"There is no merge rule {name!r}.", f"This release has: {', '.join(sorted(RULES))}.")
    return RULES[name](version, parameters)
