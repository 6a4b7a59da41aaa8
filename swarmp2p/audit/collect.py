"""Reads the evidence from the chain's nodes."""

from swarmp2p.audit.evidence import Evidence
from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.history import read_history, read_results
from swarmp2p.control.manifest import Manifest
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.types import NO_DIGEST
from swarmp2p.identity import Key


async def read_evidence(manifest: Manifest) -> Evidence:
    """What the nodes of the manifest tell of its contract. No key is needed, nothing is sent.

    Raises:
        WrongChain: another chain, no contract, or a node that has forgotten the past. ChainUnreachable.
    """
    async with RpcClient(manifest.rpc, chain_id=manifest.chain_id) as rpc:
        contract = SwarmContract(rpc, manifest.contract, Key.generate().secret)
        config = await contract.check()
        view = await contract.state()
        records = await read_history(rpc, manifest.contract, view.block_number)
        # All rounds there were: what a round has merged must not depend on the events that are held against it.
        results = await read_results(rpc, manifest.contract, range(1, view.round + 1))
        results = {
            round_: result
            for round_, result in results.items()
            if result.merged != NO_DIGEST and result.block_number <= view.block_number
        }
        return Evidence(
            int(await rpc.call("eth_chainId"), 16),
            manifest.contract,
            await contract.domain(),
            config,
            view,
            results,
            records,
        )
