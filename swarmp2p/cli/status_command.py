"""`swarmp2p status`: what the contract says."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import trio

from swarmp2p.cli.options import RoundsType, json_option, manifest_argument

if TYPE_CHECKING:
    from swarmp2p.control.contract import SwarmContract
    from swarmp2p.core.view import View

LOOK_INTERVAL = 30.0
"""Seconds after which the state is taken again although nothing seems to have changed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to wait for; all of it."""

    merged: tuple[int, bool] | None
    members: int | None
    stopped: bool
    limit: float

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.merged is None and self.members is None and not self.stopped


@click.command("status")
@manifest_argument
@click.option("--wait-merged", type=RoundsType(), help="Wait until so many rounds are merged; +2: two more than now.")
@click.option("--wait-members", type=click.IntRange(0), help="Wait until there are exactly so many active members.")
@click.option("--wait-stopped", is_flag=True, help="Wait until the swarm has stopped.")
@click.option(
    "--timeout", type=click.FloatRange(0.0), default=600.0, show_default=True, help="Seconds to wait at most."
)
@json_option
def command(
    manifest: Path,
    wait_merged: tuple[int, bool] | None,
    wait_members: int | None,
    wait_stopped: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Show a swarm's round, head and members, as the contract has them.

    With --wait-... it waits first until it is so, which scripts need; the exit code is 1 if it does not come to that.
    Anyone with the manifest can ask; no key is needed.
    """
    from swarmp2p.control.manifest_file import load_manifest

    wanted = Wanted(wait_merged, wait_members, wait_stopped, timeout)
    status = trio.run(read_status, load_manifest(manifest), wanted)
    if as_json:
        click.echo(json.dumps(status))
        return
    click.echo(f"{status['name']}: round {status['round']}, {status['phase']}; {status['merged_rounds']} rounds merged")
    click.echo(f"head {status['head']}\nbest {status['best']}")
    for member in status["members"]:
        mark = "submitted" if member["submitted"] else "waited for" if member["waited_for"] else ""
        click.echo(f"  {member['index']:3} {member['address']} {member['status']:7} weight {member['weight']:8} {mark}")


async def wait_for(contract: "SwarmContract", wanted: Wanted) -> "View":
    """The contract's state, once it is as wanted.

    Raises:
        SwarmWaiting: it is not, and time is over or the swarm has stopped before.
    """
    from swarmp2p.core.errors import SwarmWaiting
    from swarmp2p.core.types import Phase

    view = await contract.state()
    count, more = wanted.merged or (0, False)
    least = count + view.merged_rounds * more
    deadline = trio.current_time() + wanted.limit
    while not wanted.nothing:
        stopped = view.phase is Phase.STOPPED
        active = view.active.bit_count()
        enough, right = view.merged_rounds >= least, wanted.members in (None, active)
        if enough and right and (stopped or not wanted.stopped):
            break
        so_far = f"{view.merged_rounds} rounds are merged, {active} members active, phase {view.phase.name.lower()}"
        if stopped and not enough:
            raise SwarmWaiting(
                f"The swarm has stopped: {so_far}.", "Wait for less, or have it reopened: `swarmp2p vote reopen`."
            )
        left = deadline - trio.current_time()
        if left <= 0:
            raise SwarmWaiting(
                f"Not yet, after {wanted.limit:g} s: {so_far}.", "Look at the peers, or give a longer --timeout."
            )
        view = await contract.wait_for_change(view, min(left, LOOK_INTERVAL))
    return view


async def read_status(manifest: Any, wanted: Wanted) -> dict[str, Any]:
    """The contract's state as JSON-able values, once it is as wanted."""
    from swarmp2p.content.unixfs import cid
    from swarmp2p.control.contract import SwarmContract
    from swarmp2p.control.rpc import RpcClient
    from swarmp2p.identity import Key

    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        contract = SwarmContract(rpc, manifest.contract, Key.generate().secret)
        await contract.check(manifest.digest)
        view = await wait_for(contract, wanted)
    return {
        "name": manifest.name,
        "round": view.round,
        "phase": view.phase.name.lower(),
        "stop_reason": view.stop_reason.name.lower(),
        "merged_rounds": view.merged_rounds,
        "head": str(cid(view.head, manifest.size)),
        "best": str(cid(view.best, manifest.size)),
        "threshold": view.threshold,
        "count": view.count,
        "k": view.k,
        "members": [
            {
                "index": member.index,
                "address": f"0x{member.address.hex()}",
                "status": member.status.name.lower(),
                "weight": member.weight,
                "expires": member.expires,
                "last_round": member.last_round,
                "submitted": bool(view.submitted >> member.index & 1),
                "waited_for": bool(view.wait_for >> member.index & 1),
            }
            for member in view.members
        ],
    }
