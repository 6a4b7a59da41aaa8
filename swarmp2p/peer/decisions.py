"""Carries invitations and ballots between members: what one signs, all hear of, and what enough signed is carried out.

The papers are files in the home (control/paper_box.py): a person signs with the command line or `SwarmPeer.sign`, and the
running peer passes the signature on. Gossip is only for speed here too; the files can be handed around by themselves.
Which papers are taken, kept and thrown away is said in peer/decision_papers.py.
"""

import logging
import sqlite3

import trio

from swarmp2p.control.ballot import Ballot, check_ballot
from swarmp2p.control.invitation import Invitation
from swarmp2p.control.paper_box import AnyPaper, PaperBox, paper_id, told
from swarmp2p.core.errors import BallotRefused, MessageRefused, SwarmError
from swarmp2p.core.messages import Invite, Vote
from swarmp2p.core.types import Address
from swarmp2p.network.interface import topic_name
from swarmp2p.network.wire import decode_decision, encode_decision
from swarmp2p.peer.context import Context
from swarmp2p.peer.decision_papers import Papers, SwarmOf

LOOK_INTERVAL = 1.0
"""Seconds between two looks into the folder, where another process may have put a paper."""
REPEAT = 10.0
"""Seconds after which all signatures are sent again, for those who were not there."""

_TROUBLE = (SwarmError, OSError, sqlite3.Error)
"""A full disk, a chain that does not answer, files that nobody can read: training goes on, and so does deciding."""
_log = logging.getLogger(__name__)


