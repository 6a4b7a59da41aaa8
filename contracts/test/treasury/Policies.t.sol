// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRewardPolicy} from "../../src/interfaces/IRewardPolicy.sol";
import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

/// @dev Gives what it is told to.
contract FixedPolicy is IRewardPolicy {
    uint256[] private _amounts;

    function set(uint256[] memory amounts) external {
        _amounts = amounts;
    }

    function shares(uint32, uint256, Entry[] calldata) external view returns (uint256[] memory) {
        return _amounts;
    }
}

/// @dev Checks what it is asked.
contract AskedPolicy is IRewardPolicy {
    error Asked(uint32 round, uint256 pot, Entry[] included);

    function shares(uint32 round, uint256 pot, Entry[] calldata included) external pure returns (uint256[] memory) {
        revert Asked(round, pot, included);
    }
}

contract PoliciesTest is TreasuryTest {
    function entries(uint32[] memory weights) private pure returns (IRewardPolicy.Entry[] memory e) {
        e = new IRewardPolicy.Entry[](weights.length);
        for (uint256 i; i < e.length; ++i) {
            e[i] = IRewardPolicy.Entry(account(i), uint8(i), 0, weights[i]);
        }
    }

    function list(uint256 a, uint256 b) private pure returns (uint256[] memory l) {
        l = new uint256[](2);
        (l[0], l[1]) = (a, b);
    }

    /* THE TWO */

    function testEqual(uint256 pot, uint8 n) public {
        n = uint8(bound(n, 1, 255));
        uint256[] memory amounts = IRewardPolicy(equalShares()).shares(1, pot, entries(new uint32[](n)));
        vm.assertEq(amounts.length, n);
        for (uint256 i; i < n; ++i) {
            vm.assertEq(amounts[i], pot / n);
        }
    }

    function testWeights(uint256 pot, uint32[7] memory w) public {
        uint32[] memory weights = new uint32[](7);
        uint256 total;
        for (uint256 i; i < 7; ++i) {
            weights[i] = w[i] | 1;
            total += weights[i];
        }
        uint256[] memory amounts = IRewardPolicy(weightShares()).shares(1, pot, entries(weights));
        uint256 left = pot;
        for (uint256 i; i < 7; ++i) {
            left -= amounts[i];
            if (pot < 1 << 220) vm.assertEq(amounts[i], pot * weights[i] / total);
        }
        vm.assertTrue(left < 7, "dust");
    }

    function testNoWeights() public {
        uint256[] memory amounts = IRewardPolicy(weightShares()).shares(1, 100, entries(new uint32[](3)));
        vm.assertEq(amounts.length, 3);
        vm.assertEq(amounts[0] + amounts[1] + amounts[2], 0);
    }

    /* OTHERS */

    /// @dev The pot less the attesters' part; the payees alone.
    function testAsked() public {
        ISwarmTreasury.Terms memory t = plainTerms();
        (t.policy, t.attesterBps) = (address(new AskedPolicy()), 1000);
        start(t);
        fund(9, 5000);
        playRound(3, 2, 1);
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        IRewardPolicy.Entry[] memory payees = new IRewardPolicy.Entry[](2);
        (payees[0], payees[1]) = (s[0].entries[0], s[0].entries[2]);
        vm.expectRevert(abi.encodeWithSelector(AskedPolicy.Asked.selector, 1, 900, payees));
        treasury.settle(s);
    }

    function bad(FixedPolicy p, uint256[] memory amounts) private {
        p.set(amounts);
        ISwarmTreasury.Settlement[] memory s = settlements(1);
        refuses(ISwarmTreasury.BadShares.selector, 1);
        treasury.settle(s);
    }

    function testBadShares() public {
        FixedPolicy p = new FixedPolicy();
        startWithPolicy(address(p));
        fund(9, 5000);
        playRound(2, 0);
        bad(p, new uint256[](0));
        bad(p, new uint256[](1));
        bad(p, new uint256[](3));
        bad(p, list(1001, 0));
        bad(p, list(500, 501));
        bad(p, list(type(uint256).max, 2));
        bad(p, list(1, type(uint256).max));
        p.set(list(0, 1000));
        settle(1);
        owedIs(0, 0);
        owedIs(1, 1000);
    }

    /// @dev The attesters' part is not the policy's to give.
    function testPotWithoutTheBonus() public {
        FixedPolicy p = new FixedPolicy();
        ISwarmTreasury.Terms memory t = plainTerms();
        (t.policy, t.attesterBps) = (address(p), 1000);
        start(t);
        fund(9, 5000);
        playRound(2, 0, 2);
        bad(p, list(901, 0));
        p.set(list(900, 0));
        settle(1);
        owedIs(0, 900);
        owedIs(1, 100);
    }
}
