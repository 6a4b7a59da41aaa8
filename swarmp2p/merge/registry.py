"""The merge rules that a swarm can be founded with. A new rule adds its line here."""

from collections.abc import Mapping

from swarmp2p.core.errors import ConfigError
from swarmp2p.merge.adaptive import FedAdam, FedYogi
from swarmp2p.merge.base import BaseRule
from swarmp2p.merge.coordinate_median import CoordinateMedian
from swarmp2p.merge.fedavgm import FedAvgM
from swarmp2p.merge.geometric_median import GeometricMedian
from swarmp2p.merge.krum import Krum, MultiKrum
from swarmp2p.merge.norm_clipping import NormClipping
from swarmp2p.merge.rule import Rule, parse_rule_id
from swarmp2p.merge.trimmed_mean import TrimmedMean
from swarmp2p.merge.weighted_mean import WeightedMean

RULES: Mapping[str, type[BaseRule]] = {
    rule.NAME: rule
    for rule in (
        WeightedMean,
        CoordinateMedian,
        TrimmedMean,
        GeometricMedian,
        Krum,
        MultiKrum,
        NormClipping,
        FedAvgM,
        FedAdam,
        FedYogi,
    )
}
"""By their names."""

DEFAULT_RULE_ID = WeightedMean().id


def rule_from_id(rule_id: str) -> Rule:
    """The rule that a complete id names, as a founded swarm has it.

    Raises:
        ConfigError: malformed or incomplete id, unknown rule, another kernel version than this library's, or parameters
            that it does not have or that are not possible.
    """
    name, version, parameters = parse_rule_id(rule_id)
    rule = _rule(name).from_parameters(version, parameters)
    if rule.id != rule_id:
        raise ConfigError(f"The merge rule {rule_id!r} is not written in full.", f"Write it {rule.id!r}.")
    return rule


def rule_from_draft(text: str) -> Rule:
    """The rule that a founder's draft names: version and parameters may be left out, and stand in any order.

    Raises:
        ConfigError: as `rule_from_id`.
    """
    name, _, tail = text.partition(";")
    name, _, version = name.partition("/")
    rule = _rule(name)
    parameters = sorted(tail.split(";")) if tail else []
    written = ";".join([f"{name}/{version or rule.VERSION}", *parameters])
    return rule.from_parameters(*parse_rule_id(written)[1:])


def _rule(name: str) -> type[BaseRule]:
    if name not in RULES:
        raise ConfigError(f"There is no merge rule {name!r}.", f"This release has: {', '.join(sorted(RULES))}.")
    return RULES[name]
