"""Gossip and sync: signs, sends and takes in the round's messages (docs/protocol.md, section 7)."""

import logging
from collections import OrderedDict

import trio

from swarmp2p.core.actions import Announce, Sign, Sync
from swarmp2p.core.errors import MessageRefused, PeerUnreachable
from swarmp2p.core.messages import Hint, RoundMessage, Signed
from swarmp2p.core.store import RoundStore
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import Address, Digest, Phase
from swarmp2p.home import EVIDENCE_FOLDER
from swarmp2p.identity import keccak256, recover
from swarmp2p.network.interface import Stream
from swarmp2p.network.wire import (
    SYNC_PROTOCOL,
    SignedBody,
    decode_message,
    encode_hint,
    encode_signed,
    receive_sync_request,
    receive_sync_response,
    send_sync_request,
    send_sync_response,
)
from swarmp2p.peer.context import Context
from swarmp2p.peer.delivery import Delivery
from swarmp2p.peer.misconduct import keep_proof

_log = logging.getLogger(__name__)

TOPIC = "round"
EARLY_MESSAGES = 1024
"""Messages of a round that this peer has not yet seen sealed; kept until its view catches up."""
FINALIZERS = 2
"""Members, the first of the round's order, that an attestation is brought to before it is announced to all."""
SYNC_TIMEOUT = 5.0
"""Seconds for one exchange with one peer."""


