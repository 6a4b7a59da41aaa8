"""Carries invitations and ballots between members: what one signs, all hear of, and what enough signed is carried out.

The papers are files in the home (control/paper_box.py): a person signs with the command line or `SwarmPeer.sign`, and the
running peer passes the signature on. Gossip is only for speed here too; the files can be handed around by themselves.
"""

import logging

import trio

from swarmp2p.control.ballot import Ballot, check_ballot, described
from swarmp2p.control.invitation import Invitation
from swarmp2p.control.paper_box import AnyPaper, PaperBox, paper_id
from swarmp2p.core.errors import BallotRefused, ChainUnreachable, MessageRefused, TransactionFailed
from swarmp2p.core.messages import Invite, Vote
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import Address, Status
from swarmp2p.identity import keccak256, recover
from swarmp2p.network.interface import topic_name
from swarmp2p.network.wire import decode_decision, encode_decision
from swarmp2p.peer.context import Context

LOOK_INTERVAL = 1.0
"""Seconds between two looks into the folder, where another process may have put a paper."""
REPEAT = 10.0
"""Seconds after which all signatures are sent again, for those who were not there."""
MOST_PAPERS = 64
"""Papers that others may bring into this home; a member that has more to decide sends files."""

_log = logging.getLogger(__name__)


class Decisions:
    """One peer's part in what members decide together."""

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self._box = PaperBox(context.home.papers)
        self._topic = topic_name(context.manifest.chain_id, context.manifest.contract, "decisions")
        self._papers: dict[str, AnyPaper] = {}
        self._sent: dict[tuple[str, bytes], float] = {}
        self._tried: dict[str, float] = {}
        self._look = trio.Event()

    @property
    def papers(self) -> dict[str, AnyPaper]:
        """Invitations and ballots that wait for signatures or for being carried out, by id."""
        return dict(self._papers)

    async def run(self) -> None:
        """Pass on, take in and carry out until cancelled."""
        incoming = self._ctx.host.subscribe(self._topic, self._valid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            async for author, data in incoming:
                await self._hear(author, data)

    async def add(self, paper: AnyPaper) -> AnyPaper:
        """Put a paper in; it goes out to the others at the next look, which is now."""
        joined = await trio.to_thread.run_sync(self._box.add, paper)
        self._look.set()
        return joined

    # ---- in

    def _valid(self, author: Address, data: bytes) -> bool:
        """Passed on only if its author signed it, may sign such a thing, and it is still good for something."""
        try:
            body, signature = decode_decision(data)
        except MessageRefused as refusal:
            _log.info("refused a decision of 0x%s: %s", author.hex(), refusal)
            return False
        if recover(signing_digest(body, self._ctx.domain, keccak256), signature) != author:
            return False
        return self._open(body) and self._may_sign(author, body)

    def _open(self, body: Invite | Vote) -> bool:
        ctx = self._ctx
        if body.deadline < ctx.clock():
            return False
        if isinstance(body, Vote):
            return body.ballot == ctx.view.ballot
        member = ctx.view.member(body.invitee)
        return body.purpose == ctx.config.purpose and (member is None or member.term == body.term)

    def _may_sign(self, author: Address, body: Invite | Vote) -> bool:
        member = self._ctx.view.member(author)
        active = member is not None and member.status is Status.ACTIVE
        return active or (isinstance(body, Invite) and author in self._ctx.config.founders)

    async def _hear(self, author: Address, data: bytes) -> None:
        body, signature = decode_decision(data)
        paper = self._paper(body, signature)
        known = self._papers.get(paper_id(paper))
        if known is None and len(self._papers) >= MOST_PAPERS:
            _log.warning("no room for a paper of 0x%s: %d wait already", author.hex(), MOST_PAPERS)
        elif known is None or signature not in known.signatures:
            await self.add(paper)

    def _paper(self, body: Invite | Vote, signature: bytes) -> AnyPaper:
        chain_id, contract = self._ctx.manifest.chain_id, self._ctx.manifest.contract
        if isinstance(body, Vote):
            return Ballot(chain_id, contract, body, (signature,))
        return Invitation(chain_id, contract, body, (signature,))

    # ---- out

    async def _watch(self) -> None:
        while True:
            self._look = trio.Event()
            papers = await trio.to_thread.run_sync(self._box.papers)
            new = papers.keys() - self._papers.keys()
            self._papers = papers
            for id_, paper in papers.items():
                if not self._open(paper.body):
                    await trio.to_thread.run_sync(self._box.remove, id_)
                    continue
                if id_ in new:
                    self._tell(id_, paper)
                await self._pass_on(id_, paper)
                if isinstance(paper, Ballot):
                    await self._carry_out(id_, paper)
            with trio.move_on_after(LOOK_INTERVAL):
                await self._look.wait()

    def _tell(self, id_: str, paper: AnyPaper) -> None:
        words = described(paper.vote) if isinstance(paper, Ballot) else f"invite 0x{paper.invite.invitee.hex()}"
        self._ctx.emit("proposal", self._ctx.view.round, id=id_, proposal=words)

    async def _pass_on(self, id_: str, paper: AnyPaper) -> None:
        """Own signatures only: gossip carries what its author signed."""
        digest = signing_digest(paper.body, self._ctx.domain, keccak256)
        for signature in paper.signatures:
            due = self._sent.get((id_, signature), -REPEAT) + REPEAT
            if trio.current_time() >= due and recover(digest, signature) == self._ctx.store.me:
                self._sent[id_, signature] = trio.current_time()
                await self._ctx.host.publish(self._topic, encode_decision(paper.body, signature))

    async def _carry_out(self, id_: str, ballot: Ballot) -> None:
        """The first of the signers sends it, the next ones each a little later, should it not have."""
        ctx = self._ctx
        try:
            signatures = check_ballot(
                ballot, chain_id=ctx.manifest.chain_id, contract=ctx.manifest.contract, domain=ctx.domain,
                view=ctx.view, now=ctx.clock(),
            )  # fmt: skip
        except BallotRefused:
            return
        since = self._tried.setdefault(id_, trio.current_time())
        signers = sorted(signer for signer in ballot.signers(ctx.domain) if signer is not None)
        rank = signers.index(ctx.store.me) if ctx.store.me in signers else len(signers)
        if trio.current_time() < since + rank * (ctx.knobs.slack + ctx.knobs.stagger):
            return
        ctx.step("execute", ctx.view.round)
        try:
            receipt = await ctx.contract.execute(ballot.vote, signatures)
        except (TransactionFailed, ChainUnreachable) as error:
            _log.info("could not carry out %s: %s", id_, error)
            self._tried[id_] = trio.current_time()
            return
        ctx.emit("executed", ctx.view.round, id=id_, gas=receipt.gas_used)
        await ctx.view_from(receipt.block_number)
