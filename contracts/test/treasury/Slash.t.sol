// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

contract SlashTest is TreasuryTest {
    event Slashed(address indexed account, uint256 amount, bool proven);

    function setUp() public {
        start();
        stake(0, 100);
        enrol(0);
    }

    function testSlash() public {
        swarm.expel(account(0), true);
        vm.expectEmit();
        emit Slashed(account(0), 100, false);
        treasury.slash(account(0));
        poolIs(100);
        vm.assertEq(treasury.totals().staked, 0);
        vm.assertEq(holding(0).stake, 0);
        booksBalance();
    }

    function testNotByVote() public {
        refuses(ISwarmTreasury.NotSlashed.selector, account(0));
        treasury.slash(account(0));
        swarm.expel(account(0), false);
        refuses(ISwarmTreasury.NotSlashed.selector, account(0));
        treasury.slash(account(0));
        // A second vote may follow the first.
        swarm.expel(account(0), true);
        treasury.slash(account(0));
    }

    function testOnce() public {
        swarm.expel(account(0), true);
        treasury.slash(account(0));
        refuses(ISwarmTreasury.NothingToSlash.selector, account(0));
        treasury.slash(account(0));
        vm.prank(account(0));
        refuses(ISwarmTreasury.NothingToWithdraw.selector);
        treasury.withdrawStake();
    }

    function testNoStake() public {
        swarm.expel(account(1), true);
        refuses(ISwarmTreasury.NothingToSlash.selector, account(1));
        treasury.slash(account(1));
    }

    /// @dev While the delay runs, the stake can be lost.
    function testInTheDelay() public {
        stake(1, 50);
        vm.prank(account(1));
        treasury.requestUnstake();
        swarm.expel(account(1), true);
        treasury.slash(account(1));
        poolIs(50);
        vm.assertEq(holding(1).unstakeAt, 0);
    }

    /// @dev It can be earned, but comes back to nobody.
    function testIsEarnedOnly() public {
        fund(9, 1000);
        swarm.expel(account(0), true);
        treasury.slash(account(0));
        vm.assertEq(holding(9).refundable, 1000);
        submit(1);
        submit(2);
        swarm.merge(0, 0);
        settle(1);
        owedIs(1, 500);
        poolIs(100);
        // Of what was paid, ten elevenths were the funder's.
        vm.assertEq(holding(9).refundable, 90);
        swarm.stop();
        refund(9);
        poolIs(10);
        booksBalance();
    }

    /// @dev Who funds before a slash gains nothing by it.
    function testFundingBeforeIt() public {
        fund(8, 1);
        swarm.expel(account(0), true);
        treasury.slash(account(0));
        swarm.stop();
        refund(8);
        vm.assertEq(balance(8), 1);
    }
}
