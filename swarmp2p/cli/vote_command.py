"""`swarmp2p vote`: what the members decide together."""

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from swarmp2p.cli.options import AddressType, RoundsType, home_option, key_of, manifest_argument
from swarmp2p.core.errors import ConfigError, TransactionFailed
from swarmp2p.core.types import NO_ADDRESS, Address, VoteKind, bits
from swarmp2p.home import PAPERS_FOLDER
from swarmp2p.identity import Key

if TYPE_CHECKING:
    from swarmp2p.control.ballot import Ballot
    from swarmp2p.control.paper_box import AnyPaper, PaperBox

DAYS, MOST_DAYS = 7.0, 60.0
"""Peers take nothing that holds for longer (peer/decision_papers.py)."""
LOOK_INTERVAL = 0.2
"""Seconds between two looks into the folder, which a running peer writes to."""


@click.group("vote")
def command() -> None:
    """Decide together: expel a member, go back to an earlier model, stop, or train on.

    One member proposes, others sign; with the signatures of more than half of the voters (the members that take part, and
    those that a merge has left out since) anybody sends it to the contract. A running peer of the same HOME passes papers
    and signatures on, and carries out what enough have signed; the files can also be handed around.
    """


_days = click.option(
    "--days",
    type=click.FloatRange(0.0, MOST_DAYS, min_open=True),
    default=DAYS,
    show_default=True,
    help="How long it holds.",
)
_out = click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the ballot here.")


@command.command("expel")
@manifest_argument
@click.argument("member", type=AddressType())
@home_option
@click.option("--slash", is_flag=True, help="Also take its stake.")
@_days
@_out
def expel(manifest: Path, member: Address, home: Path, slash: bool, days: float, out: Path | None) -> None:
    """Propose to expel MEMBER, for good."""
    kind = VoteKind.EXPEL_AND_SLASH if slash else VoteKind.EXPEL
    _propose(manifest, home, out, kind, days, target=member)


@command.command("rollback")
@manifest_argument
@click.argument("round", type=click.IntRange(0))
@home_option
@_days
@_out
def rollback(manifest: Path, round: int, home: Path, days: float, out: Path | None) -> None:
    """Propose to go back to the model that ROUND merged; 0 is the genesis."""
    _propose(manifest, home, out, VoteKind.ROLLBACK, days, arg=round)


@command.command("stop")
@manifest_argument
@home_option
@_days
@_out
def stop(manifest: Path, home: Path, days: float, out: Path | None) -> None:
    """Propose to stop the swarm."""
    _propose(manifest, home, out, VoteKind.STOP, days)


@command.command("reopen")
@manifest_argument
@click.argument("max_rounds", type=RoundsType(least=1))
@home_option
@_days
@_out
def reopen(manifest: Path, max_rounds: tuple[int, bool], home: Path, days: float, out: Path | None) -> None:
    """Propose that a stopped swarm trains on from its best model, up to MAX_ROUNDS merged rounds in all; +5: five more."""
    number, more = max_rounds
    _propose(manifest, home, out, VoteKind.REOPEN, days, arg=number, from_now=more)


@command.command("list")
@manifest_argument
@home_option
@click.option("--wait", type=click.FloatRange(0.0), help="Wait so many seconds for a paper that HOME has not signed.")
def list_(manifest: Path, home: Path, wait: float | None) -> None:
    """Show the papers that wait in HOME: what they say and who has signed."""
    from swarmp2p.cli.chain_access import open_contract
    from swarmp2p.control.ballot import Ballot, votes_needed
    from swarmp2p.control.paper_box import is_past, told
    from swarmp2p.core.errors import SwarmWaiting

    box = _box(home)

    async def show() -> None:
        async with open_contract(manifest, Key.generate()) as (contract, agreed):
            view, domain = await contract.state(), await contract.domain()
            terms = {member.address: member.term for member in view.members}
            for known in box.papers().values():
                # Who left or was expelled is not in the view any more.
                if not isinstance(known, Ballot) and known.invite.invitee not in terms:
                    terms[known.invite.invitee] = (await contract.member(known.invite.invitee)).term

        def waits(paper: "AnyPaper") -> bool:
            """Of this swarm, and neither carried out nor used: a home keeps those for a while."""
            if (paper.chain_id, paper.contract) != (agreed.chain_id, agreed.contract):
                return False
            term = 0 if isinstance(paper, Ballot) else terms.get(paper.invite.invitee, 0)
            return not is_past(paper, view, term)

        def ours() -> "dict[str, AnyPaper]":
            return {id_: each for id_, each in box.papers().items() if waits(each)}

        papers = ours()
        if wait is not None:
            me = key_of(home).address
            deadline = trio.current_time() + wait
            while all(me in paper.signers(domain) for paper in papers.values()):
                if trio.current_time() > deadline:
                    raise SwarmWaiting(
                        f"No paper to sign came to {home} in {wait:g} s.", "A peer has to run with that home."
                    )
                await trio.sleep(LOOK_INTERVAL)
                papers = ours()
        for id_, paper in papers.items():
            signers = ", ".join(f"0x{signer.hex()}" for signer in paper.signers(domain) if signer is not None)
            needed = f", {votes_needed(view)} needed" if isinstance(paper, Ballot) else ""
            click.echo(f"{id_}: {told(paper, agreed.min_stake)}; signed by {signers or 'nobody'}{needed}")

    trio.run(show)


