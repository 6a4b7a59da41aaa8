"""What several commands take."""

from pathlib import Path

import click

from swarmp2p.core.types import Address

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("~/.swarmp2p"),
    show_default=True,
    help="The peer's folder: its key, journal and content.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
manifest_argument = click.argument("manifest", type=click.Path(dir_okay=False, path_type=Path))


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
