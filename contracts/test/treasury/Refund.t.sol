// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

contract RefundTest is TreasuryTest {
    event Refunded(address indexed account, uint256 amount);

    function setUp() public {
        start();
    }

    function notRefundable(uint256 i) private {
        refuses(ISwarmTreasury.NotRefundable.selector);
        refund(i);
    }

    function testRefund() public {
        fund(8, 3000);
        fund(9, 1000);
        playRound(4, 0);
        settle(1);
        swarm.stop();
        vm.expectEmit();
        emit Refunded(account(8), 2250);
        refund(8);
        refund(9);
        vm.assertEq(balance(8), 2250);
        vm.assertEq(balance(9), 750);
        poolIs(0);
        booksBalance();
    }

    function testOnce() public {
        fund(9, 1000);
        fund(8, 1000);
        swarm.stop();
        refund(9);
        refuses(ISwarmTreasury.NothingOwed.selector, account(9));
        refund(9);
    }

    function testNotBeforeTheEnd() public {
        fund(9, 1000);
        notRefundable(9);
    }

    function testNotBeforeAllIsSettled() public {
        fund(9, 3000);
        playRound(4, 0);
        swarm.abort();
        playRound(4, 0);
        swarm.abort();
        swarm.stop();
        notRefundable(9);
        settle(1);
        notRefundable(9);
        settle(3);
        refund(9);
        vm.assertEq(balance(9), 999);
        vm.assertEq(treasury.totals().settledRound, 5);
    }

    function testNotBeforeTheLastRoundIsSettled() public {
        fund(9, 3000);
        submit(0);
        swarm.mergeAndStop(0, 0);
        notRefundable(9);
        settle(1);
        refund(9);
    }

    function testStrangers() public {
        fund(9, 1000);
        swarm.stop();
        refuses(ISwarmTreasury.NothingOwed.selector, account(0));
        refund(0);
    }

    function testNothingLeft() public {
        fund(9, 1000);
        playRound(4, 0);
        settle(1);
        swarm.stop();
        refuses(ISwarmTreasury.NothingOwed.selector, account(9));
        refund(9);
    }

    /// @dev Stakes and what is owed are not the pool's.
    function testOnlyThePool() public {
        fund(9, 1500);
        stake(0, 77);
        playRound(4, 0);
        settle(1);
        swarm.stop();
        refund(9);
        vm.assertEq(token.balanceOf(address(treasury)), 1000 + 77 + 1);
        claim(3);
        vm.prank(account(0));
        treasury.withdrawStake();
        booksBalance();
    }

    /// @dev Whose money is spent has no part in what others pay in later: nobody gains by a stop at that moment.
    function testLaterMoneyIsNotShared() public {
        fund(8, 1000);
        playRound(4, 0);
        settle(1);
        fund(9, 1000);
        swarm.stop();
        refuses(ISwarmTreasury.NothingOwed.selector, account(8));
        refund(8);
        refund(9);
        vm.assertEq(balance(9), 1000);
    }

    function testTwiceFunded() public {
        fund(8, 2000);
        playRound(4, 0);
        settle(1);
        fund(8, 500);
        fund(9, 500);
        vm.assertEq(holding(8).refundable, 1500);
        playRound(4, 0);
        settle(2);
        swarm.stop();
        refund(8);
        refund(9);
        vm.assertEq(balance(8), 750);
        vm.assertEq(balance(9), 250);
    }

    function testReopened() public {
        fund(8, 1000);
        fund(9, 1000);
        swarm.stop();
        refund(8);
        swarm.reopen();
        notRefundable(9);
        playRound(4, 0);
        settle(2);
        owedIs(0, 250);
        poolIs(0);
        fund(8, 300);
        swarm.stop();
        refund(8);
        vm.assertEq(balance(8), 1300);
        refuses(ISwarmTreasury.NothingOwed.selector, account(9));
        refund(9);
    }

    /// @dev In whatever order, and however often in between: each gets the same, and all that is left but dust.
    function testOrder(uint128[3] memory amounts, uint128 perRound, uint8 order) public {
        ISwarmTreasury.Terms memory t = plainTerms();
        t.perRound = perRound;
        start(t);
        uint256 sum;
        for (uint256 i; i < 3; ++i) {
            amounts[i] = uint128(bound(amounts[i], 1, type(uint128).max / 3));
            sum += amounts[i];
            fund(i, amounts[i]);
        }
        swarm.submit(account(7), 7, "x", 1);
        swarm.merge(0, 0);
        settle(1);
        swarm.stop();
        uint256[3] memory expected;
        for (uint256 i; i < 3; ++i) {
            expected[i] = holding(i).refundable;
        }
        uint256 paid = sum < perRound ? sum : perRound;
        for (uint256 n; n < 3; ++n) {
            uint256 i = (order + (order & 8 == 0 ? n : 2 * n)) % 3;
            if (expected[i] == 0) continue;
            refund(i);
            vm.assertEq(balance(i), expected[i]);
        }
        uint256 left = treasury.totals().pool;
        vm.assertTrue(left <= 3 + (sum - paid >> 40) || sum - paid < sum >> 47, "more than dust");
        vm.assertEq(expected[0] + expected[1] + expected[2] + paid + left, sum);
        booksBalance();
    }
}
