"""Anvil, another implementation of Ethereum, has to pass the checks that the embedded chain passes."""

import pytest
import trio

from swarmp2p.control.anvil import find_anvil, run_anvil
from swarmp2p.core.errors import ConfigError
from swarmp2p.testing.chain_checks import check_chain


def _missing() -> bool:
    try:
        find_anvil()
    except ConfigError:
        return True
    return False


@pytest.mark.skipif(_missing(), reason="anvil is not installed: run `npm ci` in contracts/")
async def test_anvil_conforms() -> None:
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(run_anvil)
        await check_chain(endpoint.url, endpoint.chain_id)
        nursery.cancel_scope.cancel()
