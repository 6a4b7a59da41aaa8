// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../../src/interfaces/ISwarm.sol";
import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {CallbackToken} from "./Tokens.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

contract StakeTest is TreasuryTest {
    event Staked(address indexed account, uint256 amount);
    event UnstakeRequested(address indexed account, uint40 unstakeAt);
    event Unstaked(address indexed account, uint256 amount);

    function setUp() public {
        start();
    }

    function request(uint256 i) private {
        vm.prank(account(i));
        treasury.requestUnstake();
    }

    function withdraw(uint256 i) private {
        vm.prank(account(i));
        treasury.withdrawStake();
    }

    function testStake() public {
        give(0, 70);
        vm.expectEmit();
        emit Staked(account(0), 70);
        vm.prank(account(0));
        treasury.stake(70);
        vm.assertEq(treasury.stakeOf(account(0)), 70);
        stake(0, 30);
        vm.assertEq(treasury.stakeOf(account(0)), 100);
        vm.assertEq(treasury.totals().staked, 100);
        poolIs(0);
        booksBalance();
    }

    function testNothing() public {
        vm.prank(account(0));
        refuses(ISwarmTreasury.NoAmount.selector);
        treasury.stake(0);
    }

    function testUnstake() public {
        stake(0, 100);
        uint40 unstakeAt = uint40(START) + DELAY;
        vm.expectEmit();
        emit UnstakeRequested(account(0), unstakeAt);
        request(0);
        vm.assertEq(treasury.stakeOf(account(0)), 0);
        vm.assertEq(holding(0).stake, 100);
        vm.assertEq(holding(0).unstakeAt, unstakeAt);
        vm.warp(unstakeAt - 1);
        refuses(ISwarmTreasury.TooEarly.selector, unstakeAt);
        withdraw(0);
        vm.warp(unstakeAt);
        vm.expectEmit();
        emit Unstaked(account(0), 100);
        withdraw(0);
        vm.assertEq(balance(0), 100);
        vm.assertEq(treasury.totals().staked, 0);
        vm.assertEq(holding(0).unstakeAt, 0);
        booksBalance();
    }

    function testNotTwice() public {
        stake(0, 100);
        stake(1, 100);
        request(0);
        vm.warp(START + DELAY);
        withdraw(0);
        refuses(ISwarmTreasury.NothingToWithdraw.selector);
        withdraw(0);
        refuses(ISwarmTreasury.NothingToWithdraw.selector);
        request(0);
    }

    /// @dev Asking again neither prolongs nor shortens the delay.
    function testAskingAgain() public {
        stake(0, 100);
        request(0);
        vm.warp(START + 1 days);
        request(0);
        vm.assertEq(holding(0).unstakeAt, uint40(START) + DELAY);
    }

    function testNotAsked() public {
        stake(0, 100);
        refuses(ISwarmTreasury.NothingToWithdraw.selector);
        withdraw(0);
    }

    function testMembersStay() public {
        stake(0, 100);
        enrol(0);
        refuses(ISwarmTreasury.StillAMember.selector, account(0));
        request(0);
        swarm.setStatus(account(0), ISwarm.Status.IDLE);
        refuses(ISwarmTreasury.StillAMember.selector, account(0));
        request(0);
    }

    function testWhoLeft() public {
        stake(0, 100);
        enrol(0);
        swarm.setStatus(account(0), ISwarm.Status.NONE);
        request(0);
    }

    /// @dev Expelled, but not slashed.
    function testWhoWasBarred() public {
        stake(0, 100);
        enrol(0);
        swarm.expel(account(0), false);
        request(0);
        vm.warp(START + DELAY);
        withdraw(0);
        vm.assertEq(balance(0), 100);
    }

    function testWhoExpired() public {
        stake(0, 100);
        swarm.enrol(account(0), 0, uint40(START + 10));
        vm.warp(START + 10);
        refuses(ISwarmTreasury.StillAMember.selector, account(0));
        request(0);
        vm.warp(START + 11);
        request(0);
    }

    /// @dev Member again in the meantime: the stake stays in, whatever was asked for.
    function testWhoCameBack() public {
        stake(0, 100);
        request(0);
        enrol(0);
        vm.warp(START + DELAY);
        refuses(ISwarmTreasury.StillAMember.selector, account(0));
        withdraw(0);
        stake(0, 1);
        vm.assertEq(treasury.stakeOf(account(0)), 101);
        vm.assertEq(holding(0).unstakeAt, 0);
    }

    function testStopped() public {
        stake(0, 100);
        enrol(0);
        swarm.stop();
        // A request would outlive a reopening.
        refuses(ISwarmTreasury.StillAMember.selector, account(0));
        request(0);
        withdraw(0);
        vm.assertEq(balance(0), 100);
        stake(1, 5);
        request(1);
        withdraw(1);
        vm.assertEq(balance(1), 5);
    }

    function testForfeitByVote() public {
        stake(0, 100);
        request(0);
        swarm.expel(account(0), true);
        vm.warp(START + DELAY);
        refuses(ISwarmTreasury.StakeForfeit.selector, account(0));
        withdraw(0);
        swarm.stop();
        refuses(ISwarmTreasury.StakeForfeit.selector, account(0));
        withdraw(0);
        give(0, 10);
        vm.prank(account(0));
        refuses(ISwarmTreasury.StakeForfeit.selector, account(0));
        treasury.stake(10);
    }

    /// @dev While the token calls back, the stake is out of the books already.
    function testCallback() public {
        CallbackToken t = new CallbackToken();
        startWith(address(t));
        stake(0, 100);
        swarm.stop();
        t.arm(address(treasury), abi.encodeCall(treasury.stakeOf, (account(0))));
        withdraw(0);
        vm.assertTrue(t.called() && t.succeeded());
        vm.assertEq(abi.decode(t.returned(), (uint256)), 0);
    }

    function testGreatest() public {
        stake(0, type(uint128).max);
        give(1, 1);
        vm.prank(account(1));
        vm.expectRevert();
        treasury.stake(1);
        swarm.stop();
        withdraw(0);
        vm.assertEq(balance(0), type(uint128).max);
    }

    function testDelay(uint128 amount, uint40 wait) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        wait = uint40(bound(wait, 0, 2 * uint256(DELAY)));
        stake(0, amount);
        request(0);
        vm.warp(START + wait);
        if (wait < DELAY) refuses(ISwarmTreasury.TooEarly.selector, START + DELAY);
        withdraw(0);
        vm.assertEq(balance(0), wait < DELAY ? 0 : amount);
    }
}
