// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {Vm} from "../Vm.sol";
import {MockSwarm} from "./MockSwarm.sol";
import {PlainToken} from "./Tokens.sol";

interface IMint {
    function mint(address to, uint256 amount) external;
    function approve(address spender, uint256 amount) external;
    function transfer(address to, uint256 amount) external;
    function balanceOf(address account) external view returns (uint256);
}

/// @dev A treasury bound to a mock of its swarm, members with known keys, and the moves of money.
abstract contract TreasuryTest {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant START = 1_800_000_000;
    uint40 internal constant FOREVER = type(uint40).max;
    uint40 internal constant DELAY = 7 days;
    uint128 internal constant POT = 1000;
    bytes32 internal constant SALT = keccak256("salt");

    IMint internal token;
    ISwarmTreasury internal treasury;
    MockSwarm internal swarm;

    constructor() {
        vm.warp(START);
        vm.roll(100);
    }

    /* SET-UP */

    // What ships is deployed by its compiled file: a test that imported it would compile it too, and with other settings.

    function deploy(ISwarmTreasury.Terms memory terms) internal returns (ISwarmTreasury) {
        return ISwarmTreasury(vm.deployCode("src/SwarmTreasury.sol:SwarmTreasury", abi.encode(terms)));
    }

    function equalShares() internal returns (address) {
        return vm.deployCode("src/policies/EqualShares.sol:EqualShares", "");
    }

    function weightShares() internal returns (address) {
        return vm.deployCode("src/policies/WeightShares.sol:WeightShares", "");
    }

    /// @dev All of `supply` is account 0's.
    function swarmToken(string memory name, string memory symbol, uint256 supply) internal returns (ERC20Permit) {
        return ERC20Permit(vm.deployCode("src/SwarmToken.sol:SwarmToken", abi.encode(name, symbol, supply, account(0))));
    }

    function plainTerms() internal returns (ISwarmTreasury.Terms memory) {
        return ISwarmTreasury.Terms(address(new PlainToken()), equalShares(), POT, 0, DELAY);
    }

    /// @dev The deployer is this contract.
    function start(ISwarmTreasury.Terms memory terms) internal {
        token = IMint(terms.token);
        treasury = deploy(terms);
        swarm = new MockSwarm(address(treasury), SALT);
        treasury.bind(address(swarm));
    }

    function start() internal {
        start(plainTerms());
    }

    function startWith(address token_) internal {
        ISwarmTreasury.Terms memory t = plainTerms();
        t.token = token_;
        start(t);
    }

    function startWithPolicy(address policy) internal {
        ISwarmTreasury.Terms memory t = plainTerms();
        t.policy = policy;
        start(t);
    }

    function startWithBonus(uint16 bps) internal {
        ISwarmTreasury.Terms memory t = plainTerms();
        t.attesterBps = bps;
        start(t);
    }

    /* ACCOUNTS */

    function key(uint256 i) internal pure returns (uint256) {
        return 0x1000 + i;
    }

    function account(uint256 i) internal pure returns (address) {
        return vm.addr(key(i));
    }

    function enrol(uint256 i) internal {
        swarm.enrol(account(i), uint8(i), FOREVER);
    }

    /// @dev Mints and approves.
    function give(uint256 i, uint256 amount) internal {
        token.mint(account(i), amount);
        vm.prank(account(i));
        token.approve(address(treasury), type(uint256).max);
    }

    function balance(uint256 i) internal view returns (uint256) {
        return token.balanceOf(account(i));
    }

    function holding(uint256 i) internal view returns (ISwarmTreasury.Account memory) {
        return treasury.accountOf(account(i));
    }

    /* MOVES OF MONEY */

    function fund(uint256 i, uint128 amount) internal {
        give(i, amount);
        vm.prank(account(i));
        treasury.fund(amount);
    }

    function stake(uint256 i, uint128 amount) internal {
        give(i, amount);
        vm.prank(account(i));
        treasury.stake(amount);
    }

    function claim(uint256 i) internal {
        vm.prank(account(i));
        treasury.claim(new ISwarmTreasury.Settlement[](0));
    }

    function refund(uint256 i) internal {
        vm.prank(account(i));
        treasury.refund();
    }

    /* ROUNDS */

    function digestOf(uint32 round, uint256 i) internal pure returns (bytes32) {
        return keccak256(abi.encode("update", round, i));
    }

    /// @dev Member i submits with weight 100 + i.
    function submit(uint256 i) internal {
        uint32 round = swarm.round();
        swarm.submit(account(i), uint8(i), digestOf(round, i), uint32(100 + i));
    }

    /// @dev Members 0 to n - 1 submit; merged without some; nobody attests.
    function playRound(uint256 n, uint256 excluded) internal {
        playRound(n, excluded, 0);
    }

    function playRound(uint256 n, uint256 excluded, uint256 attesters) internal {
        for (uint256 i; i < n; ++i) {
            submit(i);
        }
        swarm.merge(excluded, attesters);
    }

    function settlements(uint32 round) internal view returns (ISwarmTreasury.Settlement[] memory s) {
        s = new ISwarmTreasury.Settlement[](1);
        s[0] = swarm.settlement(round);
    }

    function settlements(uint32 a, uint32 b) internal view returns (ISwarmTreasury.Settlement[] memory s) {
        s = new ISwarmTreasury.Settlement[](2);
        (s[0], s[1]) = (swarm.settlement(a), swarm.settlement(b));
    }

    function settle(uint32 round) internal {
        treasury.settle(settlements(round));
    }

    function settleUpTo(uint32 last) internal {
        for (uint32 round = treasury.totals().settledRound + 1; round <= last; ++round) {
            settle(round);
        }
    }

    /* SIGNATURES */

    function signed(uint256 who, bytes32 domain, bytes32 body) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key(who), MessageHashUtils.toTypedDataHash(domain, body));
        return abi.encodePacked(r, s, v);
    }

    /* CHECKS */

    function refuses(bytes4 selector) internal {
        vm.expectRevert(abi.encodeWithSelector(selector));
    }

    function refuses(bytes4 selector, uint256 a) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a));
    }

    function refuses(bytes4 selector, address a) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a));
    }

    function refuses(bytes4 selector, string memory a) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a));
    }

    function poolIs(uint256 amount) internal view {
        vm.assertEq(treasury.totals().pool, amount, "pool");
    }

    function owedIs(uint256 i, uint256 amount) internal view {
        vm.assertEq(holding(i).owed, amount, "owed");
    }

    /// @dev For tokens without tricks.
    function booksBalance() internal view {
        ISwarmTreasury.Totals memory t = treasury.totals();
        vm.assertEq(uint256(t.pool) + t.owed + t.staked, token.balanceOf(address(treasury)), "books");
    }

    function bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return high - low == type(uint256).max ? x : low + x % (high - low + 1);
    }
}
