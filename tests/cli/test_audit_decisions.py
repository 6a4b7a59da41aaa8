"""`swarmp2p audit` on the real contract, after all that members can decide, in a swarm with a treasury."""

import json
from pathlib import Path
from typing import Any

import trio
from click.testing import CliRunner, Result

from swarmp2p.audit.check import check_chain
from swarmp2p.audit.collect import read_evidence
from swarmp2p.cli import cli
from swarmp2p.control.manifest_file import render
from swarmp2p.core.types import VoteKind
from tests.control.paid_swarm import PaidSwarm, paid_swarm


def audit(*options: str) -> Result:
    return CliRunner().invoke(cli, ["audit", *options])


async def live_through(swarm: PaidSwarm) -> None:
    """Nine rounds of five members; three of seven merges are left behind."""
    for member in range(5):
        await swarm.enrol(member)
    await swarm.play([0, 1, 2, 3, 4], [0, 1])
    await swarm.play([0, 1, 2, 3, 4], [1, 2], without=[4])
    # Round 3: member 3 is expelled with its update; 4, which the last merge left out, is not waited for.
    await swarm.submit(3, 0, 1)
    await swarm.vote(VoteKind.EXPEL, [0, 1, 2], target=3)
    await swarm.submit(2)
    await swarm.merge([0, 2])
    await swarm.vote(VoteKind.EXPEL_AND_SLASH, [0, 1, 2], target=3)
    # Round 4: member 2 is the last that is waited for, and leaves.
    await swarm.submit(0, 1, 4)
    await swarm.contract(2).leave()
    await swarm.merge([0, 4])
    await swarm.vote(VoteKind.ROLLBACK, [0, 1], arg=2)
    await swarm.play([0, 1, 4], [0, 1])
    # Round 7: member 2 is back, under an index that another had.
    await swarm.enrol(2)
    await swarm.play([2, 0, 1, 4], [2, 4])
    await swarm.vote(VoteKind.STOP, [0, 1, 2])
    await swarm.vote(VoteKind.REOPEN, [0, 1, 2], arg=9)
    await swarm.play([2, 0, 1, 4], [2, 4])


async def test_an_honest_run_on_the_chain_is_accepted(tmp_path: Path) -> None:
    with trio.fail_after(120):
        async with paid_swarm(tmp_path, 5) as swarm:
            await live_through(swarm)
            path = tmp_path / "swarm.toml"
            path.write_text(render(swarm.manifest), encoding="utf-8")
            options = [str(path), "--json", "--deep", "--home", str(tmp_path / "0")]
            result = await trio.to_thread.run_sync(audit, *options)
            told: dict[str, Any] = json.loads(result.output)
            assert told["finding"] is None
            assert result.exit_code == 0
            assert [vote["kind"] for vote in told["votes"]] == [
                "EXPEL", "EXPEL_AND_SLASH", "ROLLBACK", "STOP", "REOPEN",
            ]  # fmt: skip
            # Every head was found better, so the last but one was the best when the swarm was stopped.
            left = {each["round"]: each["left_by"] for each in told["rounds"]}
            assert left == {1: None, 2: None, 3: 2, 4: 2, 6: None, 7: 4, 9: None}
            banned = [update for each in told["rounds"] for update in each["inputs"] if update["banned"]]
            assert [update["address"] for update in banned] == ["0x" + swarm.keys[3].address.hex()]
            evidence = await read_evidence(swarm.manifest)
            assert all(each.attesters for each in evidence.results.values())
            assert check_chain(evidence, swarm.manifest).finding is None
