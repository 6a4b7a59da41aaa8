"""A swarm of peers with IPFS nodes and without: `swarmp2p run`, a process each, beside a real Kubo for two of them."""

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import trio

from interop.kubo_node import KuboNode, kubo_node, needs_kubo
from interop.mean_learner import genesis
from interop.organisations import Organisation, swarmp2p
from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.manifest_file import load_manifest
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.types import Phase
from swarmp2p.core.view import View
from swarmp2p.identity import Key
from swarmp2p.testing.local_swarm import LOCAL_KNOBS, LocalSwarm, local_swarm

pytestmark = needs_kubo

WITH_KUBO, WITHOUT = ("alice", "bob"), ("carol", "dave")
NAMES = (*WITH_KUBO, *WITHOUT)
ROUNDS, KILLED_IN = 6, 3
LIMIT = 180.0


@contextlib.contextmanager
def peers(swarm: LocalSwarm, nodes: dict[str, KuboNode]) -> Iterator[dict[str, Organisation]]:
    """All members, running; those with a node have it hold their models."""
    found: dict[str, Organisation] = {}
    try:
        for number, name in enumerate(NAMES):
            one = found[name] = Organisation(swarm.folder / f"of-{name}", "")
            one.folder.mkdir()
            (one.folder / "home").symlink_to(swarm.home(name))
            one.manifest.write_text(swarm.manifest.read_text())
            options = ["--invitation", swarm.invitation(name), "--export", one.folder / "best.safetensors"]
            if name in nodes:
                options += ["--ipfs", nodes[name].api]
            one.start("interop.mean_learner:MeanLearner", float(number), *options)
        yield found
    finally:
        for one in found.values():
            one.stop()


def wait_for(swarm: LocalSwarm, phase: Phase, round_: int) -> View:
    """The contract's state when it is in this phase of that round, or later."""

    async def wait() -> View:
        manifest = load_manifest(swarm.manifest)
        async with RpcClient(manifest.rpc, poll_interval=0.02) as rpc:
            contract = SwarmContract(rpc, manifest.contract, Key.generate().secret)
            with trio.fail_after(LIMIT):
                view = await contract.state()
                while view.phase is not Phase.STOPPED and (view.round, view.phase) != (round_, phase):
                    view = await contract.wait_for_change(view, 5.0)
                return view

    return trio.run(wait)


def check_swarm_with_dying_nodes(folder: Path, phase: Phase, how: signal.Signals) -> None:
    """Both nodes are ended in this way, in this phase of a round, and started again."""
    with contextlib.ExitStack() as stack:
        nodes = {name: stack.enter_context(kubo_node(folder / f"kubo-{name}")) for name in WITH_KUBO}
        knobs = replace(LOCAL_KNOBS, keep_rounds=ROUNDS)
        swarm = stack.enter_context(local_swarm(genesis(), NAMES, rounds=ROUNDS, folder=folder / "swarm", knobs=knobs))
        running = stack.enter_context(peers(swarm, nodes))
        seen = wait_for(swarm, phase, KILLED_IN)
        assert (seen.round, seen.phase) == (KILLED_IN, phase)
        for node in nodes.values():
            node.stop(how)
        for node in nodes.values():
            node.start()
        check_ended(swarm, running, nodes)
        for name, node in nodes.items():
            audit = swarmp2p(
                "audit", swarm.manifest, "--deep", "--home", swarm.home(name), "--ipfs", node.api, "--json"
            )
            report = json.loads(audit)
            assert report["fits"]
            contents = [each["content"] for each in report["rounds"]]
            assert all(content["merged_held"] for content in contents), "in the node"
            assert any(content["recomputed_slices"] for content in contents), audit


def check_ended(swarm: LocalSwarm, running: dict[str, Organisation], nodes: dict[str, KuboNode]) -> None:
    """All have ended with one head; models are in the nodes, and only there where there is one."""
    stopped = {}
    for name, one in running.items():
        assert one.wait(LIMIT) == 0, f"{name}: {''.join(one.errors)}"
        last, said = one.last("round"), one.last("stopped")
        assert last is not None
        assert said is not None
        assert last["number"] >= ROUNDS
        stopped[name] = said
    (head,) = {said["head"] for said in stopped.values()}
    for name, node in nodes.items():
        assert f"{head} recursive swarmp2p" in node("pin", "ls", "--type=recursive", "--names")
        # Which model is best, a late report may have changed since another peer ended.
        assert node.raw("cat", stopped[name]["best"]) == (running[name].folder / "best.safetensors").read_bytes()
        assert not list((swarm.home(name) / "content" / "objects").iterdir()), "models are in the node alone"


def test_two_peers_with_kubo_and_two_without_end_with_one_head_though_kubo_dies_in_mid_round(tmp_path: Path) -> None:
    check_swarm_with_dying_nodes(tmp_path, Phase.MERGING, signal.SIGKILL)
