"""A reward policy's contract on py-evm, without blocks: a hundred calls take a second."""

from collections.abc import Sequence
from typing import Any

from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.vm.forks.london import LondonVM

from swarmp2p.control.abi_codec import artefact
from swarmp2p.core.money import Entry
from tests.testing.bare_evm import DEPLOYER, GAS, ExecutionContext, Message

POLICY: Any = b"\xaa" * 20


class PolicyOnEvm:
    """One deployed policy of this package."""

    def __init__(self, contract: str) -> None:
        class Chain(MiningChain):
            chain_id = 1
            vm_configuration: Any = ((0, LondonVM),)

        chain = Chain.from_genesis(AtomicDB(), {"difficulty": 1, "gas_limit": GAS, "timestamp": 1})
        self._state: Any = chain.get_vm().state
        self._shares = artefact(contract).functions["shares"]
        code = artefact(contract).bytecode
        message = Message(gas=GAS, to=b"", sender=DEPLOYER, value=0, data=b"", code=code, create_address=POLICY)
        self._run(message, "apply_create_message")
        self._code = self._state.get_code(POLICY)

    def shares(self, round_: int, pot: int, included: Sequence[Entry]) -> list[int]:
        entries = [("0x" + entry.account.hex(), entry.index, entry.digest, entry.weight) for entry in included]
        data = self._shares.encode(round_, pot, entries)
        message = Message(gas=GAS, to=POLICY, sender=DEPLOYER, value=0, data=data, code=self._code)
        (shares,) = self._shares.decode(self._run(message, "apply_message"))
        return list(shares)

    def _run(self, message: Any, how: str) -> bytes:
        state = self._state
        state.execution_context = ExecutionContext(
            coinbase=bytes(20), timestamp=2, block_number=1, difficulty=1, mix_hash=bytes(32), gas_limit=GAS,
            prev_hashes=(bytes(32),), chain_id=1, base_fee_per_gas=0,
        )  # fmt: skip
        context = state.get_transaction_context_class()(gas_price=0, origin=message.sender)
        computation = getattr(state.computation_class, how)(state, message, context)
        assert not computation.is_error, computation.output
        output: bytes = computation.output
        return output
