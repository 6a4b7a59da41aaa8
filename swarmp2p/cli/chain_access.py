"""The contract of a manifest, for commands that ask it one thing and end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from swarmp2p.control.contract import SwarmContract
from swarmp2p.control.manifest import Manifest
from swarmp2p.control.manifest_file import load_manifest
from swarmp2p.control.rpc import RpcClient
from swarmp2p.identity import Key


@asynccontextmanager
async def open_contract(manifest: Path, key: Key) -> AsyncIterator[tuple[SwarmContract, Manifest]]:
    """The contract as this key uses it, checked to be the manifest's; without a journal.

    Raises:
        ConfigError, AgreementMissing, ChainUnreachable, WrongChain.
    """
    agreed = load_manifest(manifest)
    async with RpcClient(agreed.rpc, chain_id=agreed.chain_id) as rpc:
        contract = SwarmContract(rpc, agreed.contract, key.secret)
        await contract.check(agreed.digest)
        yield contract, agreed
