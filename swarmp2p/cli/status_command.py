"""`swarmp2p status`: what the contract says."""

import json
from pathlib import Path
from typing import Any

import click
import trio

from swarmp2p.cli.options import json_option, manifest_argument


@click.command("status")
@manifest_argument
@json_option
def command(manifest: Path, as_json: bool) -> None:
    """Show a swarm's round, head and members, as the contract has them.

    Anyone with the manifest can ask; no key is needed.
    """
    from swarmp2p.control.manifest_file import load_manifest

    status = trio.run(read_status, load_manifest(manifest))
    if as_json:
        click.echo(json.dumps(status))
        return
    click.echo(f"{status['name']}: round {status['round']}, {status['phase']}; {status['merged_rounds']} rounds merged")
    click.echo(f"head {status['head']}\nbest {status['best']}")
    for member in status["members"]:
        mark = "submitted" if member["submitted"] else "waited for" if member["waited_for"] else ""
        click.echo(f"  {member['index']:3} {member['address']} {member['status']:7} weight {member['weight']:8} {mark}")


async def read_status(manifest: Any) -> dict[str, Any]:
    """The contract's state as JSON-able values."""
    from swarmp2p.content.unixfs import cid
    from swarmp2p.control.contract import SwarmContract
    from swarmp2p.control.rpc import RpcClient
    from swarmp2p.identity import Key

    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        contract = SwarmContract(rpc, manifest.contract, Key.generate().secret)
        await contract.check(manifest.digest)
        view = await contract.state()
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
