"""Which addresses others are told."""

import pytest
import trio
from multiaddr import Multiaddr

from swarmp2p.network import addresses
from swarmp2p.network.addresses import MOST_ANNOUNCED, announced
from swarmp2p.network.host import open_host
from tests.network.test_host import key


def test_a_wildcard_stands_for_the_machines_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "get_network_addrs", lambda family: ["10.1.1.1", "10.1.1.2", "10.1.1.3"])
    monkeypatch.setattr("socket.socket.connect", lambda *_: (_ for _ in ()).throw(OSError("no route")))
    assert announced([Multiaddr("/ip4/0.0.0.0/tcp/5"), Multiaddr("/ip4/127.0.0.1/tcp/6")]) == [
        Multiaddr("/ip4/10.1.1.1/tcp/5"),
        Multiaddr("/ip4/10.1.1.2/tcp/5"),
        Multiaddr("/ip4/127.0.0.1/tcp/6"),
    ]
    monkeypatch.setattr(addresses, "get_network_addrs", lambda family: [])
    assert announced([Multiaddr("/ip4/0.0.0.0/tcp/5")]) == [Multiaddr("/ip4/127.0.0.1/tcp/5")]
    assert announced([Multiaddr("/ip6/::/tcp/5")]) == [Multiaddr("/ip6/::1/tcp/5")]


async def test_a_host_that_listens_everywhere_is_reached_by_what_it_announces() -> None:
    with trio.fail_after(20):
        async with open_host(key("a").secret, ["/ip4/0.0.0.0/tcp/0"]) as a, open_host(key("b").secret) as b:
            told = a.multiaddrs()
            assert 1 <= len(told) <= MOST_ANNOUNCED
            assert all("/0.0.0.0/" not in multiaddr for multiaddr in told)
            assert len("\n".join(told)) <= 256
            b.know(told)
            await b.wait_connected([a.address])
