"""A member that signs two things: its neighbours write both down, and a command takes its stake."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio

from swarmp2p.core.errors import ConfigError
from swarmp2p.core.messages import Attestation, Claim, RoundMessage, Signed
from swarmp2p.core.store import RoundStore
from swarmp2p.core.typed import signing_digest
from swarmp2p.identity import Key, keccak256
from swarmp2p.network.interface import topic_name
from swarmp2p.network.wire import encode_signed
from swarmp2p.peer import talk
from swarmp2p.peer.context import Context
from swarmp2p.peer.delivery import Delivery
from swarmp2p.peer.misconduct import Proof, keep_proof
from swarmp2p.peer.payments import open_money, prove
from swarmp2p.testing.memory_swarm import open_memory_swarm
from tests.control.paid_swarm import paid_swarm
from tests.core import builders
from tests.peer.test_memory_swarm import NAMES, SEED, SMALL, learners, start

CLAIM = Claim(3, b"\1" * 32, 0, 0, b"\2" * 32)


def signed(body: RoundMessage, key: Key, domain: bytes) -> Signed:
    return Signed(body, key.address, key.sign(signing_digest(body, domain, keccak256)))


def test_a_pair_is_written_down_once_and_reads_back(tmp_path: Path) -> None:
    key, domain = Key.from_seed("liar"), b"\3" * 32
    one, other = (signed(replace(CLAIM, digest=bytes([number]) * 32), key, domain) for number in (2, 9))
    current = RoundStore(3, CLAIM.inputs, 0.0, k=1)
    assert keep_proof(current, one, tmp_path / "evidence") is None
    current.add(one)
    assert keep_proof(current, one, tmp_path / "evidence") is None
    for _ in range(2):
        proof = keep_proof(current, other, tmp_path / "evidence")
        assert proof == Proof(one, other, 0)
    (path,) = (tmp_path / "evidence").iterdir()
    assert Proof.load(path, domain) == proof
    with pytest.raises(ConfigError, match="proves nothing in this swarm"):
        Proof.load(path, b"\4" * 32)
    for text in ("", "[]", '{"messages": ["00", "00"]}', path.read_text().replace(b"claim".hex(), "00" * 5)):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ConfigError, match="is no evidence"):
            Proof.load(tmp_path / "bad.json", domain)


async def test_peers_hear_a_contradiction_by_one_of_them(tmp_path: Path) -> None:
    """Dave runs as he should, and signs another claim besides, of the round that merges."""
    async with open_memory_swarm(start(SMALL), NAMES, rounds=1000, folder=tmp_path, seed=SEED) as swarm:
        dave, model = swarm.keys["dave"], swarm.chain.model
        topic = topic_name(swarm.manifest.chain_id, swarm.manifest.contract, "round")
        evidence = [tmp_path / name / "evidence" for name in NAMES[:3]]

        async def run(name: str) -> None:
            async with swarm.peer(name, learners()[name]) as peer:
                async for _ in peer.rounds():
                    pass

        async def lie() -> None:
            while not any(folder.exists() for folder in evidence):
                await swarm.chain.mined()
                host = swarm.network.hosts.get(dave.address)
                if host is None or not model.k:
                    continue
                for digest in (b"\7" * 32, b"\x08" * 32):
                    lie = signed(Claim(model.round, model.inputs, 0, 0, digest), dave, swarm.chain.domain)
                    await host.publish(topic, encode_signed(lie.body, lie.signature))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for name in NAMES:
                    nursery.start_soon(run, name)
                await lie()
                nursery.cancel_scope.cancel()
        found = [path for folder in evidence if folder.exists() for path in folder.iterdir()]
        assert {Proof.load(path, swarm.chain.domain).one.signer for path in found} == {dave.address}


async def test_the_proof_takes_the_stake_once(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with paid_swarm(tmp_path, 2, min_stake=50) as swarm:
            for member in range(2):
                await swarm.enrol(member)
            await swarm.submit(0, 1)
            view = await swarm.contract(0).state()
            claim = replace(CLAIM, round=view.round, inputs=view.inputs)
            pair = [signed(replace(claim, digest=bytes([n]) * 32), swarm.keys[1], swarm.domain) for n in (2, 9)]
            path = Proof(pair[0], pair[1], 0).save(tmp_path / "evidence")
            async with open_money(swarm.manifest, swarm.keys[0]) as money:
                assert await prove(money, [path]) == {swarm.keys[1].address: 50}
                assert await prove(money, [path]) == {}
                assert (await money.treasury.totals()).pool == 50


async def test_what_a_peer_answers_to_a_sync_spoils_only_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reading it raises; and a message that cannot be about the round is nothing, and no evidence either."""
    key, domain = Key.from_seed("liar"), b"\3" * 32
    view = replace(builders.merging(), members=(builders.member(0, address=key.address),))
    current = RoundStore(3, view.inputs, 0.0, members=view.members, k=2, submitted=1)
    stream = SimpleNamespace(send_all=trio.lowlevel.checkpoint, aclose=trio.lowlevel.checkpoint)
    woken: list[None] = []

    async def open_stream(*_: object) -> object:
        return stream

    async def nothing(*_: object) -> None:
        pass

    async def receive(*_: object) -> object:
        if answers:
            return answers.pop()
        raise KeyError("no multicodec has this code")

    context = SimpleNamespace(
        manifest=SimpleNamespace(chain_id=1, contract=bytes(20)), host=SimpleNamespace(open_stream=open_stream),
        view=view, domain=domain, store=SimpleNamespace(round=current, me=bytes(20)), wake=lambda: woken.append(None),
        home=SimpleNamespace(path=tmp_path), emit=lambda *_, **__: None,
    )  # fmt: skip
    claims = [replace(CLAIM, inputs=view.inputs, slice=slice_) for slice_ in (0, 5)]
    short = Attestation(3, view.inputs, 0, b"\5" * 32, (b"\6" * 32,), 1)
    bodies: list[RoundMessage] = [*claims, short]
    answers = [[(each.body, each.signature) for each in (signed(body, key, domain) for body in bodies)]]
    monkeypatch.setattr(talk, "send_sync_request", nothing)
    monkeypatch.setattr(talk, "receive_sync_response", receive)
    mouth = talk.Talk(cast(Context, context), Delivery(cast(Context, context)))
    for _ in range(2):
        await mouth._sync_with(key.address, 3)
    assert [each.body for each in current.messages()] == claims[:1]
    assert woken == [None]
    assert list(tmp_path.iterdir()) == []
