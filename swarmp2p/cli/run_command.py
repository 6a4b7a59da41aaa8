"""`swarmp2p run`: take part in a swarm with a learner of one's own."""

import importlib
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from swarmp2p.cli.options import home_option, ipfs_auth, ipfs_option, json_option, manifest_argument
from swarmp2p.core.errors import ConfigError


@click.command("run")
@manifest_argument
@click.argument("learner", metavar="MODULE:LEARNER")
@home_option
@click.option("--listen", multiple=True, help="Multiaddr to listen on.  [default: /ip4/0.0.0.0/tcp/0]")
@click.option("--invitation", type=click.Path(dir_okay=False, path_type=Path), help="Enrol with it, if need be.")
@click.option("--weight", type=click.IntRange(1), help="Weight in the merge.  [default: LEARNER.weight]")
@click.option("--sync-interval", type=click.IntRange(1), help="Local batches between two merges.")
@ipfs_option
@click.option("--visitors", type=click.IntRange(0), help="IPFS nodes, no members, that may fetch merged models.")
@click.option("--export", type=click.Path(dir_okay=False, path_type=Path), help="At the end, write the best model.")
@json_option
def command(
    manifest: Path,
    learner: str,
    home: Path,
    listen: tuple[str, ...],
    invitation: Path | None,
    weight: int | None,
    sync_interval: int | None,
    ipfs: str | None,
    visitors: int | None,
    export: Path | None,
    as_json: bool,
) -> None:
    """Train in the swarm of MANIFEST with the learner that MODULE names.

    LEARNER is a class (made without arguments) or an object with the methods train(interval), evaluate(), get_weights()
    and set_weights(weights). MODULE is looked for in the current folder first. The run ends when the swarm has stopped;
    Ctrl-C ends it earlier, and the same command carries on.

    Where the API of --ipfs asks for a user and a password, put USER:PASSWORD into the environment as SWARMP2P_IPFS_AUTH.
    """
    made = load_learner(learner)
    declared = weight if weight is not None else getattr(made, "weight", None)
    if not isinstance(declared, int):
        raise ConfigError(
            f"{learner} has no weight.", "Give --weight, or an attribute `weight`: the number of local samples."
        )
    options: dict[str, Any] = {"home": home, "invitation": invitation, "sync_interval": sync_interval}
    if listen:
        options["listen"] = listen
    if visitors is not None:
        options["visitors"] = visitors
    if ipfs is not None:
        from swarmp2p.content.kubo import KuboStore

        options["content"] = partial(KuboStore, api=ipfs, auth=ipfs_auth())

    from swarmp2p.peer import SwarmPeer

    async def take_part() -> None:
        async with SwarmPeer.open(manifest, learner=made, weight=declared, **options) as peer:
            reached_at = " ".join(peer.multiaddrs) if visitors else None
            say(as_json, "started", address=peer.address, head=str(peer.head), reached_at=reached_at)
            async for round_ in peer.rounds():
                say(
                    as_json,
                    "round",
                    number=round_.number,
                    merged=str(round_.merged),
                    included=round_.included,
                    metric=round_.metric,
                )
            result = peer.result
            say(as_json, "stopped", reason=result.reason, head=str(result.head), best=str(result.best))
            if export is not None:
                await peer.export(export)
                say(as_json, "exported", path=str(export))

    trio.run(take_part)


def say(as_json: bool, kind: str, **data: Any) -> None:
    """One line, for people or for programs."""
    if as_json:
        print(json.dumps({"kind": kind, **data}), flush=True)
    else:
        print(kind, *(f"{name} {value}" for name, value in data.items() if value is not None), flush=True)


def load_learner(name: str) -> Any:
    """The learner that MODULE:LEARNER names.

    Raises:
        ConfigError: no such module or object, or it lacks a method. Errors within the module pass, as they are its own.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(f"{name!r} names no learner.", "Write MODULE:LEARNER, e.g. my_module:MyLearner.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ConfigError(
            f"There is no module {module_name}.", f"It is looked for in {os.getcwd()} and among installed packages."
        ) from None
    learner = getattr(module, attribute, None)
    if learner is None:
        raise ConfigError(f"The module {module_name} has no {attribute}.", "Check the name after the colon.")
    if isinstance(learner, type):
        learner = learner()
    for method in ("train", "evaluate", "get_weights", "set_weights"):
        if not callable(getattr(learner, method, None)):
            raise ConfigError(f"{name} has no method {method}.", "See `swarmp2p run --help` for what a learner has.")
    return learner
