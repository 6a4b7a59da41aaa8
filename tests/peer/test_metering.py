"""Receipts among whole peers in one process."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from swarmp2p.core.messages import Receipt
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.home import RECEIPTS_FILE
from swarmp2p.identity import Key
from swarmp2p.network.interface import topic_name
from swarmp2p.network.wire import encode_receipts
from swarmp2p.peer.context import Context
from swarmp2p.peer.delivery import Delivery
from swarmp2p.peer.metering import MOST_MESSAGES, PLAUSIBLE, Metering
from swarmp2p.rewards.receipts import SignedReceipt, read_receipts, sign_receipt
from swarmp2p.testing.memory_swarm import MemorySwarm, open_memory_swarm, run_all
from tests.core import builders
from tests.peer.test_memory_swarm import FOUR_CHUNKS, NAMES, SEED, learners, start

ROUNDS = 3


def receipts_of(swarm: MemorySwarm, folder: Path, name: str) -> list[SignedReceipt]:
    members = {key.address for key in swarm.keys.values()}
    return read_receipts(folder / name / RECEIPTS_FILE, swarm.chain.domain, members)


async def test_all_know_who_served_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Else three rounds may be over before any receipt is given, and all receipts be those of peers that are about to leave.
    monkeypatch.setattr("swarmp2p.peer.metering.REST", 0.0)
    async with open_memory_swarm(
        start(FOUR_CHUNKS), NAMES, rounds=ROUNDS, folder=tmp_path, seed=SEED, grace=60
    ) as swarm:
        with trio.fail_after(60):
            await run_all(swarm, learners(FOUR_CHUNKS))
        addresses = {swarm.keys[name].address for name in NAMES}
        known = {name: receipts_of(swarm, tmp_path, name) for name in NAMES}
        for name in NAMES:
            own = [each for each in known[name] if each.client == swarm.keys[name].address]
            # Each fetched the genesis or updates from somebody.
            assert own
            assert all(each.body.size <= PLAUSIBLE * 6 * swarm.manifest.size for each in own)
            assert {each.body.round for each in own} <= set(range(1, ROUNDS + 1))
        # The last round's can be lost with a peer that has left; all earlier ones are heard by all.
        early = [{(each.body, each.client) for each in found if each.body.round < ROUNDS} for found in known.values()]
        assert early[0]
        assert all(each == early[0] for each in early)
        served = {body.server for body, _ in early[0]}
        assert served <= addresses
        assert sum(body.size for body, _ in early[0]) >= (len(NAMES) - 1) * 4 * (CHUNK_SIZE - 1024)


@pytest.mark.parametrize(
    "how", ["foreign key", "of another author", "too much", "long ago", "about oneself", "rubbish"]
)
async def test_receipts_that_nobody_takes(tmp_path: Path, how: str) -> None:
    names = NAMES[:2]
    async with open_memory_swarm(start(3), names, rounds=1, folder=tmp_path, seed=SEED) as swarm:
        alice, bob = (swarm.keys[name] for name in names)
        topic = topic_name(swarm.manifest.chain_id, swarm.manifest.contract, "receipts")
        with trio.fail_after(60):
            async with swarm.peer("alice", learners(3)["alice"]) as peer, swarm.peer("bob", learners(3)["bob"]):
                hosts = swarm.network.hosts
                await hosts[bob.address].wait_subscribers(topic, [alice.address])
                body, key = Receipt(1, alice.address, 10), bob
                if how == "foreign key":
                    key = Key.from_seed("nobody")
                elif how == "of another author":
                    body, key = Receipt(1, bob.address, 10), alice
                elif how == "too much":
                    body = Receipt(1, alice.address, 2**60)
                elif how == "long ago":
                    body = Receipt(2**30, alice.address, 10)
                elif how == "about oneself":
                    body = Receipt(1, bob.address, 10)
                data = encode_receipts([(body, sign_receipt(body, key, swarm.chain.domain).signature)])
                await hosts[bob.address].publish(topic, b"rubbish" if how == "rubbish" else data)
                good = Receipt(1, alice.address, 12)
                signed = sign_receipt(good, bob, swarm.chain.domain)
                await hosts[bob.address].publish(topic, encode_receipts([(good, signed.signature)]))
                async for _ in peer.rounds():
                    pass
        found = receipts_of(swarm, tmp_path, "alice")
        forged = [each for each in found if each.body == body]
        assert forged == []
        assert any(each.client == bob.address and each.body.size >= 12 for each in found)


ALICE, BOB, CAROL = (Key.from_seed(name) for name in NAMES[:3])
DOMAIN = b"\3" * 32


def metering() -> Metering:
    keys = [ALICE, BOB, *(Key.from_seed(f"member {number}") for number in range(210))]
    members = tuple(builders.member(index, address=key.address) for index, key in enumerate(keys))
    context = SimpleNamespace(
        view=replace(builders.collecting(), members=members), config=builders.CONFIG, domain=DOMAIN,
        manifest=SimpleNamespace(chain_id=1, contract=bytes(20)), fetcher=SimpleNamespace(received={}),
    )  # fmt: skip
    return Metering(cast(Context, context), Delivery(cast(Context, context)))


def message(count: int = 1, *, about: int = 3, **changes: Any) -> bytes:
    first = Receipt(about, ALICE.address, 9)
    bodies = [first, *(Receipt(3, Key.from_seed(f"member {number}").address, 9) for number in range(count - 1))]
    bodies[-1] = replace(bodies[-1], **changes)
    return encode_receipts([(body, sign_receipt(body, BOB, DOMAIN).signature) for body in bodies])


@pytest.mark.parametrize(
    "data",
    [
        message(200, round=4),
        message(200, round=2**30),
        message(200, size=2**60),
        message(200, server=ALICE.address),
        message(200, server=BOB.address),
        message(200, server=CAROL.address),
    ],
    ids=["two rounds", "of no round of now", "too much", "twice about one", "about oneself", "about no member"],
)
def test_what_is_implausible_costs_no_signature(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarmp2p.peer.metering.verify_receipt", None)
    assert not metering()._valid(BOB.address, data)
    assert not metering()._valid(CAROL.address, message())


def test_an_author_has_so_many_messages_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = metering()
    assert [meter._valid(BOB.address, message()) for _ in range(MOST_MESSAGES + 2)] == [True] * MOST_MESSAGES + [
        False
    ] * 2
    assert meter._valid(BOB.address, message(about=4)), "a new round"
    assert [metering()._valid(BOB.address, message(200)) for _ in range(2)] == [True, True]
    large = metering()
    assert [large._valid(BOB.address, message(200)) for _ in range(3)] == [True, True, False]
