"""The README's programs run as they are written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def programs() -> dict[str, str]:
    """Python blocks of the README by the name in their first line."""
    blocks = re.findall(r"```python\n# (\w+)\n(.*?)```", README.read_text(), re.DOTALL)
    return dict(blocks)


def test_there_is_one_of_each() -> None:
    assert set(programs()) == {"trio", "blocking", "torch"}


@pytest.mark.parametrize("name", ["trio", "blocking", "torch"])
def test_program_runs_as_written(name: str, tmp_path: Path) -> None:
    script = tmp_path / f"{name}_example.py"
    script.write_text(programs()[name])
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert set(last) == {"alice", "bob"}, done.stdout
    heads = {re.search(r"ba[a-z2-7]{50,}", line).group() for line in last.values()}  # type: ignore[union-attr]
    assert len(heads) == 1, done.stdout
