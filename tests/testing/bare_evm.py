"""The compiled contract on py-evm, without blocks and transactions: a thousand calls take seconds."""

from typing import Any

import eth.vm.execution_context
import eth.vm.message
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.vm.forks.london import LondonVM
from eth_abi.abi import encode

from swarmp2p.control.abi_codec import artefact, config_tuple, decode_state
from swarmp2p.core.config import Config
from swarmp2p.core.typed import Domain, domain_separator
from swarmp2p.core.types import Address
from swarmp2p.core.view import View
from swarmp2p.identity import keccak256

CHAIN_ID = 31415
GAS = 10**9

# py-evm's own types (Address, Hash32, BlockNumber) are names for bytes and int that nothing here gains from.
ExecutionContext: Any = eth.vm.execution_context.ExecutionContext
Message: Any = eth.vm.message.Message
CONTRACT: Address = b"\xc0" * 20
DEPLOYER: Address = b"\xde" * 20


class CallReverted(Exception):
    """The contract reverted; `name` is its custom error's name."""

    def __init__(self, data: bytes) -> None:
        self.name = artefact().error_name(data)
        super().__init__(artefact().describe_revert(data))


class ContractOnEvm:
    """One deployed swarm. `number` and `timestamp` are the block's; the test moves them."""

    def __init__(self, config: Config, timestamp: int) -> None:
        class Chain(MiningChain):
            chain_id = CHAIN_ID
            vm_configuration: Any = ((0, LondonVM),)

        chain = Chain.from_genesis(AtomicDB(), {"difficulty": 1, "gas_limit": GAS, "timestamp": timestamp - 1})
        self._state: Any = chain.get_vm().state
        self.number, self.timestamp = 1, timestamp
        compiled = artefact()
        code = compiled.bytecode + encode(compiled.constructor, [config_tuple(config)])
        message = Message(gas=GAS, to=b"", sender=DEPLOYER, value=0, data=b"", code=code, create_address=CONTRACT)
        self._run(message, "apply_create_message")
        salt = self.state().salt
        self.domain = domain_separator(Domain(CHAIN_ID, CONTRACT, salt), keccak256)

    def call(self, sender: Address, name: str, *arguments: Any) -> bytes:
        """Call a function; what it changes stays.

        Raises:
            CallReverted: with the custom error's name.
        """
        data = artefact().functions[name].encode(*arguments)
        code = self._state.get_code(CONTRACT)
        message = Message(gas=GAS, to=CONTRACT, sender=sender, value=0, data=data, code=code)
        return self._run(message, "apply_message")

    def state(self) -> View:
        """`state()`, decoded."""
        return decode_state(self.call(DEPLOYER, "state"))

    def _run(self, message: Any, how: str) -> bytes:
        state = self._state
        state.execution_context = ExecutionContext(
            coinbase=bytes(20),
            timestamp=self.timestamp,
            block_number=self.number,
            difficulty=1,
            mix_hash=bytes(32),
            gas_limit=GAS,
            prev_hashes=(bytes(32),),
            chain_id=CHAIN_ID,
            base_fee_per_gas=0,
        )
        context = state.get_transaction_context_class()(gas_price=0, origin=message.sender)
        computation = getattr(state.computation_class, how)(state, message, context)
        if computation.is_error:
            raise CallReverted(computation.output)
        output: bytes = computation.output
        return output
