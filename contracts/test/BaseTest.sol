// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {TypedLib} from "../src/libraries/TypedLib.sol";
import {Vm} from "./Vm.sol";

/// @dev A swarm whose founders and members have known keys, and the moves of a round.
abstract contract BaseTest {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant START = 1_800_000_000;
    uint40 internal constant FOREVER = type(uint40).max;
    uint32 internal constant MAX_WEIGHT = 1_000_000;
    bytes internal constant ADDRESSES = "/ip4/127.0.0.1/tcp/4001/p2p/16Uiu2HAmSomePeer";

    ISwarm internal swarm;

    constructor() {
        vm.warp(START);
        vm.roll(100);
    }

    /* KEYS */

    function key(uint256 i) internal pure returns (uint256) {
        return 0x1000 + i;
    }

    function account(uint256 i) internal pure returns (address) {
        return vm.addr(key(i));
    }

    /* SET-UP */

    function baseConfig(uint16 members) internal pure returns (ISwarm.Config memory c) {
        c.genesis = keccak256("genesis");
        c.size = 5 * 262_144 - 17;
        c.schema = keccak256("schema");
        c.updateSize = c.size;
        c.updateSchema = c.schema;
        c.rule = keccak256("rule");
        c.purpose = keccak256("purpose");
        c.manifest = keccak256("manifest");
        c.initialMembers = members;
        c.f = members < 2 ? 0 : 1;
        c.kMax = 16;
        c.minUpdates = members < 2 ? 1 : 2;
        c.fracBps = 5000;
        c.collectTimeout = 600;
        c.grace = 60;
        c.mergeTimeout = 300;
        c.maxMissed = 3;
        c.maxRounds = 100;
        c.patience = 0;
        c.abandonAfter = 30 days;
        c.kInvite = 2;
        c.founders = new address[](3);
        for (uint256 i; i < 3; ++i) {
            c.founders[i] = account(i);
        }
    }

    /// @dev By the compiled file, as all that ships: a test that imported it would compile it too, and with other settings.
    function deploy(ISwarm.Config memory c) internal returns (ISwarm) {
        return ISwarm(vm.deployCode("src/Swarm.sol:Swarm", abi.encode(c)));
    }

    /// @dev Deploys and enrols the initial members: accounts 0 to n - 1, of which 0 to 2 are the founders.
    function start(ISwarm.Config memory c) internal {
        swarm = deploy(c);
        for (uint256 i; i < c.initialMembers; ++i) {
            enrol(i);
        }
    }

    function start(uint16 members) internal {
        start(baseConfig(members));
    }

    /* SIGNATURES */

    function signed(uint256 who, bytes32 structHash) internal view returns (bytes memory) {
        bytes32 hash = MessageHashUtils.toTypedDataHash(swarm.domainSeparator(), structHash);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key(who), hash);
        return abi.encodePacked(r, s, v);
    }

    function inviteFor(address invitee) internal view returns (ISwarm.Invite memory) {
        uint24 term = swarm.memberOf(invitee).term;
        return ISwarm.Invite(invitee, term, MAX_WEIGHT, FOREVER, 0, swarm.config().purpose, FOREVER);
    }

    function invitedBy(ISwarm.Invite memory invite, uint256[] memory who) internal view returns (bytes[] memory s) {
        s = new bytes[](who.length);
        for (uint256 i; i < who.length; ++i) {
            s[i] = signed(who[i], TypedLib.invite(invite));
        }
    }

    function enrol(uint256 i) internal {
        enrol(i, FOREVER);
    }

    function enrol(uint256 i, uint40 expires) internal {
        enrolBy(i, list(0, 1), expires);
    }

    function enrolBy(uint256 i, uint256[] memory inviters) internal {
        enrolBy(i, inviters, FOREVER);
    }

    function enrolBy(uint256 i, uint256[] memory inviters, uint40 expires) internal {
        ISwarm.Invite memory invite = inviteFor(account(i));
        invite.expires = expires;
        bytes[] memory signatures = invitedBy(invite, inviters);
        vm.prank(account(i));
        swarm.enrol(invite, signatures, ADDRESSES);
    }

    /// @dev The next ballot, without a deadline.
    function voteOn(ISwarm.VoteKind kind, address target, uint32 arg) internal view returns (ISwarm.Vote memory) {
        return ISwarm.Vote(uint8(kind), target, arg, swarm.state().ballot, FOREVER);
    }

    function votedBy(ISwarm.Vote memory vote, uint256[] memory who) internal view returns (bytes[] memory s) {
        s = new bytes[](who.length);
        for (uint256 i; i < who.length; ++i) {
            s[i] = signed(who[i], TypedLib.vote(vote));
        }
    }

    /// @dev The other signature over the same content that curves allow, which ECDSA.recover of old took too.
    function malleate(bytes memory signature) internal pure {
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        assembly ("memory-safe") {
            let at := add(signature, 64)
            mstore(at, sub(order, mload(at)))
        }
        signature[64] = signature[64] == bytes1(uint8(27)) ? bytes1(uint8(28)) : bytes1(uint8(27));
    }

    function attestation(uint256 who, uint256 excluded, bytes32 merged, bytes32[] memory slices, uint256 mask)
        internal
        view
        returns (ISwarm.Signed memory)
    {
        ISwarm.View memory v = swarm.state();
        bytes32 packed = keccak256(abi.encodePacked(slices));
        return ISwarm.Signed(mask, signed(who, TypedLib.attestation(v.round, v.inputs, excluded, merged, packed, mask)));
    }

    function attestations(uint256[] memory who, uint256 excluded, bytes32 merged, bytes32[] memory slices)
        internal
        view
        returns (ISwarm.Signed[] memory s)
    {
        s = new ISwarm.Signed[](who.length);
        for (uint256 i; i < who.length; ++i) {
            s[i] = attestation(who[i], excluded, merged, slices, (1 << slices.length) - 1);
        }
    }

    /// @dev Account i, which holds index i, as the hash over the inputs names it.
    function memberWord(uint256 i) internal pure returns (uint256) {
        return uint256(uint160(account(i))) * 256 + i;
    }

    /* MOVES */

    /// @dev The swarm, for a call as an account sends it, and not through the contract that a test is.
    function direct() internal returns (ISwarm) {
        return sentBy(account(0));
    }

    function sentBy(address sender) internal returns (ISwarm) {
        vm.prank(sender, sender);
        return swarm;
    }

    function digestOf(uint32 round, uint256 i) internal pure returns (bytes32) {
        return keccak256(abi.encode("update", round, i));
    }

    function mergedOf(uint32 round) internal pure returns (bytes32) {
        return keccak256(abi.encode("merged", round));
    }

    function slicesOf(uint32 round, uint8 k) internal pure returns (bytes32[] memory slices) {
        slices = new bytes32[](k);
        for (uint256 j; j < k; ++j) {
            slices[j] = keccak256(abi.encode("slice", round, j));
        }
    }

    function submit(uint256 i) internal {
        submit(i, 0);
    }

    function submit(uint256 i, uint8 flags) internal {
        (uint32 round,) = swarm.progress();
        bytes32 digest = digestOf(round, i);
        int64 metric = flags & 4 == 0 ? int64(0) : int64(900_000);
        vm.prank(account(i));
        swarm.submitUpdate(round, digest, uint32(100 + i), metric, flags);
    }

    /// @dev Members 0 to n - 1 submit with these flags.
    function submitAll(uint256 n, uint8 flags) internal {
        for (uint256 i; i < n; ++i) {
            submit(i, flags);
        }
    }

    function merge(uint256 excluded) internal {
        ISwarm.View memory v = swarm.state();
        bytes32[] memory slices = slicesOf(v.round, v.k);
        uint256[] memory who = first(uint256(swarm.config().f) + 1);
        bytes32 merged = mergedOf(v.round);
        ISwarm.Signed[] memory signatures = attestations(who, excluded, merged, slices);
        direct().finalize(v.round, excluded, merged, slices, signatures);
    }

    function leave(uint256 i) internal {
        vm.prank(account(i));
        swarm.leave();
    }

    function decide(ISwarm.Vote memory vote, uint256[] memory who) internal {
        bytes[] memory signatures = votedBy(vote, who);
        direct().execute(vote, signatures);
    }

    function expel(uint256 i, uint256[] memory who) internal {
        decide(voteOn(ISwarm.VoteKind.EXPEL, account(i), 0), who);
    }

    function advance() internal {
        swarm.advance(new uint8[](0));
    }

    /// @dev A whole round of members 0 to n - 1.
    function playRound(uint256 n, uint8 flags) internal {
        submitAll(n, flags);
        merge(0);
    }

    function passes(uint256 time) internal {
        // Not block.timestamp: the optimizer may read it once a test.
        vm.warp(swarm.state().blockTimestamp + time);
        vm.roll(swarm.state().blockNumber + 1);
    }

    /* CHECKS */

    function phaseIs(ISwarm.Phase phase) internal view {
        vm.assertEq(uint256(swarm.state().phase), uint256(phase), "phase");
    }

    function statusIs(uint256 i, ISwarm.Status status) internal view {
        vm.assertEq(uint256(swarm.memberOf(account(i)).status), uint256(status), "status");
    }

    function refuses(bytes4 selector) internal {
        vm.expectRevert(abi.encodeWithSelector(selector));
    }

    function refuses(bytes4 selector, uint256 a) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a));
    }

    function refuses(bytes4 selector, uint256 a, uint256 b) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a, b));
    }

    function refuses(bytes4 selector, address a) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a));
    }

    function refuses(ISwarm.Vote memory vote, uint256[] memory who, bytes memory reason) internal {
        bytes[] memory signatures = votedBy(vote, who);
        vm.expectRevert(reason);
        direct().execute(vote, signatures);
    }

    function tooFewVotes(uint256 votes, uint256 active) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ISwarm.TooFewVotes.selector, votes, active);
    }

    function wrongPhase(ISwarm.Phase phase) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ISwarm.WrongPhase.selector, phase);
    }

    /* LISTS */

    function bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + x % (high - low + 1);
    }

    /// @dev 0 to n - 1.
    function first(uint256 n) internal pure returns (uint256[] memory l) {
        l = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            l[i] = i;
        }
    }

    function list() internal pure returns (uint256[] memory) {}

    function list(uint256 a) internal pure returns (uint256[] memory l) {
        l = new uint256[](1);
        l[0] = a;
    }

    function list(uint256 a, uint256 b) internal pure returns (uint256[] memory l) {
        l = new uint256[](2);
        (l[0], l[1]) = (a, b);
    }

    function list(uint256 a, uint256 b, uint256 c) internal pure returns (uint256[] memory l) {
        l = new uint256[](3);
        (l[0], l[1], l[2]) = (a, b, c);
    }

    function list(uint256 a, uint256 b, uint256 c, uint256 d) internal pure returns (uint256[] memory l) {
        l = new uint256[](4);
        (l[0], l[1], l[2], l[3]) = (a, b, c, d);
    }

    function indexes(uint256 a) internal pure returns (uint8[] memory l) {
        l = new uint8[](1);
        l[0] = uint8(a);
    }

    function indexes(uint256 a, uint256 b) internal pure returns (uint8[] memory l) {
        l = new uint8[](2);
        (l[0], l[1]) = (uint8(a), uint8(b));
    }
}
