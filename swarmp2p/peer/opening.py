"""Opens a peer's layers one after the other, each closed again if a later one fails, and wires them to each other."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import trio

from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.exchange import CONTENT_PROTOCOL, Fetcher, Server
from swarmp2p.content.interface import ContentStore, OpenStore, Stream
from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.interface import Control
from swarmp2p.control.invitation import Invitation, verify
from swarmp2p.control.manifest import Manifest
from swarmp2p.control.manifest_file import load_manifest
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.config import Config, Knobs
from swarmp2p.core.errors import ConfigError, NotAMember
from swarmp2p.core.store import Store
from swarmp2p.core.types import Address
from swarmp2p.core.view import View
from swarmp2p.home import Home
from swarmp2p.merge.registry import rule_from_id
from swarmp2p.merge.self_test import self_test
from swarmp2p.network.host import open_host
from swarmp2p.network.interface import Host, OpenHost
from swarmp2p.peer.context import Clock, Context
from swarmp2p.peer.events import StepHook
from swarmp2p.peer.founding import check_founded, put_stake
from swarmp2p.peer.ipfs import open_ipfs
from swarmp2p.peer.learner import Learner, LearnerThread
from swarmp2p.peer.tls_exchange import TlsExchange, open_tls

DEFAULT_LISTEN = ("/ip4/0.0.0.0/tcp/0",)


class HostCarrier:
    """The network as the content exchange needs it."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def open(self, peer: Address) -> Stream:
        """A stream to a connected member."""
        return await self._host.open_stream(peer, CONTENT_PROTOCOL)

    def reachable(self) -> list[Address]:
        """Members connected now."""
        return sorted(self._host.connected())


@asynccontextmanager
async def open_context(
    manifest: str | Path,
    *,
    learner: Learner,
    weight: int,
    home: str | Path,
    listen: Sequence[str],
    invitation: str | Path | None,
    sync_interval: int | None,
    knobs: Knobs | None,
    on_step: StepHook | None,
    content: ContentStore | OpenStore | None,
    network: OpenHost | None,
    visitors: int,
) -> AsyncIterator[Context]:
    """All layers of a peer on the manifest's chain; see `SwarmPeer.open`."""
    agreed = load_manifest(Path(manifest).expanduser())
    await trio.to_thread.run_sync(self_test)
    with Home.open(home) as own:
        rpc = RpcClient(agreed.rpc, chain_id=agreed.chain_id)
        opened: AbstractAsyncContextManager[Host] = (
            open_host(own.key.secret, list(listen)) if network is None else network(own.key.secret)
        )
        async with rpc, opened as host, _tls_beside(host, own.key.secret, listen if network is None else ()) as tls:
            contract = SwarmContract(rpc, agreed.contract, own.key.secret, own.journal)
            config = await check_founded(rpc, agreed, contract)
            invited = None if invitation is None else Invitation.load(Path(invitation).expanduser())
            if invited is not None and not (await contract.member(contract.account)).status.enrolled:
                await put_stake(rpc, agreed, own.key, invited.invite.stake, own.journal)
            async with open_on(
                agreed,
                config,
                own,
                contract,
                host,
                learner=learner,
                weight=weight,
                invitation=invited,
                sync_interval=sync_interval,
                knobs=knobs,
                on_step=on_step,
                content=content,
                tls=tls,
                visitors=visitors,
            ) as context:
                yield context


@asynccontextmanager
async def _tls_beside(host: Host, secret: bytes, listen: Sequence[str]) -> AsyncIterator[TlsExchange | None]:
    """TLS on the interfaces that the host listens on; none beside a network of the caller's own, which may not be of IP."""
    if not listen:
        yield None
        return
    async with open_tls(host, secret, listen) as tls:
        yield tls


