"""The embedded chain itself: py-evm with London rules, a block a transaction, no network.

All of it blocks, and only one thread may use it at a time.

Two rules differ from Ethereum's. A block may have its parent's timestamp, because blocks come faster than seconds and a
chain clock that ran ahead of the wall would end every deadline early. And whoever runs the process decides everything.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from eth._utils.address import generate_contract_address
from eth.chains.base import MiningChain
from eth.consensus.applier import ConsensusApplier
from eth.consensus.noproof import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.exceptions import HeaderNotFound, PyEVMError, Revert, TransactionNotFound, VMError
from eth.vm.forks.london import LondonVM
from eth.vm.spoof import SpoofTransaction
from eth_keys.datatypes import PrivateKey
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException

from swarmp2p.control.chain.store import BlockStore, FolderLock
from swarmp2p.core.errors import ConfigError

# py-evm's own types are too wide to help where they are used.
Header: TypeAlias = Any
Block: TypeAlias = Any
Transaction: TypeAlias = Any

DEFAULT_CHAIN_ID = 31415
GAS_LIMIT = 30_000_000
"""Gas a block, and so a transaction."""
INITIAL_BASE_FEE = 10**9
"""Wei a gas at the genesis; near-empty blocks bring it down to a few wei, as on Ethereum."""
TIP = 10**9
"""Wei a gas that eth_maxPriorityFeePerGas suggests, the usual figure. Nobody asks for it here."""
FAUCET_TREASURY = 10**30
FAUCET_AMOUNT = 10 * 10**18
"""Wei that the faucet fills an account up to; it gives nothing to one that has half of it. Play money."""

_MALFORMED = (
    RLPException, ValidationError, PyEVMError, BadSignature, ValueError, TypeError, IndexError,
    NotImplementedError,
)  # fmt: skip
"""What py-evm raises for bytes that are no transaction."""

_ESTIMATE_MARGIN = (11, 10)
"""An inner call gets at most 63/64 of the gas that is left, so a run needs a little more than it uses."""


class RefusedError(Exception):
    """A transaction or call that the chain does not take, with the words that geth uses where it has some."""


class RevertedError(Exception):
    """A call that ended in a revert.

    Attributes:
        data: what the contract returned with it (a custom error, ABI-encoded), or nothing.
    """

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


@dataclass(frozen=True, slots=True)
class Call:
    """What eth_call and eth_estimateGas ask for; `to` is empty for a deployment."""

    sender: bytes
    to: bytes
    data: bytes
    value: int = 0
    gas: int = GAS_LIMIT


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction in its block."""

    block: Block
    transaction: Transaction
    receipt: Any
    index: int
    gas_used: int
    log_start: int
    contract: bytes | None


class _EmbeddedVM(LondonVM):
    """London, but for the rule on timestamps (see the module)."""

    @classmethod
    def validate_header(cls, header: Header, parent_header: Header) -> None:
        if header.timestamp < parent_header.timestamp:
            raise ValidationError("timestamp is before the parent's")
        # LondonVM checks everything else; it is shown a parent one second older.
        older = parent_header.copy(timestamp=header.timestamp - 1)
        super().validate_header(header, older)


def _chain_class(chain_id_: int) -> Any:
    configuration = ConsensusApplier(NoProofConsensus).amend_vm_configuration(((0, _EmbeddedVM),))

    class _Chain(MiningChain):
        chain_id = chain_id_
        vm_configuration = configuration

        def create_header_from_parent(self, parent_header: Header, **header_params: Any) -> Header:
            return super().create_header_from_parent(
                parent_header, **{"gas_limit": parent_header.gas_limit, **header_params}
            )

    return _Chain