class Decisions:
    """One peer's part in what members decide together."""

    def __init__(self, context: Context) -> None:
        self._ctx = context
        manifest, config = context.manifest, context.config
        self._box = PaperBox(context.home.papers)
        self._topic = topic_name(manifest.chain_id, manifest.contract, "decisions")
        about = SwarmOf(
            manifest.chain_id, manifest.contract, context.domain, config.purpose, frozenset(config.founders)
        )
        self._papers = Papers(context.store.me, about)
        self._changing = trio.Lock()
        """Held while the folder and what is known of it may differ."""
        self._told: set[str] = set()
        self._sent: dict[tuple[str, bytes], float] = {}
        self._tried: dict[str, float] = {}
        self._look = trio.Event()
        self._trouble = ""

    @property
    def papers(self) -> dict[str, AnyPaper]:
        """Invitations and ballots that wait for signatures or for being carried out, by id."""
        return self._papers.open(self._ctx.view, self._ctx.clock())

    async def run(self) -> None:
        """Pass on, take in and carry out until cancelled."""
        incoming = self._ctx.host.subscribe(self._topic, self._valid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            async for author, data in incoming:
                await self._hear(author, data)

    async def add(self, paper: AnyPaper) -> AnyPaper:
        """Put a paper in; it goes out to the others at the next look, which is now."""
        async with self._changing:
            return await self._add(paper)

    async def _add(self, paper: AnyPaper) -> AnyPaper:
        joined = await trio.to_thread.run_sync(self._box.add, paper)
        self._papers.put(paper_id(joined), joined)
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
        if not self._papers.may_come(author, body, self._ctx.view, self._ctx.clock()):
            return False
        return self._papers.takes(author, self._paper(body, signature))

    async def _hear(self, author: Address, data: bytes) -> None:
        try:
            paper = self._paper(*decode_decision(data))
            async with self._changing:
                await self._take(author, paper)
        except _TROUBLE as error:
            _log.warning("could not take a paper of 0x%s: %s", author.hex(), error)

    async def _take(self, author: Address, paper: AnyPaper) -> None:
        id_ = paper_id(paper)
        if not self._papers.takes(author, paper):  # another one came while this one waited
            return
        known = self._papers.get(id_)
        if known is not None and paper.signatures[0] in known.signatures:
            return
        going = self._papers.room_for(id_, author) if known is None else []
        if going is None:
            _log.info("no room for a paper of 0x%s", author.hex())
            return
        for old in going:
            await trio.to_thread.run_sync(self._box.remove, old)
            self._papers.drop(old, self._papers.signers(old)[0] or author)
        await self._add(paper)

    def _paper(self, body: Invite | Vote, signature: bytes) -> AnyPaper:
        chain_id, contract = self._ctx.manifest.chain_id, self._ctx.manifest.contract
        if isinstance(body, Vote):
            return Ballot(chain_id, contract, body, (signature,))
        return Invitation(chain_id, contract, body, (signature,))

    # ---- out

    async def _watch(self) -> None:
        while True:
            self._look = trio.Event()
            try:
                async with self._changing:
                    await self._refresh()
            except _TROUBLE as error:
                self._complain(f"the papers cannot be looked at: {error}")
            for id_, paper in self.papers.items():
                try:
                    await self._further(id_, paper)
                except _TROUBLE as error:
                    self._complain(f"{id_} gets no further: {error}")
            with trio.move_on_after(LOOK_INTERVAL):
                await self._look.wait()

    def _complain(self, trouble: str) -> None:
        """Once, not every second."""
        if trouble != self._trouble:
            _log.warning("%s", trouble)
        self._trouble = trouble

    async def _refresh(self) -> None:
        papers = self._papers
        papers.refresh(await trio.to_thread.run_sync(self._box.papers))
        for id_ in papers.overdue(self._ctx.view, self._ctx.clock()):
            await trio.to_thread.run_sync(self._box.remove, id_)
            papers.remove(id_)
        self._told = {id_ for id_ in self._told if papers.get(id_)}
        self._sent = {key: at for key, at in self._sent.items() if papers.get(key[0])}
        self._tried = {id_: at for id_, at in self._tried.items() if papers.get(id_)}

    async def _further(self, id_: str, paper: AnyPaper) -> None:
        if self._papers.get(id_) != paper:  # it went, or somebody signed it, while another one was carried out
            return
        if id_ not in self._told:
            self._told.add(id_)
            self._tell(id_, paper)
        await self._pass_on(id_, paper)
        if isinstance(paper, Ballot):
            await self._carry_out(id_, paper)

    def _tell(self, id_: str, paper: AnyPaper) -> None:
        words = told(paper, self._ctx.manifest.min_stake)
        self._ctx.emit("proposal", self._ctx.view.round, id=id_, proposal=words)

    async def _pass_on(self, id_: str, paper: AnyPaper) -> None:
        """Own signatures only: gossip carries what its author signed."""
        for signature in paper.signatures:
            due = self._sent.get((id_, signature), -REPEAT) + REPEAT
            own = self._papers.signer(id_, paper.body, signature) == self._ctx.store.me
            if own and trio.current_time() >= due:
                self._sent[id_, signature] = trio.current_time()
                await self._ctx.host.publish(self._topic, encode_decision(paper.body, signature))

    async def _carry_out(self, id_: str, ballot: Ballot) -> None:
        """The first of the signers sends it, the next ones each a little later, should it not have."""
        ctx = self._ctx
        made_by = [self._papers.signer(id_, ballot.body, signature) for signature in ballot.signatures]
        try:
            signatures = check_ballot(
                ballot, chain_id=ctx.manifest.chain_id, contract=ctx.manifest.contract, domain=ctx.domain,
                view=ctx.view, now=ctx.clock(), signers=made_by,
            )  # fmt: skip
        except BallotRefused:
            return
        since = self._tried.setdefault(id_, trio.current_time())
        signers = sorted({signer for signer in made_by if signer is not None})
        rank = signers.index(ctx.store.me) if ctx.store.me in signers else len(signers)
        if trio.current_time() < since + rank * (ctx.knobs.slack + ctx.knobs.stagger):
            return
        ctx.step("execute", ctx.view.round)
        try:
            receipt = await ctx.contract.execute(ballot.vote, signatures)
        except _TROUBLE as error:
            _log.info("could not carry out %s: %s", id_, error)
            self._tried[id_] = trio.current_time()
            return
        ctx.emit("executed", ctx.view.round, id=id_, gas=receipt.gas_used)
        ctx.contract.look()
        await ctx.view_from(receipt.block_number)