@asynccontextmanager
async def open_on(
    manifest: Manifest,
    config: Config,
    home: Home,
    contract: Control,
    host: Host,
    *,
    learner: Learner,
    weight: int,
    invitation: Invitation | None = None,
    sync_interval: int | None = None,
    knobs: Knobs | None = None,
    on_step: StepHook | None = None,
    content: ContentStore | OpenStore | None = None,
    tls: TlsExchange | None = None,
    visitors: int = 0,
) -> AsyncIterator[Context]:
    """The layers above chain and network, whichever these are.

    Args:
        tls: content moves over it where it can; None: over the network's streams alone.
        visitors: IPFS nodes that are no members and may be connected at once, to fetch merged models.
        content: a store that the caller opens and closes, or what opens one in the home; None: the embedded one.
    """
    clock = Clock()
    await contract.resend_pending()
    domain = await contract.domain()
    view = await enrolled(manifest, config, contract, host, domain, invitation, await contract.state(), clock())
    me = view.member(contract.account)
    if me is not None and weight > me.max_weight:
        raise ConfigError(
            f"The weight {weight} is above the {me.max_weight} that this member was invited with.",
            "Give a smaller weight, or ask for another invitation.",
        )
    own_store, store = None, content
    if store is None or callable(store):
        own_store = store = await trio.to_thread.run_sync(store or EmbeddedStore, home.content)
    try:
        context = Context(
            home=home,
            manifest=manifest,
            config=config,
            knobs=knobs or manifest.knobs,
            rule=rule_from_id(manifest.rule),
            domain=domain,
            contract=contract,
            host=host,
            content=store,
            fetcher=Fetcher(store, HostCarrier(host), direct=None if tls is None else tls.links),
            learner=LearnerThread(learner),
            store=Store(me=contract.account, weight=weight, started_at=clock()),
            view=view,
            interval=sync_interval or manifest.sync_interval,
            clock=clock,
            on_step=on_step,
            tls=tls,
        )
        await restore(context)
        context.admit()
        host.handle(CONTENT_PROTOCOL, Server(store).serve)
        if tls is not None:
            tls.serve(store, context.live)
        context.know(manifest.bootstrap)
        async with open_ipfs(host, store, visitors=visitors, public=context.public) as context.ipfs:
            yield context
    finally:
        if own_store is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(own_store.close)


async def enrolled(
    manifest: Manifest,
    config: Config,
    contract: Control,
    host: Host,
    domain: bytes,
    invitation: Invitation | None,
    view: View,
    now: float,
) -> View:
    """The view with this account a member that others can find: enrols by invitation, records the addresses.

    Raises:
        NotAMember, InvitationRefused.
    """
    me = view.member(contract.account)
    addresses = host.multiaddrs()
    member = me is not None and me.status.enrolled and me.expires >= now
    if not member and invitation is None:
        account = f"0x{contract.account.hex()}"
        if me is not None and me.status.enrolled:
            ended = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(me.expires))
            raise NotAMember(f"The membership of {account} expired at {ended}.", "Ask a founder to renew it.")
        raise NotAMember(
            f"{account} is not a member of this swarm.",
            f"Ask a founder for an invitation (`swarmp2p invite swarm.toml {account}`) and join with it.",
        )
    if not member and invitation is not None:
        signatures = verify(
            invitation,
            chain_id=manifest.chain_id,
            contract=manifest.contract,
            domain=domain,
            config=config,
            view=view,
            me=await contract.member(contract.account),
            now=now,
        )
        await contract.enrol(invitation.invite, signatures, addresses)
    elif (await contract.addresses()).get(contract.account) != tuple(addresses):
        await contract.set_addresses(addresses)
    else:
        return view
    return await contract.state()


async def restore(context: Context) -> None:
    """What an earlier run left in the home: the own update, the last report, the files held."""
    store, content, journal = context.store, context.content, context.home.journal

    def read() -> None:
        update = journal.update()
        if update is not None and content.has(update.digest):
            store.update = update
            store.held.add(update.digest)
        store.report = journal.report()
        for digest in (context.view.head, context.view.best, context.config.genesis):
            if content.has(digest):
                store.held.add(digest)

    await trio.to_thread.run_sync(read)
