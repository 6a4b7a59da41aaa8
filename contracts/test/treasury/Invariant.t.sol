// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRewardPolicy} from "../../src/interfaces/IRewardPolicy.sol";
import {ISwarm} from "../../src/interfaces/ISwarm.sol";
import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {TypedLib} from "../../src/libraries/TypedLib.sol";
import {Vm} from "../Vm.sol";
import {MockSwarm} from "./MockSwarm.sol";
import {IMint, TreasuryTest} from "./TreasuryTest.sol";

/// @dev Money and rounds in any order, with amounts of any size. A move that the treasury refuses changes nothing.
contract TreasuryHandler is TreasuryTest {
    uint256 public constant ACCOUNTS = 6;

    bytes32 private constant EARNED = keccak256("Earned(uint32,address,uint256,uint256)");
    bytes32 private constant SETTLED = keccak256("Settled(uint32,uint256,uint256)");

    uint256 public minted;
    uint256 public donated;
    uint32 public lastSettled;
    /// @dev What must never happen, and did.
    string public fault;
    mapping(uint32 round => mapping(address account => bool)) public paidFor;
    mapping(address account => bool) public lost;

    constructor() {
        ISwarmTreasury.Terms memory t = plainTerms();
        (t.policy, t.attesterBps) = (weightShares(), 1500);
        start(t);
        for (uint256 i; i < ACCOUNTS; ++i) {
            enrol(i);
        }
    }

    function theTreasury() external view returns (ISwarmTreasury, MockSwarm, IMint) {
        return (treasury, swarm, token);
    }

    /* MONEY */

    function amountOf(uint256 seed) private pure returns (uint128) {
        return uint128(bound(seed >> 8, 0, seed & 1 == 0 ? 5000 : 1e30));
    }

    function supply(uint256 i, uint256 amount) private {
        minted += amount;
        give(i, amount);
    }

    function doFund(uint256 who, uint256 seed) external {
        who %= ACCOUNTS;
        uint128 amount = amountOf(seed);
        supply(who, amount);
        vm.prank(account(who));
        try treasury.fund(amount) {} catch {}
    }

    function doStake(uint256 who, uint256 seed) external {
        who %= ACCOUNTS;
        uint128 amount = amountOf(seed);
        supply(who, amount);
        vm.prank(account(who));
        try treasury.stake(amount) {
            if (lost[account(who)]) fault = "stake of a forfeit account";
        } catch {}
    }

    function doDonate(uint256 seed) external {
        uint128 amount = amountOf(seed);
        supply(0, amount);
        vm.prank(account(0));
        token.transfer(address(treasury), amount);
        donated += amount;
    }

    function doRequest(uint256 who) external {
        vm.prank(account(who % ACCOUNTS));
        try treasury.requestUnstake() {} catch {}
    }

    function doWithdraw(uint256 who) external {
        address me = account(who % ACCOUNTS);
        bool member = swarm.memberOf(me).status == ISwarm.Status.ACTIVE && swarm.phase() != ISwarm.Phase.STOPPED;
        vm.prank(me);
        try treasury.withdrawStake() {
            if (lost[me]) fault = "a forfeit stake came back";
            if (member) fault = "a member's stake came back";
        } catch {}
    }

    function doSlash(uint256 who) external {
        try treasury.slash(account(who % ACCOUNTS)) {} catch {}
    }

    function doProve(uint256 who) external {
        who %= ACCOUNTS;
        ISwarmTreasury.Statement memory a;
        ISwarmTreasury.Statement memory b;
        (a.digest, b.digest) = ("x", "y");
        bytes32 domain = swarm.domainSeparator();
        a.signature = signed(who, domain, TypedLib.claim(0, 0, 0, 0, "x"));
        b.signature = signed(who, domain, TypedLib.claim(0, 0, 0, 0, "y"));
        try treasury.proveContradiction(a, b, 0) {
            lost[account(who)] = true;
        } catch {}
    }

    function doClaim(uint256 who) external {
        vm.prank(account(who % ACCOUNTS));
        try treasury.claim(new ISwarmTreasury.Settlement[](0)) {} catch {}
    }

    function doRefund(uint256 who) external {
        address me = account(who % ACCOUNTS);
        uint256 part = treasury.accountOf(me).refundable;
        uint256 before = token.balanceOf(me);
        vm.prank(me);
        try treasury.refund() {
            if (token.balanceOf(me) != before + part) fault = "refunded another amount";
            if (swarm.phase() != ISwarm.Phase.STOPPED) fault = "refunded before the end";
        } catch {}
    }

    /* ROUNDS */

    function doRound(uint256 excluded, uint256 attesters, uint32 weight) external {
        if (swarm.phase() == ISwarm.Phase.STOPPED) return;
        uint32 round = swarm.round();
        for (uint256 i; i < ACCOUNTS; ++i) {
            if (swarm.memberOf(account(i)).status != ISwarm.Status.ACTIVE) continue;
            swarm.submit(account(i), uint8(i), digestOf(round, i), weight / uint32(i + 2) + 1);
        }
        swarm.merge(excluded, attesters);
    }

    function doAbort() external {
        if (swarm.phase() != ISwarm.Phase.STOPPED) swarm.abort();
    }

    function doStop(uint256 dice) external {
        if (dice % 4 == 0) swarm.stop();
    }

    function doReopen() external {
        if (swarm.phase() == ISwarm.Phase.STOPPED) swarm.reopen();
    }

    function doLeave(uint256 who, bool back) external {
        address me = account(who % ACCOUNTS);
        (uint32 expelled,) = swarm.expulsionOf(me);
        if (expelled == 0) swarm.setStatus(me, back ? ISwarm.Status.ACTIVE : ISwarm.Status.NONE);
    }

    function doExpel(uint256 who, uint256 dice) external {
        if (dice % 8 > 1) return;
        address me = account(who % ACCOUNTS);
        swarm.expel(me, dice % 8 == 1);
        if (dice % 8 == 1) lost[me] = true;
    }

    function doWait(uint256 time) external {
        vm.warp(START + bound(time, 0, 30 days));
    }

    /// @dev Of any round or two: what is not the next one has to be refused or skipped.
    function doSettle(uint32 a, uint32 b, uint256 forge) external {
        uint32 next = treasury.totals().settledRound + 1;
        ISwarmTreasury.Settlement[] memory s = settlements(a % 4 == 0 ? a / 4 % 12 : next, b % 4 == 0 ? b : next + 1);
        bool forged = forge % 8 == 0 && s[0].round == next && s[0].entries.length != 0;
        if (forged) s[0].entries[0].weight ^= 1;
        vm.recordLogs();
        try treasury.settle(s) {
            if (forged) fault = "forged entries";
            readLogs(vm.getRecordedLogs());
        } catch {}
    }

    function readLogs(Vm.Log[] memory logs) private {
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].emitter != address(treasury)) continue;
            uint32 round = uint32(uint256(logs[i].topics[1]));
            if (swarm.result(round).merged == 0) fault = "paid for no merge";
            if (logs[i].topics[0] == SETTLED) {
                if (round <= lastSettled) fault = "not ascending";
                for (uint32 between = lastSettled + 1; between < round; ++between) {
                    if (swarm.result(between).merged != 0) fault = "left out";
                }
                lastSettled = round;
            } else if (logs[i].topics[0] == EARNED) {
                address payee = address(uint160(uint256(logs[i].topics[2])));
                if (paidFor[round][payee]) fault = "paid twice";
                (uint32 expelled,) = swarm.expulsionOf(payee);
                if (expelled != 0 && expelled <= round) fault = "paid an expelled member";
                paidFor[round][payee] = true;
            }
        }
    }
}

