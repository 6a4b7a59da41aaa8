"""The command line, `swarmp2p`: one module a command."""

import logging
import sys

import click

from swarmp2p.core.errors import SwarmError


class _Lazy(click.Group):
    """Imports a command's module when it is called: the chain needs py-evm, a peer libp2p, `cid` neither."""

    COMMANDS = (
        "agree", "audit", "balance", "bench", "chain", "cid", "claim", "demo", "found", "fund", "invite", "join", "key",
        "leave", "meter", "prove", "refund", "rewards", "run", "stake", "status", "terms", "token", "transfer", "vote",
        "withdraw",
    )  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.COMMANDS:
            return None
        module = __import__(f"swarmp2p.cli.{cmd_name}_command", fromlist=["command"])
        command: click.Command = module.command
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="swarmp2p")
@click.option("-v", "--verbose", count=True, help="Say more on standard error; twice: everything.")
def cli(verbose: int) -> None:
    """Swarm learning, peer to peer: train one model together; the data stays where it is.

    \b
    A swarm on one machine, to try it out:
      swarmp2p chain --home chain &                      an embedded chain, with play money
      swarmp2p key new --home alice                      a key for each member
      swarmp2p found swarm.toml --genesis m.safetensors --home alice --out founded.toml
      swarmp2p invite founded.toml 0xBOB --home alice    the founder invites
      swarmp2p join founded.toml --home bob --invitation invitation.json
      swarmp2p run founded.toml my_module:MyLearner --home bob

    `swarmp2p demo` does all of it, with four peers that each know only some digits.
    """
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def main() -> None:
    """Entry point: users' mistakes end in one line and exit code 1, never in a traceback."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except SwarmError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
