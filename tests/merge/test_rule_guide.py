"""docs/merge-rules.md: its rule works as it says, from a file and a line in the registry, and its tables are right."""

import importlib.util
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from swarmp2p.core.schema import canonical_schema
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge import registry
from swarmp2p.merge.registry import RULES, rule_from_draft, rule_from_id
from swarmp2p.merge.rule import ANY_LEADERS, Rule
from swarmp2p.merge.wire import WIRES
from tests.merge.files import begin, merge_file
from tests.merge.noise_files import file_with
from tests.merge.test_rule_definitions import merged_values
from tests.merge.test_rules import MIXED

GUIDE = (Path(__file__).parents[2] / "docs" / "merge-rules.md").read_text(encoding="utf-8")


@pytest.fixture
def lookahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rule:
    """The guide's rule, from its file, in the registry."""
    (code,) = re.findall(r"```python file=swarmp2p/merge/lookahead\.py\n(.*?)```", GUIDE, re.DOTALL)
    path = tmp_path / "lookahead.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("guide_lookahead", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "guide_lookahead", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(registry, "RULES", {**RULES, module.Lookahead.NAME: module.Lookahead})
    return rule_from_draft("lookahead")


def test_it_has_an_id_and_does_what_it_says(lookahead: Rule) -> None:
    assert rule_from_id("lookahead/1;alpha=0.5").id == lookahead.id
    vectors, head = [[1.0, 4.0], [3.0, 8.0]], [0.0, 2.0]
    assert list(merged_values(rule_from_draft("lookahead;alpha=0.25"), vectors, [1, 3], [head])) == [0.625, 3.25]


def test_it_passes_the_checks_as_the_guide_calls_them(lookahead: Rule) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(compile(code, "docs/merge-rules.md", "exec"), {})


@pytest.mark.parametrize("wire", sorted(WIRES))
def test_it_goes_with_every_wire_and_any_number_of_leaders(lookahead: Rule, wire: str) -> None:
    rule, model = rule_from_draft(f"lookahead;wire={wire}"), canonical_schema(MIXED)
    files = [file_with(rule.update_schema(model), 50 * member) for member in range(4)]
    heads = [file_with(model, 999)]
    whole = merge_file(rule, model, files, [1, 2, 3, 4], heads)
    order = list(range(model.chunks))
    random.Random(1).shuffle(order)
    for index in order:
        assert begin(rule, model, files, [1, 2, 3, 4], heads).chunk(index) == whole[index * CHUNK_SIZE :][:CHUNK_SIZE]
    tensor = model.by_name()["F32.0"]
    values = np.frombuffer(whole[tensor.start : tensor.stop], np.float32)
    assert np.isfinite(values).all()


def test_the_table_of_rules_is_complete_and_right() -> None:
    rows = {}
    table = GUIDE[GUIDE.index("## Which one") : GUIDE.index("Formulas and sources")]
    for line in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*) \|$", table, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", line[0]):
            rows[name] = [cell.strip() for cell in line[1].split("|")]
    assert set(rows) == set(RULES)
    for name, rule in RULES.items():
        made, cells = rule_from_draft(name), rows[name]
        assert cells[2] == {1: "1", ANY_LEADERS: "any"}[made.max_leaders]
        for parameter in rule.PARAMETERS:
            shown = re.search(rf"`{parameter.name}` ([0-9.e-]+)", cells[1])
            assert shown is not None
            assert float(shown[1].rstrip(".")) == parameter.default
        heads = 2 if "two heads" in cells[3] else 1 if "head" in cells[3] else 0
        assert heads == made.heads


def test_the_table_of_wires_is_complete_and_right() -> None:
    seen = set()
    model = canonical_schema([("w", "F32", (1_000_000,))])
    for names, percent in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| [^|]* \| (\d+) % \|$", GUIDE, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            size = rule_from_draft(f"weighted_mean;wire={name}").update_schema(model).size
            assert abs(100 * size / model.size - int(percent)) < 1
            seen.add(name)
    assert seen == set(WIRES)