contract TreasuryInvariantTest is TreasuryTest {
    TreasuryHandler private handler;

    function setUp() public {
        handler = new TreasuryHandler();
        (treasury, swarm, token) = handler.theTreasury();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev Protocol, section 10 (5): to the unit, since this token has no tricks.
    function invariant_booksBalance() public view {
        ISwarmTreasury.Totals memory t = treasury.totals();
        uint256 held = token.balanceOf(address(treasury));
        vm.assertEq(uint256(t.pool) + t.owed + t.staked + handler.donated(), held, "books");
        for (uint256 i; i < handler.ACCOUNTS(); ++i) {
            held += balance(i);
        }
        vm.assertEq(held, handler.minted(), "paid in and out");
    }

    function invariant_sums() public view {
        ISwarmTreasury.Totals memory t = treasury.totals();
        uint256 owed;
        uint256 staked;
        uint256 refundable;
        for (uint256 i; i < handler.ACCOUNTS(); ++i) {
            ISwarmTreasury.Account memory a = holding(i);
            owed += a.owed;
            staked += a.stake;
            refundable += a.refundable;
            vm.assertEq(treasury.stakeOf(account(i)), a.unstakeAt == 0 ? a.stake : 0, "stakeOf");
        }
        vm.assertEq(owed, t.owed, "owed");
        vm.assertEq(staked, t.staked, "staked");
        vm.assertTrue(refundable <= t.pool, "refundable");
    }

    function invariant_noFault() public view {
        vm.assertEq(bytes(handler.fault()), "");
        vm.assertTrue(treasury.totals().settledRound <= swarm.round(), "ahead of the swarm");
    }

    /// @dev Whatever happened, all rounds can be settled, everybody gets what is owed, its stake and its refund.
    function afterInvariant() public {
        vm.warp(START + 60 days);
        swarm.stop();
        uint32 last = swarm.round();
        for (uint32 round = treasury.totals().settledRound + 1; round <= last; ++round) {
            ISwarmTreasury.Settlement[] memory s = settlements(round);
            if (swarm.result(round).merged == 0) s[0].entries = new IRewardPolicy.Entry[](0);
            treasury.settle(s);
        }
        for (uint256 i; i < handler.ACCOUNTS(); ++i) {
            ISwarmTreasury.Account memory a = holding(i);
            uint256 before = balance(i);
            uint256 due = uint256(a.owed) + a.refundable;
            if (a.owed != 0) claim(i);
            if (a.refundable != 0) refund(i);
            (, bool slashed) = swarm.expulsionOf(account(i));
            if (a.stake != 0 && !slashed) {
                vm.prank(account(i));
                treasury.withdrawStake();
                due += a.stake;
            }
            vm.assertEq(balance(i), before + due, "not all of it");
        }
        vm.assertEq(treasury.totals().owed, 0);
        booksUpToDonations();
    }

    function booksUpToDonations() private view {
        ISwarmTreasury.Totals memory t = treasury.totals();
        vm.assertEq(uint256(t.pool) + t.staked + handler.donated(), token.balanceOf(address(treasury)), "books");
    }
}
