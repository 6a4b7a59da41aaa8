"""Brings up the chain, founds the swarm, and writes each peer's folder."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from examples.digits.learner import make_model
from examples.digits.options import KILL_ROUND, WIDE, Options
from swarmp2p.control.anvil import run_anvil
from swarmp2p.control.faucet import fund
from swarmp2p.control.manifest import Manifest, Metric, colluders_by_default
from swarmp2p.control.manifest_file import render
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.config import Knobs
from swarmp2p.home import KEY_FILE, Home
from swarmp2p.identity import Key, save_key
from swarmp2p.merge.registry import DEFAULT_RULE_ID
from swarmp2p.merge.tensors import write_weights
from swarmp2p.network.peer_ids import peer_id_of
from swarmp2p.peer.founding import deploy_swarm, invite
from swarmp2p.ports import free_ports
from swarmp2p.testing.local_swarm import chain_process


@dataclass(frozen=True)
class Stage:
    """A swarm that is founded and waits for its peers."""

    folder: Path
    manifest: Manifest
    keys: list[Key]
    configs: list[Path]
    """Configuration file of each peer's process."""

    def restart_config(self, peer: int) -> Path:
        """The configuration without the order to die."""
        config = json.loads(self.configs[peer].read_text()) | {"kill": None}
        path = self.configs[peer].with_suffix(".restart.json")
        path.write_text(json.dumps(config))
        return path


@asynccontextmanager
async def chain(options: Options, folder: Path) -> AsyncIterator[str]:
    """URL of a running chain, in a process of its own unless it is somebody else's."""
    if options.chain == "embedded":
        with chain_process(folder / "chain") as url:
            yield url
    elif options.chain == "anvil":
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(run_anvil)
            yield endpoint.url
            nursery.cancel_scope.cancel()
    else:
        yield options.chain


async def prepare(options: Options, folder: Path, url: str) -> Stage:
    """Keys, model, contract, invitations, and a configuration a peer."""
    keys = [Key.from_seed(f"digits {options.seed} {index}") for index in range(options.peers)]
    ports = free_ports(options.peers)
    for index, key in enumerate(keys):
        save_key(key, folder / f"peer{index}" / KEY_FILE)
    bootstrap = f"/ip4/127.0.0.1/tcp/{ports[0]}/p2p/{peer_id_of(keys[0].public)}"
    draft = make_manifest(options, keys[0], url, bootstrap)
    genesis = folder / "genesis.safetensors"
    write_weights(make_model(options.hidden, options.seed).state_dict(), genesis)
    with Home.open(folder / "peer0") as home:
        manifest = (await deploy_swarm(draft, home, genesis)).manifest
    path = folder / "swarm.toml"
    path.write_text(render(manifest))
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        for key in keys:
            await fund(rpc, key.address)
    configs = []
    for index, key in enumerate(keys):
        invitation = await invite(manifest, keys[0], key.address, max_weight=1_000_000, days=1.0)
        invitation.save(folder / f"invitation{index}.json")
        config = {
            "manifest": str(path),
            "home": str(folder / f"peer{index}"),
            "invitation": str(folder / f"invitation{index}.json"),
            "listen": [f"/ip4/127.0.0.1/tcp/{ports[index]}"],
            "index": index,
            "peers": options.peers,
            "hidden": options.hidden,
            "seed": options.seed,
            "kill": kill_order(options, index),
        }
        configs.append(folder / f"peer{index}.json")
        configs[-1].write_text(json.dumps(config))
    return Stage(folder, manifest, keys, configs)


def kill_order(options: Options, index: int) -> dict[str, object] | None:
    """Every peer is ready to be the leader that dies; of the others the seed names one."""
    if options.kill is None:
        return None
    if options.kill == "peer" and index != random.Random(options.seed).randrange(options.peers):
        return None
    return {"who": options.kill, "step": options.at, "round": KILL_ROUND}


def make_manifest(options: Options, founder: Key, url: str, bootstrap: str) -> Manifest:
    """The draft: generous thresholds, and a machine's timing instead of a network's."""
    wide = options.hidden >= WIDE
    f = colluders_by_default(options.peers)
    return Manifest(
        name="digits",
        purpose="To show a swarm at work.",
        founders=(founder.address,),
        k_invite=1,
        initial_members=options.peers,
        f=f,
        min_updates=max(2, f + 1),
        fraction=0.5,
        k_max=options.leaders,
        max_missed=3,
        max_rounds=options.rounds,
        patience=0,
        sync_interval=1,
        interval_seconds=10.0,
        collect_timeout=60,
        grace=15 if wide else 3,
        merge_timeout=60,
        metric=Metric("accuracy", True, None, 0.0),
        max_abs=1e30,
        rule=DEFAULT_RULE_ID,
        rpc=(url,),
        bootstrap=(bootstrap,),
        knobs=Knobs(
            leader_timeout=6.0 if wide else 1.0,
            fetch_timeout=4.0 if wide else 0.5,
            slack=0.3,
            stagger=0.5 if wide else 0.25,
            announce_interval=1.5 if wide else 0.5,
            linger=10.0,
        ),
    )
