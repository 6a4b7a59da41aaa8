"""A swarm on this machine for trying out learners: a chain in a process, a founded contract, invited members."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from swarmp2p.control.faucet import fund
from swarmp2p.control.manifest import Manifest, Metric, colluders_by_default
from swarmp2p.control.manifest_file import render
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.config import Knobs
from swarmp2p.core.errors import ChainUnreachable
from swarmp2p.core.types import Address
from swarmp2p.home import KEY_FILE, Home
from swarmp2p.identity import Key, load_key, save_key
from swarmp2p.merge.registry import DEFAULT_RULE_ID
from swarmp2p.merge.tensors import write_weights
from swarmp2p.peer.founding import deploy_swarm, invite

LOCAL_KNOBS = Knobs(leader_timeout=2.0, fetch_timeout=1.0, slack=0.5, stagger=0.2, announce_interval=0.5, linger=1.0)
"""Timing for peers on one machine."""


@dataclass(frozen=True, slots=True)
class LocalSwarm:
    """A founded swarm whose members are invited, but have not joined yet."""

    folder: Path
    manifest: Path
    rpc: str

    def home(self, name: str) -> Path:
        """Home folder of a member; its key is in it."""
        return self.folder / name

    def invitation(self, name: str) -> Path:
        """Invitation of a member."""
        return self.folder / f"{name}.invitation.json"

    def options(self, name: str) -> dict[str, Any]:
        """What `SwarmPeer.open` needs to know of a member, besides learner and weight."""
        return {
            "home": self.home(name),
            "invitation": self.invitation(name),
            "listen": ["/ip4/127.0.0.1/tcp/0"],
        }


@contextlib.contextmanager
def local_swarm(
    weights: Mapping[str, Any],
    members: Sequence[str],
    *,
    rounds: int = 3,
    sync_interval: int = 1,
    folder: Path | None = None,
    rpc: str | None = None,
    **settings: Any,
) -> Iterator[LocalSwarm]:
    """Found a swarm for these members, the first of whom is its founder; ends the chain when the block ends.

    Args:
        weights: the first model, as a learner's get_weights gives it.
        members: names, of home folders in `folder`.
        rounds: merged rounds after which the swarm stops.
        folder: where everything is kept; None: a temporary folder, removed at the end.
        rpc: URL of a test chain to found it on; None: an embedded one of its own.
        settings: further fields of the Manifest, e.g. k_max.
    """
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swarmp2p-")))
        url = rpc or stack.enter_context(chain_process(place / "chain"))
        for name in members:
            if not (place / name / KEY_FILE).exists():
                save_key(Key.generate(), place / name / KEY_FILE)
        founder = load_key(place / members[0] / KEY_FILE)
        draft = local_draft((founder.address,), len(members), rounds, (url,), sync_interval=sync_interval, **settings)
        model = place / "genesis.safetensors"
        write_weights(weights, model)
        yield trio.run(_found, place, draft, model, list(members))


def local_draft(
    founders: tuple[Address, ...], members: int, rounds: int, rpc: tuple[str, ...], **settings: Any
) -> Manifest:
    """A draft for a swarm on one machine, with timeouts that suit it.

    Args:
        rounds: merged rounds after which the swarm stops.
        settings: fields of the Manifest that shall be different.
    """
    f = settings.pop("f", colluders_by_default(members))
    fields: dict[str, Any] = {
        "name": "a swarm on one machine",
        "purpose": "trying out",
        "k_invite": 1,
        "min_updates": min(members, max(2, f + 1)),
        "fraction": 0.5,
        "k_max": 16,
        "max_missed": 3,
        "patience": 0,
        "sync_interval": 1,
        "interval_seconds": 1.0,
        "collect_timeout": 60,
        "grace": 2,
        "merge_timeout": 60,
        "metric": Metric("metric", True, None, 0.0),
        "max_abs": 1e30,
        "rule": DEFAULT_RULE_ID,
        "knobs": LOCAL_KNOBS,
    }
    return Manifest(
        founders=founders, initial_members=members, f=f, max_rounds=rounds, rpc=rpc, **{**fields, **settings}
    )


async def _found(place: Path, draft: Manifest, model: Path, members: list[str]) -> LocalSwarm:
    with Home.open(place / members[0]) as home:
        manifest = (await deploy_swarm(draft, home, model)).manifest
    swarm = LocalSwarm(place, place / "swarm.toml", draft.rpc[0])
    swarm.manifest.write_text(render(manifest), encoding="utf-8")
    founder = load_key(swarm.home(members[0]) / KEY_FILE)
    async with RpcClient(manifest.rpc) as rpc:
        for name in members:
            address = load_key(swarm.home(name) / KEY_FILE).address
            await fund(rpc, address)
            invitation = await invite(manifest, founder, address, max_weight=2**32 - 1, days=1.0)
            invitation.save(swarm.invitation(name))
    return swarm


@contextlib.contextmanager
def chain_process(folder: Path) -> Iterator[str]:
    """An embedded chain in a process of its own; gives its URL.

    Raises:
        ChainUnreachable: it did not start.
    """
    command = [sys.executable, "-m", "swarmp2p", "chain", "--port", "0", "--home", str(folder), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ChainUnreachable("The embedded chain did not start.", "Its own message is above.")
        yield str(json.loads(line)["url"])
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
