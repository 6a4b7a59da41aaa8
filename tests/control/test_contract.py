"""The contract client against the real contract on a real (embedded) chain."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.control.abi_codec import artefact, decode_state
from swarmp2p.control.contract import SwarmContract, deploy
from swarmp2p.control.rpc import RpcClient
from swarmp2p.core.errors import ChainUnreachable, ConfigError, TransactionFailed, WrongChain
from swarmp2p.core.messages import Invite, Vote
from swarmp2p.core.typed import Domain, domain_separator
from swarmp2p.core.types import NO_DIGEST, Phase, ReportFlag, Status, VoteKind
from swarmp2p.core.view import Member, View
from swarmp2p.identity import Key, keccak256
from tests.control.swarm_on_chain import Swarm, chain, config, swarm

REPORT = ReportFlag.HAS_REPORT | ReportFlag.IMPROVED


async def _enrolled(s: Swarm) -> list[SwarmContract]:
    contracts = [s.contract(member) for member in range(len(s.keys))]
    for member, contract in enumerate(contracts):
        await s.enrol(member, contract)
    return contracts


async def test_two_rounds_and_an_abort_with_real_signatures(tmp_path: Path) -> None:
    async with swarm(tmp_path, 4) as s:
        contracts = await _enrolled(s)
        assert await contracts[0].config() == s.config
        assert await contracts[0].check(s.config.manifest) == s.config
        addresses = await contracts[0].addresses()
        assert addresses == {key.address: (f"/ip4/192.0.2.{i}/tcp/4001",) for i, key in enumerate(s.keys)}
        for round_ in (1, 2):
            for number, contract in enumerate(contracts):
                receipt = await contract.submit_update(
                    round_, bytes([round_, number]) * 16, 10 + number, -1_500_000, REPORT
                )
                assert receipt.gas_used > 21_000
            view = await contracts[0].state()
            assert (view.round, view.phase, view.k) == (round_, Phase.MERGING, 4)
            assert [member.digest for member in view.members] == [bytes([round_, i]) * 16 for i in range(4)]
            leaders = await contracts[3].leaders(round_)
            assert len(leaders) == 4
            assert set(leaders) <= {key.address for key in s.keys}
            slices = [bytes([round_, 100 + j]) * 16 for j in range(4)]
            merged = bytes([round_, 200]) * 16
            # Signers in any order: the client sorts them.
            signatures = s.attest(view, merged, slices, [3, 0])
            await contracts[round_].finalize(round_, 0, merged, slices, signatures)
            result = await contracts[0].result(round_)
            assert (result.merged, result.included, result.parent_round) == (merged, 15, round_ - 1)
        view = await contracts[0].state()
        assert (view.round, view.head, view.head_round) == (3, bytes([2, 200]) * 16, 2)
        assert view.metric_sum == 0
        for contract in contracts:
            await contract.submit_update(3, b"\x07" * 32, 1, -2_000_000, REPORT)
        view = await contracts[0].state()
        assert view.metric_sum < 0
        await contracts[0].finalize(3, 0, NO_DIGEST, [], s.attest(view, NO_DIGEST, [], [1, 2]))
        assert (await contracts[0].state()).round == 4
        assert (await contracts[0].state()).head_round == 2


async def test_domain_separator_is_the_twins(tmp_path: Path) -> None:
    async with swarm(tmp_path) as s:
        view = await s.contract(0).state()
        assert s.domain == domain_separator(Domain(s.chain_id, s.address, view.salt), keccak256)


async def test_deadlines_pass_with_the_wall(tmp_path: Path) -> None:
    async with swarm(tmp_path, 3, min_updates=2, max_missed=1) as s:
        contracts = await _enrolled(s)
        with pytest.raises(TransactionFailed) as caught:
            await contracts[0].advance()
        assert caught.value.error == "NothingDue"
        for contract in contracts[:2]:
            await contract.submit_update(1, b"\x07" * 32, 1, 0, ReportFlag(0))
        s.wall.now += s.config.collect_timeout + 1
        await contracts[1].advance()
        s.wall.now += s.config.grace + 1
        await contracts[1].advance()
        view = await contracts[0].state()
        assert view.phase is Phase.MERGING
        assert view.block_timestamp == int(s.wall.now)


async def test_refusals_cost_nothing_and_name_the_contracts_error(tmp_path: Path) -> None:
    async with swarm(tmp_path) as s:
        contracts = await _enrolled(s)
        before = int(await s.rpc.call("eth_getTransactionCount", "0x" + s.keys[0].address.hex(), "latest"), 16)
        with pytest.raises(TransactionFailed, match=r"WrongRound\(1\)") as caught:
            await contracts[0].submit_update(5, b"\x07" * 32, 1, 0, ReportFlag(0))
        assert caught.value.error == "WrongRound"
        with pytest.raises(TransactionFailed, match="BadWeight"):
            await contracts[0].submit_update(1, b"\x07" * 32, 1001, 0, ReportFlag(0))
        with pytest.raises(TransactionFailed, match="WrongPhase"):
            await contracts[0].finalize(1, 0, b"\x01" * 32, [], [])
        with pytest.raises(TransactionFailed, match="AlreadyActive"):
            await contracts[0].ready()
        after = int(await s.rpc.call("eth_getTransactionCount", "0x" + s.keys[0].address.hex(), "latest"), 16)
        assert after == before
        stranger = SwarmContract(s.rpc, s.address, Key.generate().secret)
        with pytest.raises(TransactionFailed, match=r"NotAMember|NotAuthorised"):
            await stranger.submit_update(1, b"\x07" * 32, 1, 0, ReportFlag(0))
        with pytest.raises(ConfigError, match="257"):
            await contracts[0].set_addresses(["/" + "x" * 256])


async def test_no_money_is_said(tmp_path: Path) -> None:
    async with swarm(tmp_path) as s:
        poor = Key.generate()
        with pytest.raises(TransactionFailed, match="not enough money") as caught:
            await deploy(s.rpc, poor.secret, config([poor.address]))
        assert "faucet" in caught.value.mend


async def test_a_bad_configuration_is_refused_by_the_constructor(tmp_path: Path) -> None:
    async with swarm(tmp_path) as s:
        with pytest.raises(TransactionFailed, match="BadConfig"):
            await deploy(s.rpc, s.keys[0].secret, config([s.keys[0].address], f=3))


async def test_the_same_view_until_something_changes(tmp_path: Path) -> None:
    async with swarm(tmp_path) as s:
        contract = s.contract(0)
        first = await contract.state()
        assert await contract.state() is first
        changed: list[View] = []

        async def wait() -> None:
            changed.append(await contract.wait_for_change(first, 30))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                # A block in which nothing of ours happens, then one with something.
                await s.rpc.call("swarm_faucet", "0x" + "12" * 20)
                await s.enrol(0, s.contract(0))
        assert len(changed[0].members) == 1
        assert changed[0].members[0].status is Status.ACTIVE
        assert (await contract.wait_for_change(changed[0], 0.05)).members == changed[0].members


async def test_wrong_chain_contract_and_manifest(tmp_path: Path) -> None:
    async with swarm(tmp_path) as s:
        with pytest.raises(WrongChain, match="no contract"):
            await SwarmContract(s.rpc, b"\x11" * 20, s.keys[0].secret).check()
        with pytest.raises(WrongChain, match="no swarm's contract"):
            await SwarmContract(s.rpc, b"\x11" * 20, s.keys[0].secret).state()
        with pytest.raises(WrongChain, match="another manifest"):
            await s.contract(0).check(b"\x99" * 32)
        # The identity precompile answers whatever it is asked.
        with pytest.raises(WrongChain):
            await SwarmContract(s.rpc, bytes(19) + b"\x04", s.keys[0].secret).state()
        async with RpcClient(s.rpc.urls, chain_id=1) as other:
            with pytest.raises(WrongChain, match="31415"):
                await SwarmContract(other, s.address, s.keys[0].secret).state()


async def test_many_transactions_at_once_get_different_nonces(tmp_path: Path) -> None:
    async with swarm(tmp_path) as s:
        contracts = await _enrolled(s)
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(contracts[0].set_addresses, [f"/ip4/192.0.2.{number}/tcp/1"])
        count = int(await s.rpc.call("eth_getTransactionCount", "0x" + s.keys[0].address.hex(), "latest"), 16)
        assert count == 14  # deployed, enrolled, twelve more


async def test_nobody_answers(tmp_path: Path) -> None:
    async with chain(tmp_path) as endpoint:
        url = endpoint.url
    async with RpcClient([url, "http://127.0.0.1:9"]) as rpc:
        with pytest.raises(ChainUnreachable, match=url) as caught:
            await SwarmContract(rpc, b"\x11" * 20, Key.generate().secret).state()
        assert "127.0.0.1:9" in str(caught.value)
        assert "swarm.toml" in caught.value.mend


def test_artefact_has_every_field_of_ours() -> None:
    state = next(entry for entry in artefact().entries if entry.get("name") == "state")
    components = state["outputs"][0]["components"]
    assert len(components) >= len(fields(View)) - 1
    members = next(entry for entry in components if entry["name"] == "members")
    assert len(members["components"]) == len(fields(Member))
    own = next(entry for entry in artefact().entries if entry.get("name") == "config")
    names = [entry["name"] for entry in own["outputs"][0]["components"]]
    assert [name.replace("_", "") for name in (field.name for field in fields(config([])))] == [
        name.lower() for name in names
    ]


@given(st.binary(max_size=4000))
def test_other_bytes_are_no_state(data: bytes) -> None:
    with pytest.raises(WrongChain):
        decode_state(data)


def _words(values: Any) -> bytes:
    return b"".join(int(value).to_bytes(32, "big") for value in values)


def empty_state(count: int = 0) -> bytes:
    """An output of state() in which everything is 0, that says to have so many members and has none."""
    state = next(entry for entry in artefact().entries if entry.get("name") == "state")
    names = [entry["name"] for entry in state["outputs"][0]["components"]]
    words = [32] + [0] * len(names)
    words[1 + names.index("members")] = len(names) * 32
    return _words([*words, count])


def test_a_member_count_beyond_the_bytes_is_refused() -> None:
    assert decode_state(empty_state()).members == ()
    for count in (1, 257, 2**255):
        with pytest.raises(WrongChain):
            decode_state(empty_state(count))


async def test_intents_of_votes_and_invitations_name_their_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction of one ballot that is stuck must not be sent for another ballot of the same number."""
    intents: list[str] = []

    async def send(intent: str, *_: object, **__: object) -> None:
        intents.append(intent)

    async with RpcClient(["http://127.0.0.1:9"]) as rpc:
        contract = SwarmContract(rpc, b"\x01" * 20, Key.from_seed("intents").secret)
        monkeypatch.setattr(contract._sender, "send", send)
        one, other = Vote(VoteKind.STOP, bytes(20), 0, 3, 9), Vote(VoteKind.EXPEL, b"\x02" * 20, 0, 3, 9)
        for vote in (one, other, one):
            await contract.execute(vote, [bytes(65)])
        for stake in (0, 1, 0):
            await contract.enrol(Invite(b"\x02" * 20, 5, 1, 9, stake, bytes(32), 9), [bytes(65)], [])
    assert all(intent.startswith("vote:3:") for intent in intents[:3])
    assert all(intent.startswith("enrol:5:") for intent in intents[3:])
    assert [len(set(each)) for each in (intents[:3], intents[3:])] == [2, 2]
    assert (intents[0], intents[3]) == (intents[2], intents[5])