class EmbeddedChain:
    """A chain in a folder, locked against other processes.

    Args:
        folder: made if it is not there.
        chain_id: must be the folder's own if it has a chain already.
        clock: Unix seconds; block timestamps follow it and never run ahead.

    Raises:
        HomeLocked: another process runs the chain.
        ConfigError: the folder holds a chain of another id, or its file is damaged.
    """

    def __init__(self, folder: Path, chain_id: int = DEFAULT_CHAIN_ID, clock: Callable[[], float] = time.time) -> None:
        self.chain_id = chain_id
        self._clock = clock
        self._chain: Any = None  # py-evm's types are too narrow to help
        self._lock = FolderLock(folder)
        try:
            self._store = BlockStore(folder / "chain.sqlite")
            self._open(folder)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, folder: Path) -> None:
        meta = self._store.meta()
        chain_class = _chain_class(self.chain_id)
        base = AtomicDB(self._store)
        if "chain_id" in meta:
            found = int.from_bytes(meta["chain_id"], "big")
            if found != self.chain_id:
                raise ConfigError(
                    f"The folder {folder} holds a chain with id {found}, not {self.chain_id}.",
                    f"Say --chain-id {found}, or use another folder.",
                )
            self._faucet = PrivateKey(meta["faucet"])
            self._chain = chain_class(base)
        else:
            self._faucet = PrivateKey(secrets.token_bytes(32))
            account = {"balance": FAUCET_TREASURY, "nonce": 0, "code": b"", "storage": {}}
            genesis = {
                "difficulty": 1,
                "gas_limit": GAS_LIMIT,
                "timestamp": int(self._clock()),
                "base_fee_per_gas": INITIAL_BASE_FEE,
                "extra_data": secrets.token_bytes(32),
            }
            state = {self._faucet.public_key.to_canonical_address(): account}
            self._chain = chain_class.from_genesis(base, genesis, state)
            self._store.commit({"chain_id": self.chain_id.to_bytes(8, "big"), "faucet": self._faucet.to_bytes()})

    def close(self) -> None:
        """Close the files and let others in."""
        self._store.close()
        self._lock.release()

    # ---- reading

    @property
    def head(self) -> Header:
        """Header of the latest block."""
        return self._chain.get_canonical_head()

    def header(self, number: int | None) -> Header:
        """Header of a block, the latest for None. Raises RefusedError if it is not there."""
        if number is None:
            return self.head
        try:
            return self._chain.get_canonical_block_header_by_number(number)
        except (HeaderNotFound, ValidationError):
            raise RefusedError("header not found") from None

    def block(self, number: int | None) -> Block:
        """A block, the latest for None."""
        return self._chain.get_block_by_header(self.header(number))

    def block_by_hash(self, hash_: bytes) -> Block:
        """A block of the chain."""
        try:
            header = self._chain.get_block_header_by_hash(hash_)
        except (HeaderNotFound, ValidationError):
            raise RefusedError("header not found") from None
        return self._chain.get_block_by_header(header)

    def balance(self, address: bytes, number: int | None = None) -> int:
        """Wei of an account."""
        return int(self._state(number).get_balance(address))

    def nonce(self, address: bytes, number: int | None = None) -> int:
        """Transactions that an account has sent."""
        return int(self._state(number).get_nonce(address))

    def code(self, address: bytes, number: int | None = None) -> bytes:
        """Code of a contract, nothing for an account."""
        return bytes(self._state(number).get_code(address))

    def storage(self, address: bytes, slot: int, number: int | None = None) -> int:
        """A word of a contract's storage."""
        value: int = self._state(number).get_storage(address, slot)
        return value

    def mined(self, hash_: bytes) -> Mined | None:
        """A transaction by its hash, or None."""
        try:
            number, _ = self._chain.get_canonical_transaction_index(hash_)
        except (TransactionNotFound, ValidationError):
            return None
        return next(entry for entry in self.mined_in(self.block(number)) if entry.transaction.hash == hash_)

    def mined_in(self, block: Block) -> Iterator[Mined]:
        """The transactions of a block (one, or none in the genesis)."""
        used = logs = 0
        receipts = block.get_receipts(self._chain.chaindb)
        for index, (transaction, receipt) in enumerate(zip(block.transactions, receipts, strict=True)):
            contract = None if transaction.to else generate_contract_address(transaction.sender, transaction.nonce)
            yield Mined(block, transaction, receipt, index, receipt.gas_used - used, logs, contract)
            used = receipt.gas_used
            logs += len(receipt.logs)

    def _state(self, number: int | None) -> Any:
        return self._chain.get_vm(at_header=self.header(number)).state

    # ---- running

    def call(self, call: Call, number: int | None = None, *, pending: bool = False) -> bytes:
        """Run without a trace, in the context of a block (or of the next one) and return the output.

        Raises:
            RevertedError: the contract refused.
            RefusedError: it cannot run at all.
        """
        return bytes(self._run(call, self._next_header() if pending else self.header(number)).output)

    def estimate(self, call: Call) -> int:
        """Gas that a transaction needs in the next block. Raises as `call` does."""
        computation = self._run(call, self._next_header())
        used: int = min(call.gas, GAS_LIMIT) - computation.get_gas_remaining()
        times, by = _ESTIMATE_MARGIN
        # The intrinsic gas has no inner calls: a plain transfer needs exactly what it uses.
        return used if not call.data else min(GAS_LIMIT, used * times // by)

    def _run(self, call: Call, header: Header) -> Any:
        vm = self._chain.get_vm(header)
        free = header.copy(base_fee_per_gas=0)
        state = vm.build_state(self._chain.chaindb.db, free, vm.chain_context, vm.previous_hashes)
        unsigned = vm.get_transaction_builder().create_unsigned_transaction(
            nonce=state.get_nonce(call.sender),
            gas_price=0,
            gas=min(call.gas, GAS_LIMIT),
            to=call.to,
            value=call.value,
            data=call.data,
        )
        try:
            computation = state.apply_transaction(SpoofTransaction(unsigned, from_=call.sender))
        except (ValidationError, PyEVMError) as error:
            raise RefusedError(_plain(error)) from None
        if computation.is_error:
            _raise(computation.error)
        return computation

    def _next_header(self) -> Header:
        head = self.head
        timestamp = max(int(self._clock()), head.timestamp)
        return self._chain.create_header_from_parent(head).copy(timestamp=timestamp)

    def send(self, raw: bytes) -> bytes:
        """Take a signed transaction and mine it at once; on disk when it returns. Returns its hash.

        Raises:
            RefusedError: malformed, wrong chain, nonce, or not enough money. Nothing has changed.
        """
        transaction = self._decode(raw)
        account = self.nonce(transaction.sender)
        if transaction.nonce != account:
            word = "low" if transaction.nonce < account else "high"
            raise RefusedError(f"nonce too {word}: next nonce {account}, tx nonce {transaction.nonce}")
        self._mine(transaction)
        return bytes(transaction.hash)

    def fund(self, address: bytes) -> bytes | None:
        """Fill an account up to FAUCET_AMOUNT; hash of the transaction, or None if it has enough."""
        has = self.balance(address)
        if has >= FAUCET_AMOUNT // 2:
            return None
        builder = self._chain.get_vm().get_transaction_builder()
        unsigned = builder.new_unsigned_dynamic_fee_transaction(
            chain_id=self.chain_id,
            nonce=self.nonce(self._faucet.public_key.to_canonical_address()),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=int(self._next_header().base_fee_per_gas),
            gas=21_000,
            to=address,
            value=FAUCET_AMOUNT - has,
            data=b"",
            access_list=(),
        )
        transaction = unsigned.as_signed_transaction(self._faucet)
        self._mine(transaction)
        return bytes(transaction.hash)

    def _decode(self, raw: bytes) -> Transaction:
        try:
            transaction = self._chain.get_vm().get_transaction_builder().decode(raw)
            transaction.validate()
            transaction.check_signature_validity()
            # The sender is recovered from the signature, which may be the first to find it wrong.
            _ = transaction.sender
        except _MALFORMED as error:
            raise RefusedError(f"invalid transaction: {_plain(error)}") from None
        if transaction.chain_id != self.chain_id:
            raise RefusedError(f"invalid chain id for signer: have {transaction.chain_id} want {self.chain_id}")
        return transaction

    def _mine(self, transaction: Transaction) -> None:
        with self._whole_block():
            self._chain.header = self._next_header()
            self._chain.mine_all([transaction])
            self._store.commit()

    @contextmanager
    def _whole_block(self) -> Iterator[None]:
        try:
            yield
        except (ValidationError, PyEVMError) as error:
            self._forget_block()
            raise RefusedError(_plain(error)) from None
        except BaseException:
            self._forget_block()
            raise

    def _forget_block(self) -> None:
        # py-evm keeps caches of what it wrote: take a fresh chain on what is on disk.
        self._store.rollback()
        self._chain = type(self._chain)(AtomicDB(self._store))


def _raise(error: VMError) -> None:
    if isinstance(error, Revert):
        data = bytes(error.args[0]) if error.args and isinstance(error.args[0], bytes) else b""
        raise RevertedError("execution reverted", data)
    raise RefusedError(_plain(error))


def _plain(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    low = text.lower()
    if "insufficient" in low or ("balance" in low and "sender" in low) or "does not have enough" in low:
        return f"insufficient funds for gas * price + value: {text}"
    return text
