// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";
import {TypedLib} from "../../src/libraries/TypedLib.sol";
import {MockSwarm} from "./MockSwarm.sol";
import {TreasuryTest} from "./TreasuryTest.sol";

contract ContradictionTest is TreasuryTest {
    event Slashed(address indexed account, uint256 amount, bool proven);

    uint256 private constant N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    bytes32 private domain;

    function setUp() public {
        start();
        domain = swarm.domainSeparator();
        stake(0, 100);
    }

    /* STATEMENTS */

    function claimOf(uint8 slice, bytes32 digest) private pure returns (ISwarmTreasury.Statement memory s) {
        (s.round, s.inputs, s.excluded) = (3, keccak256("inputs"), 8);
        (s.slice, s.digest) = (slice, digest);
    }

    /// @dev With the digests of two slices.
    function attestationOf(bytes32 merged, bytes32 first, bytes32 second, uint256 mask)
        private
        pure
        returns (ISwarmTreasury.Statement memory s)
    {
        s = claimOf(0, 0);
        s.attestation = true;
        s.merged = merged;
        s.slices = new bytes32[](2);
        (s.slices[0], s.slices[1]) = (first, second);
        s.mask = mask;
    }

    function sign(uint256 who, ISwarmTreasury.Statement memory s)
        private
        view
        returns (ISwarmTreasury.Statement memory)
    {
        bytes32 body = s.attestation
            ? TypedLib.attestation(
                s.round, s.inputs, s.excluded, s.merged, keccak256(abi.encodePacked(s.slices)), s.mask
            )
            : keccak256(
                abi.encode(
                    keccak256("Claim(uint32 round,bytes32 inputs,uint256 excluded,uint8 slice,bytes32 digest)"),
                    s.round,
                    s.inputs,
                    s.excluded,
                    s.slice,
                    s.digest
                )
            );
        s.signature = signed(who, domain, body);
        return s;
    }

    function claimBy(uint256 who, uint8 slice, bytes32 digest) private view returns (ISwarmTreasury.Statement memory) {
        return sign(who, claimOf(slice, digest));
    }

    function attestationBy(uint256 who, bytes32 merged, bytes32 first, bytes32 second, uint256 mask)
        private
        view
        returns (ISwarmTreasury.Statement memory)
    {
        return sign(who, attestationOf(merged, first, second, mask));
    }

    /// @dev Both ways round.
    function none(ISwarmTreasury.Statement memory a, ISwarmTreasury.Statement memory b, uint8 slice) private {
        refuses(ISwarmTreasury.NoContradiction.selector);
        treasury.proveContradiction(a, b, slice);
        refuses(ISwarmTreasury.NoContradiction.selector);
        treasury.proveContradiction(b, a, slice);
    }

    function proves(ISwarmTreasury.Statement memory a, ISwarmTreasury.Statement memory b, uint8 slice) private {
        vm.expectEmit();
        emit Slashed(account(0), 100, true);
        treasury.proveContradiction(a, b, slice);
        poolIs(100);
        vm.assertEq(treasury.stakeOf(account(0)), 0);
        booksBalance();
    }

    /* PROOFS */

    function testTwoClaims() public {
        proves(claimBy(0, 1, "x"), claimBy(0, 1, "y"), 1);
    }

    function testClaimAndAttestation() public {
        proves(claimBy(0, 1, "x"), attestationBy(0, "m", "x", "y", 2), 1);
    }

    function testTwoAttestations() public {
        proves(attestationBy(0, "m", "x", "y", 3), attestationBy(0, "n", "z", "y", 1), 0);
    }

    function testTwoModelsOfTheSameSlices() public {
        proves(attestationBy(0, "m", "x", "y", 1), attestationBy(0, "n", "x", "y", 2), 7);
    }

    /// @dev A member that has left is still bound by what it signed, while its stake is in.
    function testInTheDelay() public {
        vm.prank(account(0));
        treasury.requestUnstake();
        proves(claimBy(0, 1, "x"), claimBy(0, 1, "y"), 1);
    }

    /* NO PROOFS */

    function testTheSame() public {
        none(claimBy(0, 1, "x"), claimBy(0, 1, "x"), 1);
        none(claimBy(0, 1, "x"), attestationBy(0, "m", "y", "x", 3), 1);
        none(attestationBy(0, "m", "x", "y", 1), attestationBy(0, "m", "x", "y", 3), 0);
    }

    function testAnotherSlice() public {
        none(claimBy(0, 1, "x"), claimBy(0, 2, "y"), 1);
        none(claimBy(0, 1, "x"), claimBy(0, 1, "y"), 2);
        none(claimBy(0, 1, "x"), attestationBy(0, "m", "y", "x", 3), 0);
    }

    /// @dev Of slices outside of its mask a member repeats what others claim.
    function testOutsideOfTheMask() public {
        none(claimBy(0, 1, "x"), attestationBy(0, "m", "x", "y", 1), 1);
        none(attestationBy(0, "m", "x", "y", 1), attestationBy(0, "n", "x", "z", 3), 1);
    }

    function testBeyondTheSlices() public {
        none(claimBy(0, 2, "x"), attestationBy(0, "m", "x", "y", type(uint256).max), 2);
        none(claimBy(0, 255, "x"), attestationBy(0, "m", "x", "y", type(uint256).max), 255);
    }

    function testOtherContent() public {
        ISwarmTreasury.Statement memory s = claimOf(1, "y");
        s.round = 4;
        none(claimBy(0, 1, "x"), sign(0, s), 1);
        s = claimOf(1, "y");
        s.inputs = "other";
        none(claimBy(0, 1, "x"), sign(0, s), 1);
        s = claimOf(1, "y");
        s.excluded = 9;
        none(claimBy(0, 1, "x"), sign(0, s), 1);
    }

    function testAborts() public {
        ISwarmTreasury.Statement memory s = attestationOf(0, 0, 0, 0);
        s.slices = new bytes32[](0);
        s = sign(0, s);
        none(s, claimBy(0, 0, "x"), 0);
        none(s, attestationBy(0, "m", "x", "y", 3), 0);
        // Not even with slices.
        none(attestationBy(0, 0, "x", "y", 3), claimBy(0, 0, "z"), 0);
        none(attestationBy(0, 0, "x", "y", 3), attestationBy(0, "m", "x", "y", 3), 0);
        none(attestationBy(0, 0, "x", "y", 3), attestationBy(0, "m", "z", "y", 3), 0);
    }

    function testTwoSigners() public {
        none(claimBy(0, 1, "x"), claimBy(1, 1, "y"), 1);
    }

    /* SIGNATURES */

    function testForged() public {
        ISwarmTreasury.Statement memory a = claimBy(0, 1, "x");
        ISwarmTreasury.Statement memory b = claimOf(1, "y");
        b.signature = a.signature;
        none(a, b, 1);
    }

    /// @dev Neither recovers to anybody: nobody is not a signer.
    function testNobody() public {
        ISwarmTreasury.Statement memory a = claimOf(1, "x");
        ISwarmTreasury.Statement memory b = claimOf(1, "y");
        none(a, b, 1);
        a.signature = new bytes(65);
        b.signature = new bytes(65);
        none(a, b, 1);
        a = claimBy(0, 1, "x");
        b = claimBy(0, 1, "y");
        a.signature = abi.encodePacked(a.signature, uint8(0));
        none(a, b, 1);
        assembly {
            mstore(mload(add(a, 0x120)), 64)
        }
        none(a, b, 1);
    }

    function testMalleable() public {
        ISwarmTreasury.Statement memory a = claimBy(0, 1, "x");
        ISwarmTreasury.Statement memory b = claimBy(0, 1, "y");
        bytes memory sig = b.signature;
        bytes32 r;
        uint256 s;
        assembly {
            r := mload(add(sig, 32))
            s := mload(add(sig, 64))
        }
        b.signature = abi.encodePacked(r, N - s, uint8(sig[64]) == 27 ? uint8(28) : uint8(27));
        none(a, b, 1);
    }

    function replayed() private {
        none(claimBy(0, 1, "x"), claimBy(0, 1, "y"), 1);
    }

    function testOtherChain() public {
        domain = TypedLib.domain(block.chainid + 1, address(swarm), SALT);
        replayed();
    }

    function testOtherContract() public {
        domain = new MockSwarm(address(treasury), SALT).domainSeparator();
        replayed();
    }

    /// @dev A chain started anew, with the same addresses.
    function testOtherSalt() public {
        domain = TypedLib.domain(block.chainid, address(swarm), keccak256("other"));
        replayed();
        domain = TypedLib.domain(block.chainid, address(swarm), SALT);
        proves(claimBy(0, 1, "x"), claimBy(0, 1, "y"), 1);
    }

    /* FOR GOOD */

    function testOnce() public {
        ISwarmTreasury.Statement memory a = claimBy(0, 1, "x");
        ISwarmTreasury.Statement memory b = claimBy(0, 1, "y");
        proves(a, b, 1);
        vm.assertTrue(holding(0).forfeit);
        refuses(ISwarmTreasury.NothingToSlash.selector, account(0));
        treasury.proveContradiction(a, b, 1);
    }

    function testNoOtherStake() public {
        proves(claimBy(0, 1, "x"), claimBy(0, 1, "y"), 1);
        give(0, 10);
        vm.prank(account(0));
        refuses(ISwarmTreasury.StakeForfeit.selector, account(0));
        treasury.stake(10);
    }

    /// @dev Nobody can have itself marked while there is nothing to lose.
    function testNoStake() public {
        ISwarmTreasury.Statement memory a = claimBy(1, 1, "x");
        ISwarmTreasury.Statement memory b = claimBy(1, 1, "y");
        refuses(ISwarmTreasury.NothingToSlash.selector, account(1));
        treasury.proveContradiction(a, b, 1);
        vm.assertTrue(!holding(1).forfeit);
        stake(1, 10);
        treasury.proveContradiction(a, b, 1);
        poolIs(10);
    }

    /// @dev What the member earned is its own.
    function testOwedStays() public {
        fund(9, 1000);
        playRound(4, 0);
        settle(1);
        treasury.proveContradiction(claimBy(0, 1, "x"), claimBy(0, 1, "y"), 1);
        claim(0);
        vm.assertEq(balance(0), 250);
    }

    function testFuzz(uint8 slice, bytes32 x, bytes32 y, uint256 mask) public {
        ISwarmTreasury.Statement memory a = claimBy(0, slice, x);
        ISwarmTreasury.Statement memory b = attestationOf("m", y, y, mask);
        b.slices = new bytes32[](16);
        if (slice < 16) b.slices[slice] = y;
        b = sign(0, b);
        bool contradicts = slice < 16 && mask >> slice & 1 == 1 && x != y;
        if (!contradicts) refuses(ISwarmTreasury.NoContradiction.selector);
        treasury.proveContradiction(a, b, slice);
        poolIs(contradicts ? 100 : 0);
    }
}
