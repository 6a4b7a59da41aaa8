// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {MockSwarm} from "./MockSwarm.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

contract BindTest is TreasuryTest {
    event Bound(address indexed swarm);

    function setUp() public {
        start();
    }

    function unbound() private returns (ISwarmTreasury t) {
        t = deploy(treasury.terms());
    }

    function testBound() public {
        ISwarmTreasury t = unbound();
        vm.assertEq(t.swarm(), address(0));
        MockSwarm s = new MockSwarm(address(t), SALT);
        vm.expectEmit();
        emit Bound(address(s));
        t.bind(address(s));
        vm.assertEq(t.swarm(), address(s));
    }

    function testTerms() public {
        ISwarmTreasury.Terms memory t = plainTerms();
        (t.attesterBps, t.unstakeDelay, t.perRound) = (10_000, 365 days, type(uint128).max);
        start(t);
        vm.assertEq(keccak256(abi.encode(treasury.terms())), keccak256(abi.encode(t)));
    }

    function testOnlyTheDeployer() public {
        ISwarmTreasury t = unbound();
        MockSwarm s = new MockSwarm(address(t), SALT);
        vm.prank(account(0));
        refuses(ISwarmTreasury.CannotBind.selector);
        t.bind(address(s));
    }

    function testOnce() public {
        MockSwarm other = new MockSwarm(address(treasury), SALT);
        refuses(ISwarmTreasury.CannotBind.selector);
        treasury.bind(address(other));
    }

    function testOnlyASwarmThatNamesIt() public {
        ISwarmTreasury t = unbound();
        refuses(ISwarmTreasury.CannotBind.selector);
        t.bind(address(swarm));
        refuses(ISwarmTreasury.CannotBind.selector);
        t.bind(account(0));
    }

    function testNothingBeforeIt() public {
        ISwarmTreasury t = unbound();
        bytes[] memory calls = new bytes[](10);
        ISwarmTreasury.Settlement[] memory none;
        ISwarmTreasury.Statement memory s;
        calls[0] = abi.encodeCall(t.fund, (1));
        calls[1] = abi.encodeCall(t.fundWithPermit, (1, 0, 0, 0, 0));
        calls[2] = abi.encodeCall(t.stake, (1));
        calls[3] = abi.encodeCall(t.stakeWithPermit, (1, 0, 0, 0, 0));
        calls[4] = abi.encodeCall(t.requestUnstake, ());
        calls[5] = abi.encodeCall(t.withdrawStake, ());
        calls[6] = abi.encodeCall(t.settle, (none));
        calls[7] = abi.encodeCall(t.claim, (none));
        calls[8] = abi.encodeCall(t.slash, (account(0)));
        calls[9] = abi.encodeCall(t.proveContradiction, (s, s, 0));
        for (uint256 i; i < calls.length; ++i) {
            (bool ok, bytes memory why) = address(t).call(calls[i]);
            vm.assertTrue(!ok);
            vm.assertEq(why, abi.encodeWithSelector(ISwarmTreasury.NotBound.selector));
        }
        refuses(ISwarmTreasury.NotBound.selector);
        t.refund();
        vm.assertEq(t.stakeOf(account(0)), 0);
    }

    function testBadTerms() public {
        ISwarmTreasury.Terms memory t = plainTerms();
        t.token = account(0);
        badTerms(t, "token");
        t = plainTerms();
        t.policy = account(0);
        badTerms(t, "policy");
        t = plainTerms();
        t.attesterBps = 10_001;
        badTerms(t, "attesterBps");
        t = plainTerms();
        t.unstakeDelay = 365 days + 1;
        badTerms(t, "unstakeDelay");
    }

    /// @dev Stakes alone need no policy.
    function testNoRewards() public {
        ISwarmTreasury.Terms memory t = plainTerms();
        (t.policy, t.perRound) = (address(0), 0);
        start(t);
        fund(0, 10);
        playRound(2, 0);
        settle(1);
        poolIs(10);
    }

    function badTerms(ISwarmTreasury.Terms memory t, string memory field) private {
        refuses(ISwarmTreasury.BadTerms.selector, field);
        deploy(t);
    }
}
