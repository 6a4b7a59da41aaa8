// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

contract ConfigTest is BaseTest {
    function testKeepsEveryField() public {
        ISwarm.Config memory c = baseConfig(4);
        c.patience = 7;
        swarm = deploy(c);
        vm.assertEq(abi.encode(swarm.config()), abi.encode(c));
    }

    function testFirstRound() public {
        ISwarm.Config memory c = baseConfig(4);
        swarm = deploy(c);
        ISwarm.View memory v = swarm.state();
        vm.assertEq(v.round, 1);
        phaseIs(ISwarm.Phase.COLLECTING);
        vm.assertEq(v.threshold, 4, "T is initialMembers");
        vm.assertEq(v.head, c.genesis);
        vm.assertEq(v.best, c.genesis);
        vm.assertEq(v.openedAt, START);
        vm.assertEq(v.salt, keccak256(abi.encode(c.genesis, START, blockhash(99))));
        vm.assertEq(v.seed, keccak256(abi.encode(v.salt, uint32(1), c.genesis)));
        vm.assertEq(v.inputs, v.seed);
        vm.assertEq(v.submitted | v.waitFor | v.roster | v.active, 0);
        vm.assertEq(v.maxRounds, 100);
    }

    function testSaltDiffersAmongDeployments() public {
        ISwarm.Config memory c = baseConfig(4);
        bytes32 one = deploy(c).state().salt;
        vm.warp(START + 1);
        vm.assertTrue(one != deploy(c).state().salt);
    }

    function testDomainFollowsTheChain() public {
        start(1);
        bytes32 before = swarm.domainSeparator();
        vm.chainId(77);
        vm.assertTrue(before != swarm.domainSeparator());
    }

    function bad(ISwarm.Config memory c, string memory field) private {
        vm.expectRevert(abi.encodeWithSelector(ISwarm.BadConfig.selector, field));
        deploy(c);
    }

    function testRefusesWhatCannotWork() public {
        ISwarm.Config memory c = baseConfig(4);
        c.genesis = 0;
        bad(c, "genesis");
        c = baseConfig(4);
        c.initialMembers = 1;
        bad(c, "initialMembers");
        c.initialMembers = 0;
        c.f = 0;
        bad(c, "initialMembers");
        c.initialMembers = 257;
        bad(c, "initialMembers");
        c = baseConfig(4);
        c.minUpdates = 1;
        bad(c, "minUpdates");
        c.minUpdates = 257;
        bad(c, "minUpdates");
        c = baseConfig(4);
        c.kMax = 0;
        bad(c, "kMax");
        c = baseConfig(4);
        c.fracBps = 10_001;
        bad(c, "fracBps");
        c = baseConfig(4);
        c.collectTimeout = 0;
        bad(c, "collectTimeout");
        c = baseConfig(4);
        c.mergeTimeout = 0;
        bad(c, "mergeTimeout");
        c = baseConfig(4);
        c.maxMissed = 0;
        bad(c, "maxMissed");
        c = baseConfig(4);
        c.maxRounds = 0;
        bad(c, "maxRounds");
        c = baseConfig(4);
        c.abandonAfter = 0;
        bad(c, "abandonAfter");
        c = baseConfig(4);
        c.kInvite = 0;
        bad(c, "kInvite");
        c.kInvite = 4;
        bad(c, "kInvite");
    }

    function testRefusesBadFounders() public {
        ISwarm.Config memory c = baseConfig(4);
        c.founders[2] = c.founders[0];
        bad(c, "founders");
        c.founders[2] = address(0);
        bad(c, "founders");
        c.founders = new address[](257);
        bad(c, "founders");
    }
}
