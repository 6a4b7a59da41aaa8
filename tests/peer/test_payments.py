"""What people do with a swarm's money, on an embedded chain."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from swarmp2p.core.errors import ConfigError, TransactionFailed, WrongChain
from swarmp2p.core.types import VoteKind
from swarmp2p.peer import payments
from swarmp2p.peer.payments import claim, open_money, read_meter, read_statement, refund, withdraw
from swarmp2p.rewards.settlement import Why
from swarmp2p.rewards.statement import PayStatement
from tests.control.paid_swarm import SUPPLY, PaidSwarm, paid_swarm


async def statement(swarm: PaidSwarm) -> PayStatement:
    """The statement; its accounts add up to the totals, and what is foretold to what is paid."""
    found = await read_statement(swarm.manifest)
    held = [each.held for each in found.accounts]
    assert sum(each.owed for each in held) == found.totals.owed
    assert sum(each.stake for each in held) == found.totals.staked
    for each in found.accounts:
        assert each.earned == each.claimed + each.held.owed
    assert sum(each.unsettled for each in found.accounts) == sum(r.pay.paid for r in found.rounds if not r.settled)
    return found


async def test_from_the_pool_to_the_last_stake(tmp_path: Path) -> None:
    with trio.fail_after(120):
        async with paid_swarm(
            tmp_path, 4, policy="weight", attester_share=0.1, min_stake=50, unstake_delay=1000, max_rounds=5
        ) as swarm:
            addresses = [key.address for key in swarm.keys]
            async with open_money(swarm.manifest, swarm.keys[0]) as money:
                assert await payments.pay_in(money, 2600) == 2600
                assert await payments.stake(money, 7) == 7
                assert money.unit.show(10**18) == f"{10**18} (1 SWM)"
                with pytest.raises(TransactionFailed, match="has not stopped"):
                    await refund(money)
            for member in range(4):
                await swarm.enrol(member)
            await swarm.play([0, 1, 2, 3], [0, 1], without=[3])
            await swarm.vote(VoteKind.EXPEL_AND_SLASH, [0, 1, 2], 3)
            await swarm.play([0, 1, 2], [1, 2])

            before = await statement(swarm)
            assert [(each.settled, each.pay.pot) for each in before.rounds] == [(False, 1000), (False, 1000)]
            assert [each.why for each in before.rounds[0].pay.pays] == [None, None, None, Why.EXCLUDED]
            assert before.account(addresses[3]) is not None
            async with open_money(swarm.manifest, swarm.keys[1]) as money:
                paid = await claim(money)
                assert (paid.rounds, paid.slashed) == (2, (addresses[3],))
                foretold = before.account(addresses[1])
                assert foretold is not None
                assert paid.amount == foretold.unsettled == await swarm.balance(addresses[1])
                with pytest.raises(TransactionFailed, match="Nothing is owed to 0x") as caught:
                    await claim(money)
                assert caught.value.error == "NothingOwed"
                with pytest.raises(TransactionFailed, match="Leave first"):
                    await withdraw(money)
            after = await statement(swarm)
            assert [replace(each, settled=False) for each in after.rounds] == list(before.rounds)
            for each in after.accounts:
                earlier = before.account(each.account)
                assert earlier is not None
                assert (each.earned, each.unsettled) == (earlier.unsettled, 0)
            slashed = after.account(addresses[3])
            assert slashed is not None
            assert (slashed.slashed, slashed.held.stake) == (50, 0)

            await swarm.contract(2).leave()
            async with open_money(swarm.manifest, swarm.keys[2]) as money:
                asked = await withdraw(money)
                assert asked.amount == 50
                again = await withdraw(money)
                assert again == asked
                assert asked.wait_until > swarm.wall.now
            async with open_money(swarm.manifest, swarm.keys[3]) as money:
                with pytest.raises(TransactionFailed, match="has no stake"):
                    await withdraw(money)

            # Round 3 is settled by the refund.
            await swarm.play([0, 1], [0, 1])
            await swarm.vote(VoteKind.STOP, [0, 1])
            async with open_money(swarm.manifest, swarm.keys[2]) as money:
                assert await withdraw(money) == payments.Withdrawal(50, 0)
                await claim(money)
            async with open_money(swarm.manifest, swarm.keys[0]) as money:
                back = await refund(money)
                with pytest.raises(TransactionFailed, match="Nothing is left"):
                    await refund(money)
                await withdraw(money)
                await claim(money)
            last = await statement(swarm)
            assert all(each.settled for each in last.rounds)
            assert (last.totals.pool > 0, last.totals.staked) == (True, 50)
            founder = last.account(addresses[0])
            assert founder is not None
            assert (founder.funded, founder.refunded) == (2600, back)
            balances = [await swarm.balance(address) for address in addresses]
            # Everybody has what it earned and its stake; what was slashed and never earned stays.
            assert sum(balances) == SUPPLY - last.totals.pool - last.totals.staked - last.totals.owed

            measured = {row.account: row for row in (await read_meter(swarm.manifest, tmp_path / "none")).totals()}
            assert [measured[address].submitted for address in addresses] == [3, 3, 2, 1]
            assert [measured[address].excluded for address in addresses] == [0, 0, 0, 1]
            assert [measured[address].attestations for address in addresses] == [2, 3, 1, 0]
            assert measured[addresses[0]].samples == 30


async def test_a_policy_of_ones_own_is_not_foretold(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with paid_swarm(tmp_path / "first", 1, f=0, min_updates=1) as other:
            policy = (await other.treasury(0).terms()).policy
            swarm = await _second(other, tmp_path / "second", "0x" + policy.hex())
            await swarm.treasury(0).fund(5000)
            await swarm.enrol(0)
            await swarm.play([0], [0])
            found = await read_statement(swarm.manifest)
            assert (found.rounds, found.waiting) == ((), (1,))
            async with open_money(swarm.manifest, swarm.keys[0]) as money:
                assert (await claim(money)).amount == 1000
            found = await statement(swarm)
            assert [each.pay.paid for each in found.rounds] == [1000]
            assert found.waiting == ()


async def _second(swarm: PaidSwarm, folder: Path, policy: str) -> PaidSwarm:
    from tests.control.paid_swarm import found_paid

    return await found_paid(swarm.rpc, folder, 1, swarm.wall, policy=policy, f=0, min_updates=1)


async def test_what_is_not_as_the_manifest_says(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with paid_swarm(tmp_path / "a", 1, f=0, min_updates=1) as swarm:
            with pytest.raises(ConfigError, match="This swarm pays nothing"):
                await read_statement(replace(swarm.manifest, rewards=None))
            other = await _second(swarm, tmp_path / "b", "weight")
            wrong = replace(swarm.manifest, rewards=replace(swarm.rewards, treasury=other.rewards.treasury))
            with pytest.raises(WrongChain, match="configuration is not the manifest's"):
                await read_statement(wrong)
