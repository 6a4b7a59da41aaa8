"""A chain that mines the contract's model: a pool of transactions, blocks only where there is something to mine."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from swarmp2p.core.actions import SendAdvance, SendFinalize, SendReady, SendReport, SendUpdate
from swarmp2p.core.messages import Attestation, Invite, Signed
from swarmp2p.core.types import Address
from swarmp2p.testing.contract_model import ContractModel, Reverted
from swarmp2p.testing.simulator.loop import Loop

NOBODY = bytes(20)

ContractCall = SendReady | SendUpdate | SendAdvance | SendFinalize | SendReport


@dataclass(frozen=True, slots=True)
class Transaction:
    """A call, and who sends it."""

    sender: Address
    call: ContractCall | Invite


class Chain:
    """Blocks at multiples of `block_time`, none while the pool is empty: time on chain stands still then."""

    def __init__(
        self,
        loop: Loop,
        random: Random,
        model: ContractModel,
        block_time: float,
        mined: Callable[[Transaction, str], None],
        changed: Callable[[], None],
    ) -> None:
        self._loop, self._random, self.model, self._block_time = loop, random, model, block_time
        self._mined, self._changed = mined, changed
        self._pool: list[Transaction] = []
        self._scheduled = False

    def submit(self, transaction: Transaction) -> None:
        """A transaction that reached a node."""
        self._pool.append(transaction)
        if not self._scheduled:
            self._scheduled = True
            self._loop.at((self._loop.now // self._block_time + 1) * self._block_time, self._mine)

    def _mine(self) -> None:
        self._scheduled = False
        block = self.model.block
        block.number += 1
        block.timestamp = max(block.timestamp, int(self._loop.now))
        pool, self._pool = self._pool, []
        self._random.shuffle(pool)
        for transaction in pool:
            try:
                execute(self.model, transaction)
            except Reverted as error:
                self._mined(transaction, error.name)
            else:
                self._mined(transaction, "")
        self._changed()


def execute(model: ContractModel, transaction: Transaction) -> None:
    """Run a transaction on a model. Signatures count only for what they sign.

    Raises:
        Reverted: the contract refuses.
    """
    sender, call = transaction.sender, transaction.call
    if isinstance(call, SendUpdate):
        model.submit_update(sender, call.round, call.digest, call.weight, call.metric, call.flags)
    elif isinstance(call, SendFinalize):
        signers = [_signer(model, call, signed) for signed in call.signatures]
        model.finalize(sender, call.round, call.excluded, call.merged, call.slices, signers)
    elif isinstance(call, SendAdvance):
        model.advance(sender, call.idle)
    elif isinstance(call, SendReady):
        model.ready(sender)
    elif isinstance(call, SendReport):
        model.report(sender, call.metric, call.flags)
    else:
        model.enrol(sender, call, model.config.founders[: model.config.k_invite], b"")


def _signer(model: ContractModel, call: SendFinalize, signed: Signed) -> tuple[int, Address]:
    body = signed.body
    if not isinstance(body, Attestation):
        return 0, NOBODY
    expected = Attestation(call.round, model.inputs, call.excluded, call.merged, call.slices, body.mask)
    return body.mask, signed.signer if body == expected else NOBODY
