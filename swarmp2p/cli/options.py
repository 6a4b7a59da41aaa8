"""What several commands take."""

import os
from pathlib import Path

import click

from swarmp2p.core.errors import ConfigError
from swarmp2p.core.types import Address
from swarmp2p.home import KEY_FILE
from swarmp2p.identity import Key, load_key

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("~/.swarmp2p"),
    show_default=True,
    envvar="SWARMP2P_HOME",
    show_envvar=True,
    help="The peer's folder: its key, journal and content.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
csv_option = click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write a table to FILE instead; - is the standard output.",
)
ipfs_option = click.option(
    "--ipfs", metavar="MULTIADDR", help="API of the IPFS node (Kubo) that holds the models: /ip4/127.0.0.1/tcp/5001."
)
manifest_argument = click.argument("manifest", type=click.Path(dir_okay=False, path_type=Path))


def ipfs_auth() -> tuple[str, str] | None:
    """User and password of the IPFS node's API, from the environment: a command line is for all to see."""
    user, colon, password = os.environ.get("SWARMP2P_IPFS_AUTH", "").partition(":")
    return (user, password) if colon else None


class AmountType(click.ParamType[int]):
    """Money: a whole number of the token's smallest unit. Decimals are refused: a dot in the wrong place costs too much."""

    name = "amount"

    def __init__(self, least: int = 1) -> None:
        self._least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        if isinstance(value, int):
            return value
        text = str(value)
        if not (text.isascii() and text.isdigit()) or not self._least <= int(text) < 2**128:
            self.fail(
                f"{value!r} is no amount. Give a whole number of the token's smallest unit, without a dot:"
                " of a token with 6 decimals, 1500000 is 1.5.",
                param,
                ctx,
            )
        return int(text)


class RoundsType(click.ParamType[tuple[int, bool]]):
    """A number of merged rounds: in all, or with + before it, from now on."""

    name = "rounds"

    def __init__(self, least: int = 0) -> None:
        self._least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, bool]:
        """The number, and whether it counts from now on."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        digits = text.removeprefix("+")
        if not (digits.isascii() and digits.isdigit()) or not self._least <= int(digits) < 2**32:
            self.fail(f"{value!r} is no number of rounds; write 7 for seven in all, +2 for two more.", param, ctx)
        return int(digits), text.startswith("+")


class AddressType(click.ParamType[Address]):
    """An Ethereum address, 0x and 40 hexadecimal digits."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """The 20 bytes."""
        if isinstance(value, bytes):
            return value
        try:
            address = bytes.fromhex(str(value).removeprefix("0x"))
        except ValueError:
            address = b""
        if len(address) != 20:
            self.fail(f"{value!r} is no address; it has to be 0x and 40 hexadecimal digits.", param, ctx)
        return address


def key_of(home: Path) -> Key:
    """The key in a home, which is not locked: a peer may be running with it.

    Raises:
        ConfigError: no key, or one that cannot be read.
    """
    return load_key(home.expanduser() / KEY_FILE, os.environ.get("SWARMP2P_PASSWORD"))


def write_table(text: str, file: str) -> None:
    """Where `--csv` says.

    Raises:
        ConfigError: the file cannot be written.
    """
    if file == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}.", "Choose another place.") from None
    click.echo(f"Written: {file}.")
