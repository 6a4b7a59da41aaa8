// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRewardPolicy} from "../../src/interfaces/IRewardPolicy.sol";
import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

contract SettleTest is TreasuryTest {
    event Settled(uint32 indexed round, uint256 pot, uint256 paid);
    event Earned(uint32 indexed round, address indexed account, uint256 share, uint256 bonus);

    function setUp() public {
        start();
        fund(9, 100_000);
    }

    function refusesToSettle(ISwarmTreasury.Settlement[] memory s, bytes4 selector, uint256 round) private {
        refuses(selector, round);
        treasury.settle(s);
    }

    /* SHARES */

    function testEqual() public {
        playRound(4, 0);
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        for (uint256 i; i < 4; ++i) {
            vm.expectEmit();
            emit Earned(1, account(i), 250, 0);
        }
        vm.expectEmit();
        emit Settled(1, 1000, 1000);
        treasury.settle(s);
        for (uint256 i; i < 4; ++i) {
            owedIs(i, 250);
        }
        poolIs(99_000);
        ISwarmTreasury.Totals memory t = treasury.totals();
        vm.assertEq(t.owed, 1000);
        vm.assertEq(t.settledRound, 1);
        // Parts are rounded down.
        vm.assertEq(holding(9).refundable, 98_999);
        booksBalance();
    }

    function testDustStays() public {
        playRound(3, 0);
        settle(1);
        owedIs(0, 333);
        poolIs(99_001);
        booksBalance();
    }

    function testExcludedAreUnpaid() public {
        playRound(4, 4);
        settle(1);
        owedIs(0, 333);
        owedIs(2, 0);
    }

    function testWeights() public {
        startWithPolicy(weightShares());
        fund(9, 100_000);
        playRound(3, 0);
        settle(1);
        owedIs(0, uint256(1000) * 100 / 303);
        owedIs(1, uint256(1000) * 101 / 303);
        owedIs(2, uint256(1000) * 102 / 303);
    }

    function testRoundsAddUp() public {
        playRound(4, 0);
        playRound(2, 0);
        treasury.settle(settlements(1, 2));
        owedIs(0, 750);
        owedIs(3, 250);
        vm.assertEq(treasury.totals().settledRound, 2);
    }

    /* ATTESTERS */

    function testBonus() public {
        startWithBonus(2000);
        fund(9, 100_000);
        playRound(4, 0, 3);
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        vm.expectEmit();
        emit Earned(1, account(0), 200, 100);
        treasury.settle(s);
        owedIs(0, 300);
        owedIs(1, 300);
        owedIs(2, 200);
        owedIs(3, 200);
    }

    /// @dev Attesters that are not paid leave their part to those that are, or to all.
    function testBonusOfTheUnpaid() public {
        startWithBonus(2000);
        fund(9, 100_000);
        // Member 3 is excluded; 7 submitted nothing.
        playRound(4, 8, 1 | 8 | 128);
        settle(1);
        owedIs(0, 200 + 266);
        owedIs(1, 266);
        owedIs(3, 0);
        playRound(4, 8, 8 | 128);
        settle(2);
        owedIs(1, 266 + 333);
    }

    function testAllForAttesters() public {
        startWithBonus(10_000);
        fund(9, 100_000);
        playRound(4, 0, 6);
        settle(1);
        owedIs(0, 0);
        owedIs(1, 500);
        owedIs(2, 500);
    }

    /* EXPULSIONS */

    function testExpelledBefore() public {
        enrol(1);
        swarm.expel(account(1), false);
        playRound(4, 0);
        settle(1);
        owedIs(0, 333);
        owedIs(1, 0);
    }

    function testExpelledIn() public {
        enrol(1);
        submit(0);
        submit(1);
        swarm.expel(account(1), false);
        swarm.merge(0, 0);
        settle(1);
        owedIs(0, 1000);
        owedIs(1, 0);
    }

    function testExpelledAfter() public {
        enrol(1);
        playRound(4, 0);
        swarm.expel(account(1), true);
        playRound(4, 0);
        settle(1);
        owedIs(1, 250);
        settle(2);
        owedIs(1, 250);
        owedIs(0, 583);
    }

    function testAllExpelled() public {
        submit(0);
        swarm.expel(account(0), false);
        swarm.merge(0, 0);
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        vm.expectEmit();
        emit Settled(1, 1000, 0);
        treasury.settle(s);
        poolIs(100_000);
        vm.assertEq(treasury.totals().settledRound, 1);
    }

    /* THE POOL RUNS DRY */

    function testDry() public {
        start();
        fund(9, 1500);
        for (uint256 i; i < 3; ++i) {
            playRound(4, 0);
        }
        ISwarmTreasury.Settlement[] memory s = settlements(1, 2);
        vm.expectEmit();
        emit Settled(1, 1000, 1000);
        vm.expectEmit();
        emit Settled(2, 500, 500);
        treasury.settle(s);
        s = settlements(3);
        vm.expectEmit();
        emit Settled(3, 0, 0);
        treasury.settle(s);
        owedIs(0, 375);
        poolIs(0);
        vm.assertEq(holding(9).refundable, 0);
        booksBalance();
    }

    /// @dev Less than one unit a member.
    function testTooLittle() public {
        start();
        fund(9, 3);
        playRound(4, 0);
        settle(1);
        owedIs(0, 0);
        poolIs(3);
    }

    /* ORDER */

    function testNoneLeftOut() public {
        playRound(4, 0);
        playRound(4, 0);
        refusesToSettle(settlements(2), ISwarmTreasury.WrongSettlement.selector, 1);
        refusesToSettle(settlements(2, 1), ISwarmTreasury.WrongSettlement.selector, 1);
        settle(1);
        settle(2);
    }

    function testSettledAlready() public {
        playRound(4, 0);
        playRound(4, 0);
        settle(1);
        // Somebody else has settled round 1 in the meantime.
        treasury.settle(settlements(1, 2));
        owedIs(0, 500);
        treasury.settle(settlements(1, 2));
        settle(1);
        owedIs(0, 500);
    }

    /// @dev Once is once, within one call as well.
    function testTwiceInOne() public {
        playRound(4, 0);
        treasury.settle(settlements(1, 1));
        owedIs(0, 250);
    }

    function testAbortedArePassedOver() public {
        playRound(4, 0);
        swarm.abort();
        swarm.abort();
        playRound(4, 0);
        treasury.settle(settlements(1, 4));
        owedIs(0, 500);
        vm.assertEq(treasury.totals().settledRound, 4);
    }

    /// @dev A row too long for one transaction is passed over in pieces.
    function testManyAborted() public {
        swarm.abortMany(1000);
        playRound(4, 0);
        settle(500);
        vm.assertEq(treasury.totals().settledRound, 500);
        settle(1000);
        settle(1001);
        owedIs(0, 250);
    }

    function testAbortedHaveNoEntries() public {
        submit(0);
        swarm.abort();
        refusesToSettle(settlements(1), ISwarmTreasury.WrongEntries.selector, 1);
    }

    /// @dev The current round would lose its money.
    function testNotTheCurrent() public {
        playRound(4, 0);
        refusesToSettle(settlements(2), ISwarmTreasury.WrongSettlement.selector, 1);
        refusesToSettle(settlements(3), ISwarmTreasury.WrongSettlement.selector, 2);
        refusesToSettle(settlements(type(uint32).max), ISwarmTreasury.WrongSettlement.selector, 2);
        settle(1);
        refusesToSettle(settlements(2), ISwarmTreasury.WrongSettlement.selector, 2);
        playRound(4, 0);
        settle(2);
        owedIs(0, 500);
    }

    function testStopped() public {
        submit(0);
        swarm.stop();
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        s[0].entries = new IRewardPolicy.Entry[](0);
        treasury.settle(s);
        vm.assertEq(treasury.totals().settledRound, 1);
        swarm.reopen();
        playRound(4, 0);
        settle(2);
        owedIs(0, 250);
    }

    function testLastRound() public {
        for (uint256 i; i < 4; ++i) {
            submit(i);
        }
        swarm.mergeAndStop(0, 0);
        settle(1);
        owedIs(3, 250);
    }

    /// @dev The seed is of the head that the round opened on.
    function testRollback() public {
        playRound(4, 0);
        playRound(4, 0);
        swarm.rollback(1);
        playRound(4, 0);
        swarm.rollback(0);
        playRound(4, 0);
        settleUpTo(6);
        owedIs(0, 1000);
    }

    /* ENTRIES */

    function wrong(ISwarmTreasury.Settlement[] memory s) private {
        refusesToSettle(s, ISwarmTreasury.WrongEntries.selector, 1);
    }

    function testReordered() public {
        playRound(4, 0);
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        (s[0].entries[0], s[0].entries[1]) = (s[0].entries[1], s[0].entries[0]);
        wrong(s);
    }

    function testMissing() public {
        playRound(4, 0);
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        IRewardPolicy.Entry[] memory less = new IRewardPolicy.Entry[](3);
        for (uint256 i; i < 3; ++i) {
            less[i] = s[0].entries[i];
        }
        s[0].entries = less;
        wrong(s);
        s[0].entries = new IRewardPolicy.Entry[](0);
        wrong(s);
    }

    function testDuplicated() public {
        playRound(4, 0);
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        IRewardPolicy.Entry[] memory more = new IRewardPolicy.Entry[](5);
        for (uint256 i; i < 4; ++i) {
            more[i] = s[0].entries[i];
        }
        more[4] = more[3];
        s[0].entries = more;
        wrong(s);
        s = settlements(1);
        s[0].entries[1] = s[0].entries[0];
        wrong(s);
    }

    function testForged(uint8 field, uint256 which) public {
        playRound(4, 0);
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        IRewardPolicy.Entry memory e = s[0].entries[which % 4];
        if (field % 4 == 0) e.account = account(8);
        if (field % 4 == 1) e.index ^= 1;
        if (field % 4 == 2) e.digest ^= bytes32(uint256(1));
        if (field % 4 == 3) e.weight += 1;
        wrong(s);
    }

    function testEntriesOfAnotherRound() public {
        playRound(4, 0);
        playRound(4, 0);
        ISwarmTreasury.Settlement[] memory s = settlements(2);
        s[0].round = 1;
        wrong(s);
    }

    /// @dev The account is part of what is proven: who has the index now does not matter.
    function testIndexOfAnotherNow() public {
        playRound(2, 0);
        swarm.submit(account(7), 0, digestOf(2, 7), 5);
        submit(1);
        swarm.merge(0, 0);
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        s[0].entries[0].account = account(7);
        wrong(s);
        settleUpTo(2);
        owedIs(0, 500);
        owedIs(7, 500);
        owedIs(1, 1000);
    }

    /* EXTREMES */

    function testGreatest() public {
        ISwarmTreasury.Terms memory t = plainTerms();
        (t.perRound, t.policy, t.attesterBps) = (type(uint128).max, weightShares(), 3333);
        start(t);
        fund(9, type(uint128).max);
        for (uint256 i; i < 256; ++i) {
            swarm.submit(address(uint160(0xabc000 + i)), uint8(i), digestOf(1, i), type(uint32).max);
        }
        swarm.merge(0, type(uint256).max);
        settle(1);
        ISwarmTreasury.Totals memory totals = treasury.totals();
        vm.assertTrue(totals.pool < 512, "dust");
        vm.assertEq(uint256(totals.pool) + totals.owed, type(uint128).max);
        vm.assertTrue(treasury.accountOf(address(uint160(0xabc0ff))).owed > type(uint128).max / 256 - 3);
        booksBalance();
    }

    /// @dev No round gives more than its pot, and every unit is somewhere.
    function testSum(uint128 funds, uint128 perRound, uint16 bps, uint32[8] memory weights, uint8 excluded, uint8 a)
        public
    {
        ISwarmTreasury.Terms memory t = plainTerms();
        t.perRound = perRound >> bps % 100;
        t.attesterBps = uint16(bps % 10_001);
        t.policy = weightShares();
        start(t);
        funds = uint128(bound(funds, 1, type(uint128).max));
        fund(9, funds);
        for (uint256 i; i < 8; ++i) {
            swarm.submit(account(i), uint8(i), digestOf(1, i), weights[i] | 1);
        }
        swarm.merge(excluded, a);
        settle(1);
        uint256 pot = funds < t.perRound ? funds : t.perRound;
        uint256 sum;
        for (uint256 i; i < 8; ++i) {
            uint128 owed = holding(i).owed;
            vm.assertTrue(owed == 0 || excluded >> i & 1 == 0, "excluded");
            sum += owed;
        }
        vm.assertTrue(sum <= pot, "more than the pot");
        vm.assertTrue(excluded == 255 || sum + 16 >= pot, "more than dust");
        vm.assertEq(treasury.totals().owed, sum);
        poolIs(funds - sum);
        uint256 refundable = holding(9).refundable;
        vm.assertTrue(refundable <= funds - sum, "refundable");
        booksBalance();
    }
}
