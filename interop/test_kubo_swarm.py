"""A swarm of peers with IPFS nodes and without: `swarmp2p run`, a process each, beside a real Kubo for two of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import trio

from interop.kubo_node import KuboNode, kubo_node, needs_kubo
from interop.mean_learner import genesis
from interop.organisations import Organisation
from swarmp2p.content.unixfs import hash_file
from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.manifest_file import load_manifest
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.types import Phase
from swarmp2p.core.view import View
from swarmp2p.identity import Key
from swarmp2p.testing.local_swarm import LocalSwarm, local_swarm

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


def test_two_peers_with_kubo_and_two_without_end_with_one_head_though_kubo_dies_in_mid_round(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        nodes = {name: stack.enter_context(kubo_node(tmp_path / f"kubo-{name}")) for name in WITH_KUBO}
        swarm = stack.enter_context(local_swarm(genesis(), NAMES, rounds=ROUNDS, folder=tmp_path / "swarm"))
        running = stack.enter_context(peers(swarm, nodes))
        sealed = wait_for(swarm, Phase.MERGING, KILLED_IN)
        assert (sealed.round, sealed.phase) == (KILLED_IN, Phase.MERGING)
        for node in nodes.values():
            node.kill()
        for node in nodes.values():
            node.start()

        heads = set()
        for name, one in running.items():
            assert one.wait(LIMIT) == 0, f"{name}: {''.join(one.errors)}"
            stopped = one.last("stopped")
            assert stopped is not None
            heads.add(stopped["head"])
            last = one.last("round")
            assert last is not None
            assert last["number"] >= ROUNDS
        (head,) = heads
        best = running["carol"].last("stopped")
        assert best is not None
        for node in nodes.values():
            pins = node("pin", "ls", "--type=recursive", "--names")
            assert f"{head} recursive swarmp2p" in pins
        exported = hash_file(running["carol"].folder / "best.safetensors")
        for name, node in nodes.items():
            assert hash_file(running[name].folder / "best.safetensors") == exported
            assert node.raw("cat", best["best"]) == (running["dave"].folder / "best.safetensors").read_bytes()
            assert not list((swarm.home(name) / "content" / "objects").iterdir()), "models are in the node alone"
