// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

/// @dev Exact gas of whole transactions, with cold storage.
contract TreasuryGasTest is TreasuryTest {
    event Measured(string what, uint256 members, uint256 gas);

    function used(string memory what, uint256 members, uint256 limit) private {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        emit Measured(what, members, gas);
        vm.assertTrue(gas <= limit, what);
    }

    /// @dev The second round, once members have been paid before.
    function measure(uint256 members, uint256 limit) private {
        startWithBonus(1000);
        fund(300, 1_000_000);
        playRound(members, 0, 3);
        playRound(members, 0, 3);
        ISwarmTreasury.Settlement[] memory one = settlements(1);
        ISwarmTreasury.Settlement[] memory two = settlements(2);
        treasury.settle(one);
        used("first settle", members, limit * 2);
        treasury.settle(two);
        used("settle", members, limit);
        claim(0);
        used("claim", members, 120_000);
    }

    /// forge-config: default.isolate = true
    function testSettle() public {
        measure(4, 200_000);
        measure(16, 500_000);
        measure(64, 1_700_000);
        measure(256, 7_000_000);
    }

    /// forge-config: default.isolate = true
    function testFund() public {
        start();
        fund(0, 1000);
        used("first fund", 1, 250_000);
        fund(0, 1000);
        used("fund", 1, 150_000);
        stake(0, 1000);
        used("stake", 1, 150_000);
    }
}