class Talk:
    """The peer's mouth and ears."""

    def __init__(self, context: Context, delivery: Delivery) -> None:
        self._ctx = context
        self._delivery = delivery
        self._early: OrderedDict[tuple[RoundMessage, bytes], Address] = OrderedDict()
        self._journaled: RoundStore | None = None
        """The round whose own messages of an earlier run were taken in."""
        self._proven: dict[Digest, set[Address]] = {}
        """Whose contradiction is written down, by the inputs of the round: it is not looked for again."""

    async def run(self) -> None:
        """Take in what others say and answer sync requests until cancelled."""
        self._ctx.host.handle(SYNC_PROTOCOL, self._answer_sync)
        async for author, data in self._delivery.subscribe(TOPIC, self._valid, self._told):
            self._hear(author, decode_message(data))

    def _told(self, author: Address, data: bytes) -> bool:
        """What a member says directly is looked at as gossip is."""
        message = self._checked(author, data)
        if message is not None:
            self._hear(author, message)
        return message is not None

    def _valid(self, author: Address, data: bytes) -> bool:
        """Whether to forward it."""
        return self._checked(author, data) is not None

    def _checked(self, author: Address, data: bytes) -> SignedBody | Hint | None:
        """A message if it is well formed, by a member, of now, and signed by its author."""
        try:
            message = decode_message(data)
        except MessageRefused as refusal:
            _log.info("refused a message of 0x%s: %s", author.hex(), refusal)
            return None
        member = self._ctx.view.member(author)
        if member is None or not member.status.enrolled:
            return None
        if isinstance(message, Hint):
            return message if message.round >= self._ctx.view.round else None
        body, signature = message
        of_now = self._ctx.view.round <= body.round <= self._ctx.view.round + 1
        return message if of_now and self._signer(body, signature) == author else None

    def _signer(self, body: RoundMessage, signature: bytes) -> Address | None:
        return recover(signing_digest(body, self._ctx.domain, keccak256), signature)

    def _hear(self, author: Address, message: SignedBody | Hint) -> None:
        if isinstance(message, Hint):
            self._ctx.contract.look()
        else:
            self._take(author, *message)

    def _take(self, signer: Address, body: RoundMessage, signature: bytes) -> None:
        store = self._ctx.store
        current = store.round
        if current is not None and (current.round, current.inputs) == (body.round, body.inputs):
            if not current.fits(body):
                return
            message = Signed(body, signer, signature)
            if current.add(message):
                self._ctx.wake()
            if signer in self._proven.get(body.inputs, set()):
                return
            if keep_proof(current, message, self._ctx.home.path / EVIDENCE_FOLDER) is not None:
                self._proven = {body.inputs: {signer, *self._proven.get(body.inputs, set())}}
                self._ctx.emit("contradiction", body.round, signer=f"0x{signer.hex()}")
        elif body.round >= self._ctx.view.round:
            self._early[body, signature] = signer
            self._ctx.contract.look()  # the round was sealed, it seems
            while len(self._early) > EARLY_MESSAGES:
                self._early.popitem(last=False)

    def view_changed(self) -> None:
        """Take in what arrived before this peer saw the round sealed, and its own journaled messages."""
        current = self._ctx.store.round
        if current is None:
            return
        if self._journaled is not current:
            self._journaled = current
            for body, signature in self._ctx.home.journal.messages(current.round, current.inputs):
                current.add(Signed(body, self._ctx.store.me, signature), own=True)
        early, self._early = self._early, OrderedDict()
        for (body, signature), signer in early.items():
            self._take(signer, body, signature)

    async def sign(self, action: Sign) -> None:
        """Sign a message, write it to the journal, and send it."""
        ctx = self._ctx
        body = action.body
        kind = type(body).__name__.lower()
        ctx.step({"claim": "claim", "attestation": "attest", "objection": "object"}[kind], body.round)
        signature = ctx.key.sign(signing_digest(body, ctx.domain, keccak256))
        await trio.to_thread.run_sync(ctx.home.journal.remember, body, signature)
        if ctx.store.round is not None:
            ctx.store.round.add(Signed(body, ctx.store.me, signature), own=True)
        self._delivery.send(TOPIC, encode_signed(body, signature), self._finalizers() if kind == "attestation" else ())

    def _finalizers(self) -> set[Address]:
        """Who will finalize, and who will if that one does not; all others are in no hurry to hear of attestations."""
        return set(self._ctx.addresses(self._ctx.order()[:FINALIZERS])) - {self._ctx.store.me}

    async def announce(self, action: Announce) -> None:
        """Send own messages again, to those who may not have them."""
        current = self._ctx.store.round
        if current is None or current.round != action.round:
            return
        for message in list(current.signed.get(self._ctx.store.me, {}).values()):
            self._delivery.send(TOPIC, encode_signed(message.body, message.signature))

    def hint(self, hint: Hint) -> None:
        """Wake the others up: a transaction of this peer is on the chain."""
        self._delivery.nudge(TOPIC, encode_hint(hint))

    async def sync(self, action: Sync) -> None:
        """Ask every connected member for what it holds of this round."""
        async with trio.open_nursery() as nursery:
            for address in self._ctx.host.connected():
                nursery.start_soon(self._sync_with, address, action.round)

    async def _sync_with(self, address: Address, round_: int) -> None:
        try:
            with trio.move_on_after(SYNC_TIMEOUT):
                stream = await self._ctx.host.open_stream(address, SYNC_PROTOCOL)
                try:
                    await send_sync_request(stream, round_)
                    for body, signature in await receive_sync_response(stream):
                        signer = self._signer(body, signature)
                        if signer is not None and self._ctx.view.member(signer) is not None:
                            self._take(signer, body, signature)
                finally:
                    await stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError, MessageRefused, PeerUnreachable) as error:
            _log.info("no sync with 0x%s: %s", address.hex(), error)
        except Exception as error:  # a peer's bytes may spoil this exchange, whatever they are, and nothing else
            _log.warning("no sync with 0x%s: %r", address.hex(), error)

    async def _answer_sync(self, stream: Stream, peer: Address) -> None:
        with trio.move_on_after(SYNC_TIMEOUT):
            round_ = await receive_sync_request(stream)
            current = self._ctx.store.round
            held = current.messages() if current is not None and current.round == round_ else []
            if self._ctx.view.phase is Phase.MERGING or held:
                await send_sync_response(stream, [(message.body, message.signature) for message in held])
            else:
                await send_sync_response(stream, [])
        await stream.aclose()
