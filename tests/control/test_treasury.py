"""The treasury's client and the money of whole rounds, against the real contracts on an embedded chain."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from swarmp2p.control.abi_codec import artefact
from swarmp2p.control.contract import SwarmContract, create_swarm
from swarmp2p.control.creation import creation_code
from swarmp2p.control.history import read_history
from swarmp2p.control.manifest import Manifest
from swarmp2p.control.sender import Sender
from swarmp2p.control.treasury import Treasury, create_treasury, deploy_policy, deploy_token, deploy_treasury
from swarmp2p.control.treasury_history import read_treasury_history
from swarmp2p.core.errors import ConfigError, TransactionFailed, WrongChain
from swarmp2p.core.history import Decision, Expelled, Left, Record, Reopened, RolledBack, Stopped
from swarmp2p.core.messages import Attestation
from swarmp2p.core.money import (
    Claimed,
    Earned,
    Funded,
    Refunded,
    Settled,
    Slashed,
    Staked,
    Statement,
    Terms,
    Unstaked,
    UnstakeRequested,
)
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import NO_ADDRESS, StopReason, VoteKind
from swarmp2p.identity import Key, keccak256
from swarmp2p.peer.founding import check_founded
from swarmp2p.rewards.ledger import Ledger
from swarmp2p.rewards.policy import policy_of
from swarmp2p.rewards.settlement import RoundPay, Why, batches, expulsions, predict, unsettled
from tests.control.paid_swarm import SUPPLY, PaidSwarm, paid_swarm


def bare(record: Decision | Left) -> Record:
    """The event alone, without the time and the words of its transaction."""
    return record if isinstance(record, Left) else replace(record, block_timestamp=0, call=None)


async def foretold(swarm: PaidSwarm) -> tuple[RoundPay, ...]:
    """What the rounds that are not settled will pay."""
    last = await swarm.rpc.block_number()
    records = await read_history(swarm.rpc, swarm.manifest.contract, last)
    totals = await swarm.treasury(0).totals()
    settlements = unsettled(records, totals.settled_round)
    results = {each.round: await swarm.contract(0).result(each.round) for each in settlements}
    terms, policy = await swarm.treasury(0).terms(), policy_of(swarm.rewards.policy)
    return predict(settlements, results, expulsions(records), terms, policy, totals.pool)


async def settle(swarm: PaidSwarm, member: int = 0) -> tuple[RoundPay, ...]:
    """Settle all that there is, and hold the contract to what was foretold. Gives that."""
    pays = await foretold(swarm)
    treasury = swarm.treasury(member)
    before = {key.address: (await treasury.account_of(key.address)).owed for key in swarm.keys}
    records = await read_history(swarm.rpc, swarm.manifest.contract, await swarm.rpc.block_number())
    settled_round = (await treasury.totals()).settled_round
    for batch in batches(unsettled(records, settled_round), settled_round):
        await treasury.settle(batch)
    for key in swarm.keys:
        owed = sum(pay.total for each in pays for pay in each.pays if pay.account == key.address)
        assert (await treasury.account_of(key.address)).owed - before[key.address] == owed
    await check_books(swarm)
    return pays


async def check_books(swarm: PaidSwarm) -> None:
    """Events, storage and the token agree to the last unit."""
    treasury = swarm.treasury(0)
    records = await read_treasury_history(swarm.rpc, treasury.address, await swarm.rpc.block_number())
    ledger, totals = Ledger(records), await treasury.totals()
    assert (ledger.pool, ledger.owed, ledger.staked) == (totals.pool, totals.owed, totals.staked)
    for account in ledger.accounts:
        assert ledger.account(account) == await treasury.account_of(account)
    assert totals.pool + totals.owed + totals.staked == await swarm.balance(treasury.address)
    holders = [*(key.address for key in swarm.keys), treasury.address]
    assert sum([await swarm.balance(holder) for holder in holders]) == SUPPLY


def reasons(pay: RoundPay, swarm: PaidSwarm) -> list[Why | None]:
    """By member."""
    found = {each.account: each.why for each in pay.pays}
    return [found.get(key.address) for key in swarm.keys]


async def test_rounds_are_paid_as_foretold(tmp_path: Path) -> None:
    with trio.fail_after(120):
        async with paid_swarm(tmp_path, 3, policy="weight", attester_share=0.1, min_stake=50) as swarm:
            treasury = swarm.treasury(0)
            await treasury.fund(2500)
            for member in range(3):
                await swarm.enrol(member)
            assert await check_founded(swarm.rpc, swarm.manifest, swarm.contract(1)) == swarm.manifest.config()
            assert await swarm.play([0, 1, 2], [0, 1]) == 1
            assert await swarm.play([0, 1, 2], [1, 2], without=[2]) == 2
            first, second = await settle(swarm, 2)
            # 100 for the two that attested, the rest by weight 10 : 11 : 12, rounded down.
            assert [(each.share, each.bonus) for each in first.pays] == [(272, 50), (300, 50), (327, 0)]
            assert (first.pot, first.paid) == (1000, 999)
            # Left out of the merge, its attestation earns nothing either.
            assert [(each.share, each.bonus) for each in second.pays] == [(428, 0), (471, 100), (0, 0)]
            assert reasons(second, swarm) == [None, None, Why.EXCLUDED]
            # Who was left out is not waited for, and comes first so as to be in.
            await swarm.play([2, 0, 1], [0, 1])
            await swarm.play([0, 1, 2], [0, 1])
            third, fourth = await settle(swarm)
            assert third.pot == 2500 - 999 - 999
            # What rounding left is too little for anybody to get a unit of it.
            assert (third.paid, fourth.pot, fourth.paid) == (500, 2, 0)
            assert reasons(fourth, swarm) == [Why.NO_SHARE] * 3
            for member in (1, 2):
                owed = (await treasury.account_of(swarm.keys[member].address)).owed
                await swarm.treasury(member).claim()
                assert await swarm.balance(swarm.keys[member].address) == owed
            with pytest.raises(TransactionFailed) as caught:
                await swarm.treasury(1).claim()
            assert caught.value.error == "NothingOwed"
            await check_books(swarm)
            records = await read_treasury_history(swarm.rpc, treasury.address, await swarm.rpc.block_number())
            assert records[0] == Funded(swarm.keys[0].address, 2500)
            assert [each for each in records if isinstance(each, Staked)] == [Staked(k.address, 50) for k in swarm.keys]
            assert next(each for each in records if isinstance(each, Settled)) == Settled(1, 1000, 999)
            assert Earned(1, swarm.keys[0].address, 272, 50) in records
            assert len([each for each in records if isinstance(each, Claimed)]) == 2


async def test_who_is_expelled_is_not_paid(tmp_path: Path) -> None:
    with trio.fail_after(120):
        async with paid_swarm(tmp_path, 4, min_stake=50, unstake_delay=1000) as swarm:
            addresses = [key.address for key in swarm.keys]
            await swarm.treasury(0).fund(10_000)
            for member in range(4):
                await swarm.enrol(member)
            await swarm.submit(0, 1, 2, 3)
            await swarm.vote(VoteKind.EXPEL, [0, 1, 2], 3)  # after the seal: its update stays
            await swarm.merge([0, 1])
            await swarm.submit(2)
            await swarm.vote(VoteKind.EXPEL, [0, 1], 2)  # before the seal: its update is forced out
            await swarm.vote(VoteKind.EXPEL_AND_SLASH, [0, 1], 2)
            await swarm.submit(0, 1)
            await swarm.merge([0, 1])
            first, second = await settle(swarm)
            assert reasons(first, swarm) == [None, None, None, Why.EXPELLED]
            assert [each.total for each in first.pays] == [333, 333, 333, 0]
            assert reasons(second, swarm) == [None, None, Why.BANNED, None]
            assert [each.total for each in second.pays] == [0, 500, 500]

            pool = (await swarm.treasury(0).totals()).pool
            await swarm.treasury(1).slash(addresses[2])
            assert (await swarm.treasury(0).totals()).pool == pool + 50
            with pytest.raises(TransactionFailed) as caught:
                await swarm.treasury(2).withdraw_stake()
            assert caught.value.error == "NothingToWithdraw"
            with pytest.raises(TransactionFailed) as caught:
                await swarm.treasury(1).request_unstake()
            assert caught.value.error == "StillAMember"
            await swarm.treasury(3).request_unstake()
            with pytest.raises(TransactionFailed) as caught:
                await swarm.treasury(3).withdraw_stake()
            assert caught.value.error == "TooEarly"
            swarm.wall.now += 1001
            await swarm.treasury(3).withdraw_stake()
            assert await swarm.balance(addresses[3]) == 50
            await swarm.contract(1).leave()
            await check_books(swarm)

            last = await swarm.rpc.block_number()
            records = await read_history(swarm.rpc, swarm.manifest.contract, last)
            assert [bare(each) for each in records if isinstance(each, Expelled | Left)] == [
                Expelled(1, addresses[3], False, False),
                Expelled(2, addresses[2], False, True),
                Expelled(2, addresses[2], True, False),
                Left(3, addresses[1]),
            ]
            money = await read_treasury_history(swarm.rpc, swarm.rewards.treasury, last)
            kinds = UnstakeRequested | Unstaked | Slashed
            asked, slashed = swarm.wall.now - 1, [each for each in money if isinstance(each, kinds)]
            assert slashed[0] == Slashed(addresses[2], 50, False)
            assert isinstance(slashed[1], UnstakeRequested)
            assert 0 <= asked - slashed[1].unstake_at <= 10
            assert slashed[2] == Unstaked(addresses[3], 50)


async def test_after_the_end_the_rest_goes_back(tmp_path: Path) -> None:
    with trio.fail_after(120):
        async with paid_swarm(tmp_path, 3, min_stake=50) as swarm:
            addresses = [key.address for key in swarm.keys]
            await swarm.treasury(0).fund(2000)
            for member in range(3):
                await swarm.enrol(member)
            await swarm.play([0, 1, 2], [0, 1])
            await settle(swarm)
            await (await swarm.treasury(0).token()).transfer(addresses[1], 500)
            await swarm.treasury(1).fund(500)
            await swarm.play([0, 1, 2], [0, 1])
            await swarm.vote(VoteKind.ROLLBACK, [0, 1], arg=1)
            await swarm.vote(VoteKind.STOP, [0, 1])
            with pytest.raises(TransactionFailed) as caught:
                await swarm.treasury(1).refund()
            assert caught.value.error == "NotRefundable"
            await settle(swarm)
            # 1001 and 500 were in the pool, and 999 of it were paid.
            left = [(await swarm.treasury(0).account_of(address)).refundable for address in addresses]
            assert left == [1001 * 502 // 1501, 500 * 502 // 1501, 0]
            await swarm.treasury(1).refund()
            assert await swarm.balance(addresses[1]) == left[1]
            await swarm.treasury(2).withdraw_stake()
            await swarm.treasury(2).claim()
            assert await swarm.balance(addresses[2]) == 50 + 333 + 333
            await check_books(swarm)
            await swarm.vote(VoteKind.REOPEN, [0, 1], arg=9)
            await swarm.play([0, 1, 2], [0, 1])
            (pay,) = await settle(swarm)
            assert (pay.round, pay.pot) == (5, 502 - left[1])
            last = await swarm.rpc.block_number()
            records = await read_history(swarm.rpc, swarm.manifest.contract, last)
            view = await swarm.contract(0).state()
            first = (await swarm.contract(0).result(1)).merged
            assert [bare(each) for each in records if isinstance(each, RolledBack | Stopped | Reopened)] == [
                RolledBack(3, 1, first),
                Stopped(4, StopReason.VOTE, first, first),
                Reopened(4, first, 9),
            ]
            assert view.round == 6
            money = await read_treasury_history(swarm.rpc, swarm.rewards.treasury, last)
            assert Refunded(addresses[1], left[1]) in money


async def test_an_expulsion_after_the_end_takes_no_pay(tmp_path: Path) -> None:
    """What a round pays does not depend on who settles it when."""
    with trio.fail_after(60):
        async with paid_swarm(tmp_path, 3, max_rounds=1) as swarm:
            await swarm.treasury(0).fund(900)
            for member in range(3):
                await swarm.enrol(member)
            await swarm.play([0, 1, 2], [0, 1])
            before = await foretold(swarm)
            await swarm.vote(VoteKind.EXPEL, [0, 1], 2)
            assert await settle(swarm) == before
            assert [each.total for each in before[0].pays] == [300, 300, 300]


async def test_a_contradiction_costs_the_stake(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with paid_swarm(tmp_path, 2, min_stake=50) as swarm:
            for member in range(2):
                await swarm.enrol(member)
            await swarm.submit(0, 1)
            view = await swarm.contract(0).state()

            def says(merged: bytes) -> Statement:
                slices = (merged,)
                body = Attestation(view.round, view.inputs, 0, merged, slices, 1)
                signature = swarm.keys[1].sign(signing_digest(body, swarm.domain, keccak256))
                return Statement(True, view.round, view.inputs, 0, 0, bytes(32), merged, slices, 1, signature)

            one, other = says(b"\1" * 32), says(b"\2" * 32)
            with pytest.raises(TransactionFailed) as caught:
                await swarm.treasury(0).prove_contradiction(one, one, 0)
            assert caught.value.error == "NoContradiction"
            await swarm.treasury(0).prove_contradiction(one, other, 0)
            account = await swarm.treasury(0).account_of(swarm.keys[1].address)
            assert (account.stake, account.forfeit) == (0, True)
            await check_books(swarm)
            # What was slashed can be earned only: nobody gets it back.
            assert (await swarm.treasury(0).totals()).pool == 50
            assert (await swarm.treasury(0).account_of(swarm.keys[0].address)).refundable == 0


async def test_other_contracts_are_refused(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with paid_swarm(tmp_path, 1, f=0, min_updates=1) as swarm:
            rpc, secret, rewards = swarm.rpc, swarm.keys[0].secret, swarm.rewards
            terms, own = await swarm.treasury(0).terms(), "0x" + (await swarm.treasury(0).terms()).policy.hex()
            swarm_address = swarm.manifest.contract
            by, policy_by = rewards.treasury_transaction, rewards.policy_transaction

            async def check(address: bytes, terms: Terms, policy: str, by: bytes, policy_by: bytes = b"") -> None:
                await Treasury(rpc, address, secret).check(swarm_address, terms, policy, by, policy_by)

            async def refused(
                match: str, address: bytes, terms: Terms, policy: str, by: bytes, policy_by: bytes = b""
            ) -> None:
                with pytest.raises(WrongChain, match=match):
                    await check(address, terms, policy, by, policy_by)

            await check(rewards.treasury, terms, "equal", by, policy_by)
            await check(rewards.treasury, terms, own, by)
            no_treasury, no_policy = "not a swarm's treasury", 'not the reward policy "{}"'
            await refused(no_policy.format("weight"), rewards.treasury, terms, "weight", by, policy_by)
            await refused(no_treasury, rewards.treasury, replace(terms, per_round=1), "equal", by, policy_by)
            await refused(no_treasury, swarm_address, terms, "equal", swarm.manifest.transaction, policy_by)
            await refused("There is no contract", swarm.keys[0].address, terms, "equal", by, policy_by)
            await refused("but not at 0x", swarm_address, terms, "equal", by, policy_by)
            await refused("No node has the transaction", rewards.treasury, terms, "equal", b"\x01" * 32, policy_by)
            for without in ((b"", policy_by), (by, b"")):
                with pytest.raises(ConfigError, match="names no deployment transaction"):
                    await check(rewards.treasury, terms, "equal", *without)
            unbound = (await create_treasury(rpc, secret, terms, own)).treasury
            await refused("belongs to another swarm", unbound.address, terms, "equal", unbound.transaction, policy_by)
            with pytest.raises(TransactionFailed) as caught:
                await Treasury(rpc, unbound.address, secret).bind(swarm_address)
            assert caught.value.error == "CannotBind"
            greedy = replace(terms, policy=terms.token)
            made = (await create_treasury(rpc, secret, greedy, "0x" + terms.token.hex())).treasury
            await refused("but not at 0x", made.address, greedy, "equal", made.transaction, policy_by)

            # A contract that only answers like the treasury of this swarm, and a manifest that leads to it.
            compiled = artefact("SwarmTreasury")
            values = ("0x" + terms.token.hex(), own, 1000, 0, terms.unstake_delay)
            code = compiled.bytecode[:-1] + bytes([compiled.bytecode[-1] ^ 1])
            data = code + creation_code(compiled, values)[len(code) :]
            alike = await Sender(rpc, secret, compiled).send("deploy", None, data)
            assert alike.contract is not None
            await refused(no_treasury, alike.contract, terms, "equal", alike.hash, policy_by)
            changed = replace(swarm.manifest, rewards=replace(rewards, per_round=10**6))
            with pytest.raises(WrongChain, match="another manifest"):
                await check_founded(rpc, changed, swarm.contract(0))


async def test_a_contract_with_the_right_code_and_a_storage_of_its_own_is_refused(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with paid_swarm(tmp_path, 1, f=0, min_updates=1) as swarm:
            rpc, secret, rewards, manifest = swarm.rpc, swarm.keys[0].secret, swarm.rewards, swarm.manifest

            async def code_at(address: bytes) -> bytes:
                return bytes.fromhex((await rpc.call("eth_getCode", "0x" + address.hex(), "latest"))[2:])

            async def stored(address: bytes, slot: int) -> int:
                return int(await rpc.call("eth_getStorageAt", "0x" + address.hex(), hex(slot), "latest"), 16)

            async def storage(address: bytes) -> dict[int, int]:
                """What is in the first places, and where long bytes of these lie."""
                found = {slot: await stored(address, slot) for slot in range(48)}
                for slot, value in list(found.items()):
                    if value % 2 and 64 < value < 4096:
                        start = int.from_bytes(keccak256(slot.to_bytes(32, "big")), "big")
                        found |= {at: await stored(address, at) for at in range(start, start + (value // 2 + 31) // 32)}
                return {slot: value for slot, value in found.items() if value}

            async def alike(address: bytes) -> tuple[bytes, bytes]:
                """A contract of the same code and storage, but for one place that its deployer has filled besides."""
                code, place = await code_at(address), 2**100
                filled = {**await storage(address), place: 10**6}
                words = [(value.to_bytes(32, "big"), slot.to_bytes(32, "big")) for slot, value in filled.items()]
                writes = b"".join(b"\x7f" + value + b"\x7f" + slot + b"\x55" for value, slot in words)
                length, start = len(code).to_bytes(2, "big"), (len(writes) + 15).to_bytes(2, "big")
                copies = b"\x61" + length + b"\x61" + start + b"\x60\x00\x39" + b"\x61" + length + b"\x60\x00\xf3"
                data = writes + copies + code
                receipt = await Sender(rpc, secret, artefact()).send(f"deploy:{address.hex()}", None, data)
                assert receipt.contract is not None
                assert await code_at(receipt.contract) == code
                assert await stored(receipt.contract, place) == 10**6
                return receipt.contract, receipt.hash

            async def refused(changed: Manifest, match: str) -> None:
                with pytest.raises(WrongChain, match=match):
                    await check_founded(rpc, changed, SwarmContract(rpc, changed.contract, secret))

            contract, transaction = await alike(manifest.contract)
            assert await SwarmContract(rpc, contract, secret).check(manifest.digest) == manifest.config()
            await refused(manifest.with_contract(manifest.chain_id, contract, transaction), "not a swarm with")
            # Not by the honest one's transaction either, nor the honest one by any other.
            await refused(manifest.with_contract(manifest.chain_id, contract, manifest.transaction), "but not at 0x")
            for other in (transaction, rewards.treasury_transaction):
                await refused(manifest.with_contract(manifest.chain_id, manifest.contract, other), "not a swarm with")

            terms = await swarm.treasury(0).terms()
            contract, transaction = await alike(rewards.treasury)
            with pytest.raises(WrongChain, match="not a swarm's treasury"):
                await Treasury(rpc, contract, secret).check(
                    manifest.contract, terms, "equal", transaction, rewards.policy_transaction
                )
            policy, transaction = await alike(terms.policy)
            theirs = replace(terms, policy=policy)
            made = (await create_treasury(rpc, secret, theirs, "0x" + policy.hex())).treasury
            with pytest.raises(WrongChain, match='not the reward policy "equal"'):
                await Treasury(rpc, made.address, secret).check(
                    manifest.contract, theirs, "equal", made.transaction, transaction
                )


async def test_what_deployed_a_swarm_has_to_be_named_and_remembered(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with paid_swarm(tmp_path, 1, f=0, min_updates=1) as swarm:
            rpc, manifest, contract = swarm.rpc, swarm.manifest, swarm.contract(0)
            unnamed = replace(manifest, transaction=b"")
            with pytest.raises(ConfigError, match="names no deployment transaction of a swarm"):
                await check_founded(rpc, unnamed, contract)
            unnamed = manifest.with_treasury(swarm.rewards.treasury)
            with pytest.raises(ConfigError, match="names no deployment transaction of a swarm's treasury"):
                await check_founded(rpc, unnamed, contract)
            with pytest.raises(WrongChain, match=r"is forgotten\. Some nodes forget old transactions"):
                await check_founded(rpc, replace(manifest, transaction=b"\x01" * 32), contract)
            funding = await swarm.treasury(0).fund(5)
            with pytest.raises(WrongChain, match="it deploys nothing"):
                await check_founded(rpc, replace(manifest, transaction=funding.hash), contract)
            other = replace(manifest.config(), grace=31)
            deployed = await create_swarm(rpc, swarm.keys[0].secret, other)
            with pytest.raises(WrongChain, match="its code or its arguments differ"):
                await SwarmContract(rpc, deployed.address, swarm.keys[0].secret).check_creation(
                    manifest.config(), deployed.transaction
                )
            await SwarmContract(rpc, deployed.address, swarm.keys[0].secret).check_creation(other, deployed.transaction)


async def test_of_a_policy_of_ones_own_there_has_to_be_a_contract(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with paid_swarm(tmp_path, 1, f=0, min_updates=1) as swarm:
            rpc, secret, rewards = swarm.rpc, swarm.keys[0].secret, swarm.rewards
            policy = await deploy_policy(rpc, secret, artefact("WeightShares"))
            terms = replace(await swarm.treasury(0).terms(), policy=policy)
            made = await create_treasury(rpc, secret, terms, "0x" + policy.hex())
            assert made.policy is None
            await Treasury(rpc, made.treasury.address, secret).check(
                NO_ADDRESS, terms, "0x" + policy.hex(), made.treasury.transaction
            )
            assert rewards.policy_transaction


async def test_money_that_is_not_there(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with paid_swarm(tmp_path, 2) as swarm:
            poor = swarm.treasury(1)
            with pytest.raises(TransactionFailed, match=r"has less than 7 of the token .* Give it some") as caught:
                await poor.fund(7)
            assert caught.value.error == "InsufficientBalance"
            with pytest.raises(TransactionFailed) as caught:
                await poor.claim()
            assert caught.value.error == "NothingOwed"
            token = await poor.token()
            # An approval that an earlier try left is no obstacle.
            await (await swarm.treasury(0).token()).approve(poor.address, 3)
            await swarm.treasury(0).fund(7)
            assert await token.allowance(swarm.keys[0].address, poor.address) == 0
            assert (await token.symbol(), await token.decimals()) == ("SWM", 18)
            nowhere = Terms(Key.from_seed("nobody").address, NO_ADDRESS, 0, 0, 0)
            with pytest.raises(ConfigError, match="no token"):
                await deploy_treasury(swarm.rpc, swarm.keys[0].secret, nowhere, "equal")
            terms = replace(await poor.terms(), unstake_delay=366 * 86_400)
            with pytest.raises(TransactionFailed, match="BadTerms"):
                await deploy_treasury(swarm.rpc, swarm.keys[0].secret, terms, "equal")
            other = await deploy_token(swarm.rpc, swarm.keys[0].secret, "Other", "O", 5, swarm.keys[1].address)
            with pytest.raises(WrongChain, match="refuses totals"):
                await Treasury(swarm.rpc, other, swarm.keys[1].secret).totals()