@command.command("sign")
@manifest_argument
@click.argument("paper")
@home_option
@_out
def sign(manifest: Path, paper: str, home: Path, out: Path | None) -> None:
    """Add a signature to PAPER: an id that `list` shows, or a file."""
    from swarmp2p.cli.chain_access import open_contract
    from swarmp2p.control.paper_box import told

    key = key_of(home)
    found = _found(paper, home)

    async def looked_up() -> tuple[bytes, int]:
        async with open_contract(manifest, key) as (contract, agreed):
            if (found.chain_id, found.contract) != (agreed.chain_id, agreed.contract):
                raise ConfigError("The paper is of another swarm.", "Use the swarm.toml of that swarm.")
            return await contract.domain(), agreed.min_stake

    domain, min_stake = trio.run(looked_up)
    signed = _box(home).add(found.signed(key, domain))
    if out is not None:
        signed.save(out)
    elif Path(paper).is_file():
        signed.save(Path(paper))
    click.echo(f"Signed: {told(signed, min_stake)}; {len(signed.signatures)} signature(s) now.")


@command.command("send")
@manifest_argument
@click.argument("paper")
@home_option
def send(manifest: Path, paper: str, home: Path) -> None:
    """Have the contract carry out PAPER, an id that `list` shows or a file; anybody may.

    Members whose time has passed count until the contract is told so; that is done first.
    """
    from swarmp2p.cli.chain_access import open_contract
    from swarmp2p.control.ballot import Ballot, check_ballot, described, without_expired

    key = key_of(home)
    found = _found(paper, home)
    if not isinstance(found, Ballot):
        raise ConfigError(f"{paper} is an invitation.", "The invitee uses it: `swarmp2p join --invitation`.")

    async def execute() -> None:
        async with open_contract(manifest, key) as (contract, agreed):
            now, view = time.time(), await contract.state()
            counting = without_expired(view, now)
            signatures = check_ballot(
                found,
                chain_id=agreed.chain_id,
                contract=agreed.contract,
                domain=await contract.domain(),
                view=counting,
                now=now,
            )
            if counting.voters != view.voters:
                with suppress(TransactionFailed):  # somebody else told the contract meanwhile
                    await contract.advance(list(bits(view.voters & ~counting.voters)))
            await contract.execute(found.vote, signatures)

    trio.run(execute)
    click.echo(f"Done: {described(found.vote)}.")


def _propose(
    manifest: Path,
    home: Path,
    out: Path | None,
    kind: VoteKind,
    days: float,
    *,
    target: Address = NO_ADDRESS,
    arg: int = 0,
    from_now: bool = False,
) -> None:
    from swarmp2p.cli.chain_access import open_contract
    from swarmp2p.control.ballot import Ballot, described, new_vote, votes_needed
    from swarmp2p.control.manifest import DAY
    from swarmp2p.control.paper_box import paper_id

    key = key_of(home)

    async def make() -> "tuple[Ballot, int]":
        async with open_contract(manifest, key) as (contract, agreed):
            view, domain = await contract.state(), await contract.domain()
        vote = new_vote(view, kind, int(time.time() + days * DAY), target, arg + view.merged_rounds * from_now)
        return Ballot(agreed.chain_id, agreed.contract, vote).signed(key, domain), votes_needed(view)

    ballot, needed = trio.run(make)
    _box(home).add(ballot)
    if out is not None:
        ballot.save(out)
    click.echo(f"{paper_id(ballot)}: {described(ballot.vote)}; signed once, {needed} needed.")


def _box(home: Path) -> "PaperBox":
    from swarmp2p.control.paper_box import PaperBox

    return PaperBox(home.expanduser() / PAPERS_FOLDER)


def _found(paper: str, home: Path) -> "AnyPaper":
    """A ballot's file, or the paper of this id in a home."""
    from swarmp2p.control.ballot import Ballot

    return Ballot.load(Path(paper)) if Path(paper).is_file() else _box(home).get(paper)
