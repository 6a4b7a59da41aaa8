"""The network in memory does what the real one does, and its faults do what they say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from swarmp2p.identity import Key
from swarmp2p.network.interface import Messages
from swarmp2p.testing.memory_network import MemoryHost, MemoryNetwork, open_memory_network
from swarmp2p.testing.network_checks import check_host

TOPIC = "/swarmp2p/1/1/0x00/test"


def secret(name: str) -> bytes:
    return Key.from_seed(f"memory {name}").secret


@asynccontextmanager
async def two_hosts(seed: int = 0) -> AsyncIterator[tuple[MemoryNetwork, MemoryHost, MemoryHost, Messages]]:
    """A network, two connected hosts, and what the second hears."""
    async with (
        open_memory_network(seed) as network,
        network.open_host(secret("a")) as a,
        network.open_host(secret("b")) as b,
    ):
        a.know(b.multiaddrs())
        yield network, a, b, b.subscribe(TOPIC, lambda author, data: True)


async def test_it_does_what_a_host_has_to(autojump_clock: trio.testing.MockClock) -> None:
    async with open_memory_network() as network:
        await check_host(network.open_host)


async def test_a_partition_cuts_and_heals(autojump_clock: trio.testing.MockClock) -> None:
    async with two_hosts() as (network, a, b, inbox):
        network.partition([a.address], [b.address])
        assert not a.connected()
        assert a.status().targets[0].problem == "the network is partitioned"
        await a.publish(TOPIC, b"lost")
        network.heal()
        await a.wait_connected([b.address])
        await a.publish(TOPIC, b"heard")
        assert await inbox.receive() == (a.address, b"heard")


async def test_loss_and_delay_are_those_of_the_seed(autojump_clock: trio.testing.MockClock) -> None:
    heard: list[list[bytes]] = []
    for _ in range(2):
        async with two_hosts(seed=7) as (network, a, _, inbox):
            network.loss, network.delay = 0.3, (0.1, 2.0)
            for number in range(50):
                await a.publish(TOPIC, bytes([number]))
            began = trio.current_time()
            await trio.sleep(3)
            assert trio.current_time() - began == pytest.approx(3)
            heard.append([inbox.receive_nowait()[1] for _ in range(inbox.statistics().current_buffer_used)])
    assert set(heard[0]) == set(heard[1])
    assert 20 < len(heard[0]) < 50
    assert heard[0] != sorted(heard[0])


async def test_one_message_can_be_lost_on_purpose(autojump_clock: trio.testing.MockClock) -> None:
    async with two_hosts() as (network, a, _, inbox):
        network.loses = lambda sender, receiver, data: data == b"first"
        await a.publish(TOPIC, b"first")
        await a.publish(TOPIC, b"second")
        assert await inbox.receive() == (a.address, b"second")
