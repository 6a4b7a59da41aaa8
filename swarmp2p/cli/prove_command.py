"""`swarmp2p prove`: take the stake of a member that signed a contradiction."""

from pathlib import Path

import click
import trio

from swarmp2p.cli.options import home_option, key_of, manifest_argument


@click.command("prove")
@manifest_argument
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@home_option
def command(manifest: Path, files: tuple[Path, ...], home: Path) -> None:
    """Bring evidence of misconduct before the treasury: the stakes of those whom it convicts go into the pool.

    The evidence is two messages that one member signed and of which one must be false. A peer that hears such a pair
    writes it to HOME/evidence; without FILES all that is there is brought. An honest member can come to sign a
    contradiction by restoring an old copy of its journal: talk to it first.
    """
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.home import EVIDENCE_FOLDER
    from swarmp2p.peer.payments import open_money, prove

    evidence = files or sorted((home.expanduser() / EVIDENCE_FOLDER).glob("*.json"))

    async def prove_now() -> list[str]:
        async with open_money(load_manifest(manifest), key_of(home)) as money:
            taken = await prove(money, evidence)
            return [
                f"The stake of 0x{who.hex()}, {money.unit.show(amount)}, is in the pool."
                for who, amount in taken.items()
            ]

    if not evidence:
        click.echo("There is no evidence of misconduct in this home.")
        return
    for line in trio.run(prove_now) or ["Nothing new: those who signed it have no stake."]:
        click.echo(line)
