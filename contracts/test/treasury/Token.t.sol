// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

contract TokenTest is TreasuryTest {
    function testSupply(uint256 supply) public {
        ERC20 t = swarmToken("Swarm", "SWM", supply);
        vm.assertEq(bytes(t.name()), bytes("Swarm"));
        vm.assertEq(bytes(t.symbol()), bytes("SWM"));
        vm.assertEq(t.decimals(), 18);
        vm.assertEq(t.totalSupply(), supply);
        vm.assertEq(t.balanceOf(account(0)), supply);
        vm.prank(account(0));
        t.transfer(account(1), supply);
        vm.assertEq(t.balanceOf(account(1)), supply);
    }
}
