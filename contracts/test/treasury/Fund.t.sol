// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";
import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {PoolLib} from "../../src/libraries/PoolLib.sol";
import {CallbackToken, FalseToken, FeeToken, SilentToken} from "./Tokens.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

contract FundTest is TreasuryTest {
    event Funded(address indexed from, uint256 amount);

    function testFund() public {
        start();
        give(0, 500);
        vm.expectEmit();
        emit Funded(account(0), 300);
        vm.prank(account(0));
        treasury.fund(300);
        fund(1, 50);
        poolIs(350);
        vm.assertEq(holding(0).refundable, 300);
        vm.assertEq(holding(1).refundable, 50);
        booksBalance();
    }

    function testNothing() public {
        start();
        vm.prank(account(0));
        refuses(ISwarmTreasury.NoAmount.selector);
        treasury.fund(0);
    }

    function testWithoutApproval() public {
        start();
        token.mint(account(0), 10);
        vm.prank(account(0));
        vm.expectRevert();
        treasury.fund(10);
    }

    /* PERMITS */

    function permitToken() private {
        startWith(address(swarmToken("Token", "TKN", 1000)));
    }

    function permit(uint256 amount) private view returns (uint8 v, bytes32 r, bytes32 s) {
        ERC20Permit t = ERC20Permit(address(token));
        bytes32 kind = keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 body = keccak256(abi.encode(kind, account(0), address(treasury), amount, t.nonces(account(0)), START));
        return vm.sign(key(0), keccak256(abi.encodePacked("\x19\x01", t.DOMAIN_SEPARATOR(), body)));
    }

    function testPermit() public {
        permitToken();
        (uint8 v, bytes32 r, bytes32 s) = permit(70);
        vm.prank(account(0));
        treasury.fundWithPermit(70, START, v, r, s);
        poolIs(70);
        (v, r, s) = permit(30);
        vm.prank(account(0));
        treasury.stakeWithPermit(30, START, v, r, s);
        vm.assertEq(treasury.stakeOf(account(0)), 30);
        booksBalance();
    }

    /// @dev Somebody reads the permit in the pool of pending transactions and brings it to the token first.
    function testPermitBroughtByAnother() public {
        permitToken();
        (uint8 v, bytes32 r, bytes32 s) = permit(70);
        ERC20Permit(address(token)).permit(account(0), address(treasury), 70, START, v, r, s);
        vm.prank(account(0));
        treasury.fundWithPermit(70, START, v, r, s);
        poolIs(70);
    }

    function testPermitOfNobody() public {
        permitToken();
        vm.prank(account(0));
        vm.expectRevert();
        treasury.fundWithPermit(70, START, 27, bytes32(0), bytes32(0));
    }

    /* OTHER TOKENS */

    function testFee() public {
        startWith(address(new FeeToken(100)));
        fund(0, 1000);
        poolIs(990);
        vm.assertEq(holding(0).refundable, 990);
        stake(1, 500);
        vm.assertEq(treasury.stakeOf(account(1)), 495);
        booksBalance();
    }

    function testFeeOfAll() public {
        startWith(address(new FeeToken(10_000)));
        give(0, 10);
        vm.prank(account(0));
        refuses(ISwarmTreasury.NoAmount.selector);
        treasury.fund(10);
    }

    function testFalse() public {
        FalseToken t = new FalseToken();
        startWith(address(t));
        fund(0, 10);
        give(0, 10);
        t.setBroken(true);
        vm.prank(account(0));
        refuses(SafeERC20.SafeERC20FailedOperation.selector, address(t));
        treasury.fund(10);
        swarm.stop();
        vm.prank(account(0));
        refuses(SafeERC20.SafeERC20FailedOperation.selector, address(t));
        treasury.refund();
        vm.assertEq(holding(0).refundable, 10);
    }

    function testSilent() public {
        startWith(address(new SilentToken()));
        fund(0, 10);
        poolIs(10);
        swarm.stop();
        refund(0);
        vm.assertEq(balance(0), 10);
    }

    /// @dev A transfer that calls back cannot be counted twice, nor lead out.
    function testCallback() public {
        CallbackToken t = new CallbackToken();
        startWith(address(t));
        fund(0, 100);
        stake(0, 50);
        bytes[] memory calls = new bytes[](6);
        calls[0] = abi.encodeCall(treasury.fund, (1));
        calls[1] = abi.encodeCall(treasury.stake, (1));
        calls[2] = abi.encodeCall(treasury.withdrawStake, ());
        calls[3] = abi.encodeCall(treasury.refund, ());
        calls[4] = abi.encodeCall(treasury.claim, (new ISwarmTreasury.Settlement[](0)));
        calls[5] = abi.encodeCall(treasury.settle, (new ISwarmTreasury.Settlement[](0)));
        for (uint256 i; i < calls.length; ++i) {
            give(0, 1);
            t.arm(address(treasury), calls[i]);
            vm.prank(account(0));
            treasury.fund(1);
            vm.assertTrue(t.called() && !t.succeeded(), "came in again");
            vm.assertEq(t.returned(), abi.encodeWithSelector(ReentrancyGuard.ReentrancyGuardReentrantCall.selector));
        }
        poolIs(106);
        booksBalance();
    }

    /* AMOUNTS */

    function testGreatest() public {
        start();
        fund(0, type(uint128).max);
        poolIs(type(uint128).max);
        vm.assertEq(holding(0).refundable, type(uint128).max);
        // A sum that does not fit is refused as a whole.
        give(1, 1);
        vm.prank(account(1));
        vm.expectRevert();
        treasury.fund(1);
        swarm.stop();
        refund(0);
        vm.assertEq(balance(0), type(uint128).max);
    }

    /// @dev Whatever is paid in and out in whatever order, all parts together are covered; and nobody's part grows.
    function testParts(uint128[8] memory paidIn, uint256[8] memory paidOut) public pure {
        PoolLib.Level memory level = PoolLib.Level(PoolLib.ONE, 0);
        PoolLib.Level[8] memory since;
        uint256[8] memory last;
        uint256 pool;
        for (uint256 i; i < 8; ++i) {
            paidIn[i] = uint128(bound(paidIn[i], 0, type(uint128).max / 8) >> paidOut[i] % 100);
            pool += paidIn[i];
            last[i] = paidIn[i];
            since[i] = PoolLib.Level(level.factor, level.scale);
            uint256 out = paidOut[i] % 4 == 0 ? pool : bound(paidOut[i], 0, pool);
            PoolLib.spend(level, pool, out);
            pool -= out;
            uint256 sum;
            for (uint256 j; j <= i; ++j) {
                uint256 part = PoolLib.worth(paidIn[j], since[j], level);
                vm.assertTrue(part <= last[j], "grew");
                last[j] = part;
                sum += part;
            }
            vm.assertTrue(sum <= pool, "not covered");
        }
    }

    /// @dev Rounding loses no more than a unit, as far as a uint128 can tell.
    function testPartIsExact(uint128 amount, uint256 other, uint256[6] memory out) public pure {
        amount = uint128(bound(amount, 1, type(uint128).max / 2) >> out[0] % 127);
        other = bound(other, 0, type(uint128).max / 2);
        PoolLib.Level memory since = PoolLib.Level(PoolLib.ONE, 0);
        PoolLib.Level memory level = PoolLib.Level(PoolLib.ONE, 0);
        uint256 pool = amount + other;
        for (uint256 i; i < 6 && pool != 0; ++i) {
            uint256 paid = bound(out[i], 0, pool / 2);
            PoolLib.spend(level, pool, paid);
            pool -= paid;
        }
        uint256 exact = pool == 0 ? 0 : Math.mulDiv(pool, amount, uint256(amount) + other);
        uint256 part = PoolLib.worth(amount, since, level);
        vm.assertTrue(part <= exact, "too much");
        vm.assertTrue(part + 1 + (exact >> 80) >= exact, "too little");
    }

    function testDrained() public pure {
        PoolLib.Level memory level = PoolLib.Level(PoolLib.ONE, 0);
        PoolLib.Level memory first = PoolLib.Level(PoolLib.ONE, 0);
        // Nothing left: the next one starts afresh.
        PoolLib.spend(level, 1e24, 1e24);
        vm.assertEq(PoolLib.worth(1e24, first, level), 0);
        PoolLib.Level memory second = PoolLib.Level(level.factor, level.scale);
        vm.assertEq(PoolLib.worth(5, second, level), 5);
        // Dust left: still somebody's, to a 2^48th.
        PoolLib.spend(level, 1e24, 1e24 - 1e12);
        vm.assertTrue(PoolLib.worth(1e24, second, level) > 1e12 - 1e5, "dust lost");
        PoolLib.Level memory third = PoolLib.Level(level.factor, level.scale);
        PoolLib.spend(level, 1e24 + 1e12, 1);
        uint256 part = PoolLib.worth(1e24, third, level);
        vm.assertTrue(part > 1e24 - 1e12 && part <= 1e24, "third");
        // Less than a 2^48th left: nobody's.
        PoolLib.spend(level, type(uint128).max, type(uint128).max - 1);
        vm.assertEq(PoolLib.worth(1e24, third, level), 0);
    }
}
