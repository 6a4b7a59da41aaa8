"""Commands that run what only a checkout of the project has."""

import runpy
import sys
from pathlib import Path

from swarmp2p.core.errors import ConfigError


def run_from_checkout(module: str, shown: str, arguments: tuple[str, ...]) -> None:
    """Run a module of the checkout that this is, or that the current folder is, as a program.

    Args:
        module: dotted name, from the checkout's top.
        shown: what the program calls itself.

    Raises:
        ConfigError: there is no such module here.
    """
    place = Path(*module.split("."))
    for folder in (Path.cwd(), Path(__file__).parents[2]):
        if (folder / place.with_suffix(".py")).exists() or (folder / place / "__main__.py").exists():
            sys.path.insert(0, str(folder))
            sys.argv = [shown, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            return
    raise ConfigError(f"{place} is not here.", "Run this in a checkout of the project.")
