"""`swarmp2p chain` on a machine without geth."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from swarmp2p.cli import cli
from swarmp2p.control import geth
from swarmp2p.core.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_geth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(geth, "_OWN", str(tmp_path / "geth"))


def test_without_geth_it_says_how_to_get_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["chain", "--validators", "4", "--home", str(tmp_path / "chain")])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith("There is no geth. Run tools/geth in a checkout")
    assert not (tmp_path / "chain").exists()


@pytest.mark.parametrize("option", [("--fund", "0x" + "11" * 20), ("--rpc-nodes", "1")])
def test_options_of_the_network_go_with_validators(option: tuple[str, str], tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["chain", "--home", str(tmp_path / "chain"), *option])
    assert result.exit_code == 2
    assert "go with --validators" in result.output


def test_an_address_is_checked(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["chain", "--validators", "4", "--home", str(tmp_path), "--fund", "0x12"])
    assert result.exit_code == 2
    assert "40 hexadecimal digits" in result.output
