"""The example of layers of one's own with another chain's provider too: chain, policy, store and network at once."""

from pathlib import Path

import pytest
import trio

from examples.own_layers.layers import open_chain
from examples.own_layers.policy import SquareRootShares, compiled
from examples.own_layers.swarm import Options, run
from interop.swarm_on_anvil import needs_anvil
from swarmp2p.control.anvil import ANVIL_CHAIN_ID
from swarmp2p.control.faucet import fund
from swarmp2p.control.rpc import RpcClient
from swarmp2p.control.treasury import deploy_policy
from swarmp2p.identity import Key
from swarmp2p.testing.chain_checks import check_chain
from swarmp2p.testing.reward_checks import check_policy_contract
from tests.examples.test_own_layers import check_outcome

pytestmark = [
    needs_anvil,  # py-libp2p leaves sockets and streams of an ended host to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


async def test_the_chain_and_the_policy_on_it_pass_the_public_checks(tmp_path: Path) -> None:
    key = Key.generate()
    async with open_chain("anvil", tmp_path) as url:
        await check_chain(url, ANVIL_CHAIN_ID)
        async with RpcClient([url]) as rpc:
            await fund(rpc, key.address)
            await check_policy_contract(rpc, await deploy_policy(rpc, key.secret, compiled()), SquareRootShares())


@pytest.mark.parametrize("network", ["libp2p", "memory"])
async def test_a_swarm_with_every_layer_swapped(tmp_path: Path, network: str) -> None:
    """Chain, policy and store at once; and the network besides."""
    options = Options("anvil", "own", "own", network)
    with trio.fail_after(120):
        outcome = await run(options, tmp_path)
    check_outcome(outcome, options)
    assert outcome.manifest.chain_id == ANVIL_CHAIN_ID
