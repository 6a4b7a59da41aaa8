"""`SwarmPeer`: what an application embeds (DESIGN, section 4)."""

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from multiformats import CID

from swarmp2p.content.interface import ContentStore, OpenStore
from swarmp2p.content.unixfs import cid
from swarmp2p.control.ballot import Ballot, new_vote
from swarmp2p.control.invitation import Invitation, invited_by
from swarmp2p.control.manifest import DAY
from swarmp2p.core.config import Knobs
from swarmp2p.core.errors import BallotRefused, ConfigError, SwarmError
from swarmp2p.core.types import NO_ADDRESS, Address, Digest, Phase, VoteKind, bits
from swarmp2p.failures import unwrapped
from swarmp2p.merge.tensors import copy_tensors, read_schema
from swarmp2p.network.interface import OpenHost
from swarmp2p.peer.context import Context
from swarmp2p.peer.driver import Driver
from swarmp2p.peer.events import Event, Result, Round, Status, StepHook
from swarmp2p.peer.learner import Learner
from swarmp2p.peer.opening import DEFAULT_LISTEN, open_context


class SwarmPeer:
    """A running peer. Made by `open`; its methods belong to trio's thread."""

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self._driver = Driver(context)
        self._rounds_in, self._rounds_out = trio.open_memory_channel[Round](math.inf)
        self._goes_on = trio.Event()
        """Set when rounds are applied again after the end: the members have reopened the swarm."""
        self._last_round = 0
        self._round_applied = trio.Event()
        context.on_applied = self._on_applied

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        manifest: str | Path,
        *,
        learner: Learner,
        weight: int,
        home: str | Path = "~/.swarmp2p",
        listen: Sequence[str] = DEFAULT_LISTEN,
        invitation: str | Path | None = None,
        sync_interval: int | None = None,
        knobs: Knobs | None = None,
        on_step: StepHook | None = None,
        content: ContentStore | OpenStore | None = None,
        network: OpenHost | None = None,
        visitors: int = 0,
    ) -> AsyncIterator["SwarmPeer"]:
        """Take part in a swarm for the time of an `async with` block.

        Leaving the block, by its end, an error or cancellation at any await, stops the peer but never leaves the swarm:
        the next `open` with the same home carries on. At most the batches since the last update are lost.

        Args:
            manifest: path of the founded swarm.toml.
            learner: the model; see `Learner`.
            weight: this member's weight in the merge, usually its number of samples; at most what the invitation says.
            home: folder with key, journal and content; made if missing.
            listen: multiaddrs to listen on.
            invitation: file with a signed invitation; used if this key is not a member yet.
            sync_interval: local batches between two merges; None: as the manifest says.
            knobs: this peer's own timing.
            on_step: called right before each step, for fault injection and displays.
            content: a store of this peer's own, which the caller opens and closes, or what opens one in a folder of the
                home (`partial(KuboStore, api="/ip4/127.0.0.1/tcp/5001")`); None: the embedded one.
            network: opens another host than libp2p's; `listen` does not count then.
            visitors: how many IPFS nodes that are no members may be connected at once, to fetch merged models by their
                CIDs (docs/ipfs.md); 0: members only.

        Which chain it is, the manifest says: any Ethereum node's URL will do. See docs/layers.md.

        Raises:
            ConfigError, HomeLocked, PortInUse, ChainUnreachable, WrongChain, NotAMember, InvitationRefused,
            SchemaMismatch: each names the thing and the mend.
        """
        if weight < 1:
            raise ConfigError(f"The weight is {weight}.", "Give the number of local samples, 1 or more.")
        with unwrapped():
            async with (
                open_context(
                    manifest,
                    learner=learner,
                    weight=weight,
                    home=home,
                    listen=listen,
                    invitation=invitation,
                    sync_interval=sync_interval,
                    knobs=knobs,
                    on_step=on_step,
                    content=content,
                    network=network,
                    visitors=visitors,
                ) as context,
                cls.running(context) as peer,
            ):
                yield peer

    @classmethod
    @asynccontextmanager
    async def running(cls, context: Context) -> AsyncIterator["SwarmPeer"]:
        """A peer on layers that are open: `open` has made them of a manifest, `opening.open_on` takes any others."""
        peer = cls(context)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer._drive)
            try:
                yield peer
            finally:
                nursery.cancel_scope.cancel()
                context.broadcast.close()

    async def _drive(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._driver.run)
            while True:
                await self._driver.finished.wait()
                self._rounds_in.close()
                self._round_applied.set()
                await self._goes_on.wait()

    def _go_on(self) -> None:
        self._rounds_in, self._rounds_out = trio.open_memory_channel[Round](math.inf)
        self._driver.finished = trio.Event()
        self._goes_on.set()
        self._goes_on = trio.Event()

    def _on_applied(self, number: int, merged: Digest, metric: float | None) -> None:
        if number <= self._last_round:
            return
        if self._driver.finished.is_set():
            self._go_on()
        view = self._ctx.view
        self._last_round = number
        self._rounds_in.send_nowait(
            Round(
                number=number,
                phase=view.phase,
                leaders=tuple(f"0x{a.hex()}" for a in self._ctx.leaders_of.get(number, ())),
                merged=cid(merged, self._ctx.config.size),
                included=view.included.bit_count(),
                metric=metric,
            )
        )
        self._round_applied.set()
        self._round_applied = trio.Event()

    async def rounds(self) -> AsyncIterator[Round]:
        """Merged rounds as this peer applies them, each once; ends when the swarm has stopped and nobody needs this
        peer any more (docs/protocol.md, section 9). A peer that stays open takes part again when the members reopen the
        swarm; iterate again then.
        """
        async for round_ in self._rounds_out:
            yield round_

    async def wait_for_round(self, after: int) -> None:
        """Return when a round later than `after` is applied, or the swarm has stopped."""
        while self._last_round <= after and not self._driver.finished.is_set():
            await self._round_applied.wait()

    def events(self) -> trio.MemoryReceiveChannel[Event]:
        """Everything that happens from now on, for those who draw."""
        return self._ctx.broadcast.subscribe()

    @property
    def head(self) -> CID:
        """The last merged model, or the genesis."""
        return cid(self._ctx.view.head, self._ctx.config.size)

    @property
    def best(self) -> CID:
        """The best merged model by the members' vote, or the genesis."""
        return cid(self._ctx.view.best, self._ctx.config.size)

    @property
    def address(self) -> str:
        """This member's Ethereum address."""
        return f"0x{self._ctx.store.me.hex()}"

    @property
    def multiaddrs(self) -> tuple[str, ...]:
        """Where other nodes reach this one, each with /p2p/<PeerID>."""
        return tuple(self._ctx.host.multiaddrs())

    @property
    def result(self) -> Result:
        """How the swarm ended.

        Raises:
            SwarmError: it has not.
        """
        view = self._ctx.view
        if view.phase is not Phase.STOPPED:
            raise SwarmError("The swarm has not stopped yet.", "Wait for rounds() to end.")
        return Result(view.stop_reason.name.lower(), self.head, self.best, view.merged_rounds)

    def status(self) -> Status:
        """What this peer is doing, and for whom the round waits."""
        ctx, view = self._ctx, self._ctx.view
        waiting = view.wait_for & ~view.submitted if view.phase is Phase.COLLECTING else 0
        members = {m.index: m.address for m in view.members}
        reconciler = self._driver.reconciler
        network = ctx.host.status()
        return Status(
            round=view.round,
            phase=view.phase.name.lower(),
            head=self.head,
            best=self.best,
            waits_for=tuple(f"0x{members[i].hex()}" for i in bits(waiting) if i in members),
            doing=tuple(type(action).__name__ for action in (reconciler.running if reconciler else [])),
            connected=tuple(f"0x{a.hex()}" for a in sorted(network.connected)),
            trying=tuple(
                f"0x{t.address.hex()} at {', '.join(t.multiaddrs)}: {t.problem or 'not reached yet'}"
                for t in network.targets
                if not t.connected
            ),
            trouble=self._trouble(),
        )

    def _trouble(self) -> str | None:
        me = self._ctx.view.member(self._ctx.store.me)
        if me is not None and me.expires < self._ctx.clock():
            ended = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(me.expires))
            return f"The membership expired at {ended}. Ask to be invited again; `swarmp2p join` renews it meanwhile."
        reconciler = self._driver.reconciler
        return str(reconciler.trouble) if reconciler and reconciler.trouble else None

    def papers(self) -> dict[str, Ballot | Invitation]:
        """Ballots and invitations that wait for signatures or for being carried out, by id."""
        return self._driver.decisions.papers

    async def propose(self, kind: VoteKind, *, target: Address = NO_ADDRESS, arg: int = 0, days: float = 7.0) -> Ballot:
        """Sign a ballot and send it to the others; it is carried out as soon as enough of them have signed it too.

        Args:
            target: whom to expel.
            arg: ROLLBACK: the round whose model is the head again, 0 the genesis. REOPEN: the new maxRounds.
            days: until when it may be carried out, 60 at most.

        Raises:
            BallotRefused: the swarm could not do it.
        """
        ctx = self._ctx
        vote = new_vote(ctx.view, kind, int(ctx.clock() + days * DAY), target, arg)
        if kind is VoteKind.ROLLBACK:
            older = (await ctx.contract.result(arg)).merged if arg else ctx.config.genesis
            for model in (older, *await ctx.lineage(arg, ctx.rule.heads - 1)):  # the next merge needs them all
                if not await trio.to_thread.run_sync(ctx.content.has, model):
                    what = f"the model of round {arg}" if model == older else f"a model before round {arg}"
                    raise BallotRefused(
                        f"This peer does not hold {what}, and perhaps nobody does.",
                        "Have a member propose it that does ([local] keep_rounds), or go back to a later round.",
                    )
        ballot = Ballot(ctx.manifest.chain_id, ctx.manifest.contract, vote).signed(ctx.key, ctx.domain)
        await self._driver.decisions.add(ballot)
        return ballot

    async def invite(self, invitee: Address, *, max_weight: int, days: float = 365.0) -> Invitation:
        """Sign an invitation and send it to the others for theirs. When enough have signed (`papers()` shows), its file
        goes to the invitee: `Invitation.save`.

        Args:
            max_weight: largest weight that the invitee may declare.
            days: for how long the membership is authorised, from now on.
        """
        ctx = self._ctx
        member = await ctx.contract.member(invitee)
        invitation = invited_by(
            ctx.key, ctx.manifest, ctx.domain, member, max_weight=max_weight, days=days, now=ctx.clock()
        )
        await self._driver.decisions.add(invitation)
        return invitation

    async def sign(self, id_: str) -> Ballot | Invitation:
        """Agree to one of `papers()`.

        Raises:
            ConfigError: there is no such paper.
        """
        paper = self.papers().get(id_)
        if paper is None:
            raise ConfigError(f"There is no paper {id_}.", "Take an id of papers().")
        return await self._driver.decisions.add(paper.signed(self._ctx.key, self._ctx.domain))

    async def leave(self) -> None:
        """End this membership; an update that was submitted stays in its round. `rounds()` raises NotAMember then."""
        await self._ctx.contract.leave()
        self._ctx.contract.look()

    async def fetch(self, wanted: str | CID, multiaddr: str, path: str | Path) -> Path:
        """Fetch a file from an IPFS node over Bitswap, and write it.

        Args:
            wanted: its CID, in the swarm's profile (docs/ipfs.md).
            multiaddr: where the node is, as `ipfs id` prints it, with /p2p/<PeerID>.
            path: file to write; replaced at once and whole.

        Raises:
            ConfigError: no such CID or address, or this peer's network speaks with members alone.
            PeerUnreachable, ContentUnavailable: the node is not there, or does not have it.
            ContentCorrupt: the CID is of another profile.
            QuotaExceeded: no room.
        """
        ipfs, content = self._ctx.ipfs, self._ctx.content
        if ipfs is None:
            raise ConfigError("This peer's network speaks with members alone.", "Open the peer on libp2p.")
        destination = Path(path).expanduser()
        digest = await ipfs.fetch(wanted, multiaddr)
        await trio.to_thread.run_sync(content.export, digest, destination)
        return destination

    async def export(self, path: str | Path, which: str = "best") -> Path:
        """Write a model as a safetensors file, fetching it if this peer does not hold it.

        The file has the model's CID, unless the swarm's merge rule keeps tensors of its own in models: these are left out.

        Args:
            path: file to write; replaced at once and whole.
            which: "best" or "head".
        """
        if which not in ("best", "head"):
            raise ConfigError(f'which="{which}" is no model.', 'It is "best" or "head".')
        digest = self._ctx.view.best if which == "best" else self._ctx.view.head
        destination = Path(path).expanduser()
        if not await trio.to_thread.run_sync(self._ctx.content.has, digest):
            await self._ctx.fetcher.fetch_file(digest, self._ctx.config.size)
        await trio.to_thread.run_sync(self._export, digest, destination)
        return destination

    def _export(self, digest: Digest, destination: Path) -> None:
        content, rule = self._ctx.content, self._ctx.rule
        path = content.path(digest)
        schema = read_schema(path)
        weights = rule.weights_schema(schema)
        if weights.head == schema.head:
            content.export(digest, destination)
        else:
            copy_tensors(path, destination, weights)
