// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";
import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {CallbackToken, FalseToken, FeeToken} from "./Tokens.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

contract ClaimTest is TreasuryTest {
    event Claimed(address indexed account, uint256 amount);

    function setUp() public {
        start();
        fund(9, 100_000);
    }

    function claimWith(uint256 i, ISwarmTreasury.Settlement[] memory s) private {
        vm.prank(account(i));
        treasury.claim(s);
    }

    function testClaim() public {
        playRound(4, 0);
        settle(1);
        vm.expectEmit();
        emit Claimed(account(0), 250);
        claim(0);
        vm.assertEq(balance(0), 250);
        owedIs(0, 0);
        owedIs(1, 250);
        vm.assertEq(treasury.totals().owed, 750);
        booksBalance();
    }

    function testOnce() public {
        playRound(4, 0);
        settle(1);
        claim(0);
        refuses(ISwarmTreasury.NothingOwed.selector, account(0));
        claim(0);
    }

    function testStrangers() public {
        playRound(4, 0);
        settle(1);
        refuses(ISwarmTreasury.NothingOwed.selector, account(5));
        claim(5);
    }

    function testSettlesFirst() public {
        playRound(4, 0);
        playRound(4, 0);
        claimWith(0, settlements(1, 2));
        vm.assertEq(balance(0), 500);
    }

    /// @dev Two that claim at once bring the same rounds.
    function testAfterAnother() public {
        playRound(4, 0);
        playRound(4, 0);
        ISwarmTreasury.Settlement[] memory s = settlements(1, 2);
        claimWith(0, s);
        claimWith(1, s);
        vm.assertEq(balance(1), 500);
    }

    /// @dev What was earned stays earned.
    function testExpelledLater() public {
        playRound(4, 0);
        settle(1);
        swarm.expel(account(0), true);
        claim(0);
        vm.assertEq(balance(0), 250);
    }

    function testAfterTheEnd() public {
        playRound(4, 0);
        swarm.stop();
        claimWith(0, settlements(1));
        refund(9);
        claim(1);
        vm.assertEq(balance(1), 250);
    }

    function testCallback() public {
        CallbackToken t = new CallbackToken();
        startWith(address(t));
        fund(9, 1000);
        playRound(4, 0);
        settle(1);
        t.arm(address(treasury), abi.encodeCall(treasury.claim, (new ISwarmTreasury.Settlement[](0))));
        claim(0);
        vm.assertTrue(t.called() && !t.succeeded());
        vm.assertEq(t.returned(), abi.encodeWithSelector(ReentrancyGuard.ReentrancyGuardReentrantCall.selector));
        vm.assertEq(balance(0), 250);
    }

    function testFalse() public {
        FalseToken t = new FalseToken();
        startWith(address(t));
        fund(9, 1000);
        playRound(4, 0);
        settle(1);
        t.setBroken(true);
        refuses(SafeERC20.SafeERC20FailedOperation.selector, address(t));
        claim(0);
        owedIs(0, 250);
    }

    /// @dev The payee bears the fee of its own transfer.
    function testFee() public {
        startWith(address(new FeeToken(1000)));
        fund(9, 10_000);
        playRound(4, 0);
        settle(1);
        claim(0);
        vm.assertEq(balance(0), 225);
        booksBalance();
    }
}
