// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BitmapLib} from "../src/libraries/BitmapLib.sol";
import {TypedLib} from "../src/libraries/TypedLib.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev Moves of members, of time and of anyone, in any order. A move that has no sense in a phase makes one that has, so
/// that few of them are in vain; what the contract refuses reverts, and forge's table counts it.
contract Handler is BaseTest {
    using BitmapLib for uint256;

    uint256 public constant ACCOUNTS = 24;
    /// @dev It signs anything, and no more than f = 1 do: never a wrong model on chain.
    uint256 public constant COLLUDER = ACCOUNTS - 1;

    address[] private all;
    mapping(address account => uint256 number) private numberOf;

    bytes32 private purpose;

    /// @dev What has to come out, kept beside the contract.
    mapping(uint32 round => bytes32 head) public headOf;
    mapping(uint32 round => uint32 parent) public parentOf;
    uint32[] public merged;
    uint32 public headRound;
    uint32 public ballots;
    mapping(uint32 round => mapping(uint8 index => address account)) private holder;
    mapping(address account => uint24 term) public termOf;

    /// @dev The last merge that was accepted, to be sent again.
    ISwarm.Signed[] private oldSignatures;
    bytes32[] private oldSlices;

    /// @dev What went wrong first.
    string public blame;

    constructor() {
        ISwarm.Config memory c = baseConfig(5);
        c.maxRounds = 12;
        c.patience = 4;
        for (uint256 i; i < ACCOUNTS; ++i) {
            all.push(account(i));
            numberOf[all[i]] = i;
        }
        purpose = c.purpose;
        start(c);
        enrol(COLLUDER);
        for (uint256 i; i < 5; ++i) {
            termOf[all[i]] = 1;
        }
        termOf[all[COLLUDER]] = 1;
        look();
    }

    function theSwarm() external view returns (ISwarm) {
        return swarm;
    }

    function mergedCount() external view returns (uint256) {
        return merged.length;
    }

    /* MOVES: each takes one number for all that it has to choose */

    function doSubmit(uint256 seed) external {
        seed = spread(seed);
        submitOne(seed);
        look();
    }

    function doSubmitAll(uint256 seed) external {
        seed = spread(seed);
        submitMost(seed, 0);
        look();
    }

    function doFinalize(uint256 seed) external {
        seed = spread(seed);
        finish(seed);
        look();
    }

    function doAbort(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        uint256[] memory signers = authorised(v);
        if (v.phase != ISwarm.Phase.MERGING) {
            submitMost(seed, 0);
        } else if (signers.length < 2) {
            passes(300);
            advance();
        } else {
            bytes32[] memory none = new bytes32[](0);
            uint256 at = seed % signers.length;
            uint256[] memory two = list(signers[at], signers[(at + 1) % signers.length]);
            ISwarm.Signed[] memory s = attestations(two, v.banned, 0, none);
            direct().finalize(v.round, v.banned, 0, none, s);
        }
        look();
    }

    function doAdvance(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        uint256 due = v.phase == ISwarm.Phase.MERGING ? v.sealedAt + 300 : v.sealAt != 0 ? v.sealAt : v.extendAt;
        bool waits = v.phase == ISwarm.Phase.STOPPED || due == 0;
        if (!waits && seed & 1 == 0 && due > v.blockTimestamp) passes(due - v.blockTimestamp);
        uint8[] memory idle = dueForIdle(swarm.state());
        if (idle.length == 0 && (waits || swarm.state().blockTimestamp < due)) passes(bound(seed >> 1, 1, 700));
        else swarm.advance(idle);
        look();
    }

    function doEnrol(uint256 seed) external {
        seed = spread(seed);
        enrolOne(seed);
        look();
    }

    function doReady(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        uint256[] memory who = idleNow(v);
        if (who.length == 0) {
            enrolOne(seed);
        } else {
            vm.prank(all[who[seed % who.length]]);
            swarm.ready();
        }
        look();
    }

    function doReport(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        uint256[] memory who = silent(v);
        if (v.phase != ISwarm.Phase.STOPPED || who.length == 0) {
            submitOne(seed);
        } else {
            vm.prank(all[who[seed % who.length]]);
            swarm.report(int64(uint64(seed >> 8)), 4 | uint8(seed >> 64) & 3);
        }
        look();
    }

    function doLeave(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        uint256[] memory who = enrolled(v, COLLUDER);
        // A swarm that is small already mostly grows.
        if (who.length == 0 || (who.length < 5 && seed & 7 != 0)) {
            enrolOne(seed);
        } else {
            vm.prank(all[who[(seed >> 3) % who.length]]);
            swarm.leave();
        }
        look();
    }

    function doExpel(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        uint256[] memory who = enrolled(v, COLLUDER);
        // The accounts are few, so those that are expelled already are slashed, mostly.
        uint256 target = who.length > 4 && seed & 3 == 0 ? who[(seed >> 3) % who.length] : (seed >> 3) % (ACCOUNTS - 1);
        ISwarm.MemberView memory m = swarm.memberOf(all[target]);
        (, bool slashed) = swarm.expulsionOf(all[target]);
        if (m.term == 0 || slashed || (m.status != ISwarm.Status.BARRED && seed & 3 != 0)) {
            submitOne(seed);
        } else {
            bool slash = m.status == ISwarm.Status.BARRED || seed & 4 == 0;
            ISwarm.VoteKind kind = slash ? ISwarm.VoteKind.EXPEL_AND_SLASH : ISwarm.VoteKind.EXPEL;
            together(v, voteOn(kind, all[target], 0), target);
        }
        look();
    }

    function doRollback(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        if (v.phase == ISwarm.Phase.STOPPED) {
            reopen(v, seed);
        } else if (v.headRound == 0 || seed & 1 == 0) {
            finish(seed);
        } else {
            uint32 to = parentOf[v.headRound];
            for (uint256 i = seed >> 1; i & 1 == 1 && to != 0; i >>= 1) {
                to = parentOf[to];
            }
            if (together(v, voteOn(ISwarm.VoteKind.ROLLBACK, address(0), to), ACCOUNTS)) headRound = to;
        }
        look();
    }

    function doStop(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        if (v.phase == ISwarm.Phase.STOPPED) reopen(v, seed);
        else if (seed & 3 == 0) together(v, voteOn(ISwarm.VoteKind.STOP, address(0), 0), ACCOUNTS);
        else submitMost(seed, 0);
        look();
    }

    function doReopen(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        if (v.phase == ISwarm.Phase.STOPPED) reopen(v, seed);
        else submitMost(seed, 0);
        look();
    }

    function doStopAbandoned(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        if (v.phase == ISwarm.Phase.STOPPED) {
            reopen(v, seed);
        } else {
            bool due = v.blockTimestamp >= v.quietSince + 30 days;
            if (!due && seed & 7 == 0) {
                passes(30 days);
                due = true;
            }
            if (due) {
                swarm.stopAbandoned();
            } else {
                mustFail(
                    address(0xbeef),
                    abi.encodeCall(swarm.stopAbandoned, ()),
                    ISwarm.NotAbandoned.selector,
                    "abandoned early"
                );
            }
        }
        look();
    }

    /* CHEATS: none of them may succeed */

    /// @dev f colluders sign a wrong model as often as they like, with whatever else can be had.
    function doCheat(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        if (v.phase != ISwarm.Phase.MERGING) {
            submitMost(seed, 0);
            v = swarm.state();
        }
        bytes32 model = keccak256("wrong");
        bytes32[] memory parts = slicesOf(v.round, v.k);
        uint256 excluded = v.banned;
        ISwarm.Signed[] memory s = new ISwarm.Signed[](3);
        s[0] = attestation(COLLUDER, excluded, model, parts, 255);
        // Its own again, with another mask; an honest one's over the right model; one by who is no member (any more).
        uint256 how = seed % 4;
        uint256 other = (seed >> 2) % COLLUDER;
        s[1] = how == 0
            ? attestation(COLLUDER, excluded, model, parts, 127)
            : how == 1
                ? attestation(other, excluded, mergedOf(v.round), parts, 255)
                : how == 2 ? attestation(outsider(other), excluded, model, parts, 255) : s[0];
        s[2] = how == 3 ? attestation(other, excluded, mergedOf(v.round), parts, 255) : s[1];
        try direct().finalize(v.round, excluded, model, parts, s) {
            fault("a wrong model");
        } catch {}
        look();
    }

    /// @dev The last merge's signatures again, for this round or for that one.
    function doReplayMerge(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        if (oldSignatures.length == 0) {
            finish(seed);
        } else {
            uint32 old = merged[merged.length - 1];
            uint32 round = seed & 1 == 0 ? old : v.round;
            try direct().finalize(round, v.banned, headOf[old], oldSlices, oldSignatures) {
                fault("a merge twice");
            } catch {}
        }
        look();
    }

    /// @dev Half of the voters, with the target, those that left or are barred, and strangers.
    function doMinority(uint256 seed) external {
        seed = spread(seed);
        ISwarm.View memory v = swarm.state();
        uint256[] memory voters = votersNow(v, ACCOUNTS);
        uint256 half = v.voters.count() / 2;
        if (half > voters.length) half = voters.length;
        uint256 target = (seed >> 8) % ACCOUNTS;
        ISwarm.Vote memory vote = voteOn(ISwarm.VoteKind((seed % 5) + 1), all[target], 0);
        bytes[] memory s = new bytes[](half + 3);
        for (uint256 i; i < half; ++i) {
            s[i] = signed(voters[(i + seed) % voters.length], TypedLib.vote(vote));
        }
        bool counts = isVoter(v, all[target]);
        s[half] = counts ? signed(target, TypedLib.vote(vote)) : bytes("");
        s[half + 1] = signed(outsider(seed), TypedLib.vote(vote));
        s[half + 2] = half == 0 ? bytes("") : s[0];
        mustFail(
            address(0xbeef), abi.encodeCall(swarm.execute, (vote, s)), ISwarm.TooFewVotes.selector, "a minority decided"
        );
        look();
    }

    /* WHAT MOVES ARE MADE OF */

    /// @dev Forge likes small numbers and large ones; a move wants all its bits. Not the highest, so that sums fit.
    function spread(uint256 seed) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed))) >> 1;
    }

    function submitOne(uint256 seed) private {
        ISwarm.View memory v = swarm.state();
        if (v.phase == ISwarm.Phase.MERGING) return finish(seed);
        if (v.phase == ISwarm.Phase.STOPPED) return reopen(v, seed);
        uint256[] memory who = missing(v);
        if (who.length == 0) return enrolOne(seed);
        submitBy(who[seed % who.length], v.round, seed >> 8);
    }

    /// @dev All members, or all but some of them.
    function submitMost(uint256 seed, uint256 depth) private {
        ISwarm.View memory v = swarm.state();
        if (v.phase == ISwarm.Phase.STOPPED) return reopen(v, seed);
        if (v.phase == ISwarm.Phase.MERGING) return finish(seed);
        uint256[] memory who = missing(v);
        if (who.length == 0 && depth == 0) return enrolOne(seed);
        for (uint256 i; i < who.length; ++i) {
            if (seed & 1 == 0 && (seed >> (i + 1)) & 3 == 0) continue;
            submitBy(who[i], v.round, uint256(keccak256(abi.encode(seed, i))));
            (, ISwarm.Phase phase) = swarm.progress();
            if (phase != ISwarm.Phase.COLLECTING) return;
        }
    }

    function submitBy(uint256 i, uint32 round, uint256 seed) private {
        uint8[8] memory flags = [4, 4, 6, 6, 5, 6, 0, 4];
        uint32 weight = seed & 8 == 0 ? 1 : uint32(1 + (seed >> 4) % MAX_WEIGHT);
        vm.prank(all[i]);
        swarm.submitUpdate(round, digestOf(round, i), weight, int64(uint64(seed >> 96)), flags[seed & 7]);
    }

    /// @dev A merge of this round: signers, exclusions and masks as they come, mostly good ones.
    function finish(uint256 seed) private {
        ISwarm.View memory v = swarm.state();
        if (v.phase == ISwarm.Phase.STOPPED) return reopen(v, seed);
        if (v.phase == ISwarm.Phase.COLLECTING) return submitMost(seed, 0);
        uint256[] memory signers = authorised(v);
        if (signers.length < 2) {
            passes(300);
            return advance();
        }
        uint256 excluded = v.banned | (v.roster & seed & (seed >> 40) & (seed >> 80));
        if (((v.roster & ~excluded).count()) * 2 < v.roster.count()) excluded = v.banned;
        bytes32[] memory parts = slicesOf(v.round, v.k);
        bytes32 model = mergedOf(v.round);
        uint256 n = signers.length < 3 ? 2 : 3;
        ISwarm.Signed[] memory s = new ISwarm.Signed[](n);
        for (uint256 i; i < n; ++i) {
            uint256 mask = i == 2 ? (seed >> 100) : (seed >> 120) & 15 == 0 ? (seed >> 130) : 255;
            s[i] = attestation(signers[(seed + i) % signers.length], excluded, model, parts, mask);
        }
        direct().finalize(v.round, excluded, model, parts, s);
        if (headOf[v.round] != 0) fault("two results");
        headOf[v.round] = model;
        parentOf[v.round] = headRound;
        headRound = v.round;
        merged.push(v.round);
        delete oldSignatures;
        for (uint256 i; i < n; ++i) {
            oldSignatures.push(s[i]);
        }
        oldSlices = parts;
    }

    /// @dev An account that is not barred joins, comes back or renews: by founders, or by all members.
    function enrolOne(uint256 seed) private {
        uint256 i = seed % ACCOUNTS;
        for (uint256 n; n < ACCOUNTS && swarm.memberOf(all[i]).status == ISwarm.Status.BARRED; ++n) {
            i = (i + 1) % ACCOUNTS;
        }
        ISwarm.Invite memory invite = ISwarm.Invite(all[i], termOf[all[i]], MAX_WEIGHT, FOREVER, 0, purpose, FOREVER);
        ISwarm.View memory v = swarm.state();
        if (seed >> 8 & 3 == 0) invite.expires = uint40(v.blockTimestamp + 3000);
        uint256[] memory voters = votersNow(v, ACCOUNTS);
        uint256[] memory founders = standingFounders();
        bool most = voters.length * 2 > v.voters.count();
        bool byMembers = most && (founders.length < 2 || seed >> 16 & 1 == 0);
        bytes[] memory s = invitedBy(invite, byMembers ? voters : founders);
        if (!most && founders.length < 2) {
            bytes4 refusal = ISwarm.TooFewInviters.selector;
            mustFail(all[i], abi.encodeCall(swarm.enrol, (invite, s, "")), refusal, "expelled founders invited");
            return;
        }
        vm.prank(all[i]);
        swarm.enrol(invite, s, "");
        if (invite.term != termOf[all[i]]++) fault("a term twice");
        mustFail(all[i], abi.encodeCall(swarm.enrol, (invite, s, "")), ISwarm.WrongTerm.selector, "an invitation twice");
    }

    /// @return who of the three founders is not expelled.
    function standingFounders() private view returns (uint256[] memory who) {
        who = new uint256[](3);
        uint256 n;
        for (uint256 i; i < 3; ++i) {
            if (swarm.memberOf(all[i]).status != ISwarm.Status.BARRED) who[n++] = i;
        }
        assembly ("memory-safe") {
            mstore(who, n)
        }
    }

    /// @dev The vote of all that can vote. Expired members are made IDLE first, where they are what is in the way.
    /// @return whether it was decided; else time has passed.
    function together(ISwarm.View memory v, ISwarm.Vote memory vote, uint256 target) private returns (bool) {
        uint256[] memory voters = votersNow(v, target);
        if (voters.length * 2 <= v.voters.count()) {
            uint8[] memory idle = dueForIdle(v);
            if (idle.length != 0) swarm.advance(idle);
            else enrolOne(uint256(keccak256(abi.encode(v.blockTimestamp, v.ballot, v.round, v.active))));
            return false;
        }
        bytes[] memory s = votedBy(vote, voters);
        direct().execute(vote, s);
        if (vote.ballot != ballots++) fault("a ballot out of turn");
        mustFail(address(0xbeef), abi.encodeCall(swarm.execute, (vote, s)), ISwarm.WrongBallot.selector, "a vote twice");
        return true;
    }

    function reopen(ISwarm.View memory v, uint256 seed) private {
        // A while without, so that reports, leavers and newcomers after the end have their time.
        if (seed >> 200 & 3 == 0) return enrolOne(seed);
        uint32 more = v.mergedRounds + 1 + uint32((seed >> 8) % 12);
        if (together(v, voteOn(ISwarm.VoteKind.REOPEN, address(0), more), ACCOUNTS)) headRound = v.bestRound;
    }

    function mustFail(address sender, bytes memory call, bytes4 selector, string memory otherwise) private {
        vm.prank(sender, sender);
        (bool ok, bytes memory reason) = address(swarm).call(call);
        if (ok || bytes4(reason) != selector) fault(otherwise);
    }

    function fault(string memory what) private {
        if (bytes(blame).length == 0) blame = what;
    }

    /// @dev After each move: an index stays with its account for the whole round.
    function look() private {
        ISwarm.View memory v = swarm.state();
        for (uint256 i; i < v.members.length; ++i) {
            ISwarm.MemberView memory m = v.members[i];
            address before = holder[v.round][m.index];
            if (before == address(0)) holder[v.round][m.index] = m.account;
            else if (before != m.account) fault("an index changed hands within a round");
        }
    }

    /* WHO */

    function pick(ISwarm.View memory v, uint256 without, uint256 mode) private view returns (uint256[] memory who) {
        who = new uint256[](v.members.length);
        uint256 n;
        for (uint256 i; i < v.members.length; ++i) {
            ISwarm.MemberView memory m = v.members[i];
            bool standing = m.status == ISwarm.Status.IDLE || m.status == ISwarm.Status.ACTIVE;
            bool valid = v.blockTimestamp <= m.expires;
            bool right = mode == 0
                ? standing
                : mode == 1
                    ? standing && valid
                    : mode == 2
                        ? v.voters.has(m.index) && valid
                        : mode == 3
                            ? m.status == ISwarm.Status.IDLE && valid
                            : standing && valid && !(mode == 4 ? v.submitted : v.reported).has(m.index);
            if (right && numberOf[m.account] != without) who[n++] = numberOf[m.account];
        }
        assembly ("memory-safe") {
            mstore(who, n)
        }
    }

    function isVoter(ISwarm.View memory v, address account) private view returns (bool) {
        ISwarm.MemberView memory m = swarm.memberOf(account);
        bool standing = m.status == ISwarm.Status.IDLE || m.status == ISwarm.Status.ACTIVE;
        return standing && v.voters.has(m.index);
    }

    function enrolled(ISwarm.View memory v, uint256 without) private view returns (uint256[] memory) {
        return pick(v, without, 0);
    }

    function authorised(ISwarm.View memory v) private view returns (uint256[] memory) {
        return pick(v, ACCOUNTS, 1);
    }

    function votersNow(ISwarm.View memory v, uint256 without) private view returns (uint256[] memory) {
        return pick(v, without, 2);
    }

    function idleNow(ISwarm.View memory v) private view returns (uint256[] memory) {
        return pick(v, ACCOUNTS, 3);
    }

    function missing(ISwarm.View memory v) private view returns (uint256[] memory) {
        return pick(v, ACCOUNTS, 4);
    }

    function silent(ISwarm.View memory v) private view returns (uint256[] memory) {
        return pick(v, ACCOUNTS, 5);
    }

    /// @return one who may not sign: it left, was barred, or never came.
    function outsider(uint256 from) private view returns (uint256) {
        for (uint256 n; n < ACCOUNTS; ++n) {
            uint256 i = (from + n) % ACCOUNTS;
            ISwarm.Status status = swarm.memberOf(all[i]).status;
            if (status == ISwarm.Status.NONE || status == ISwarm.Status.BARRED) return i;
        }
        return ACCOUNTS;
    }

    function dueForIdle(ISwarm.View memory v) private pure returns (uint8[] memory due) {
        due = new uint8[](v.members.length);
        uint256 n;
        for (uint256 i; i < v.members.length; ++i) {
            ISwarm.MemberView memory m = v.members[i];
            bool late = v.sealedRounds >= m.seq + 3 || v.blockTimestamp > m.expires;
            if (v.voters >> m.index & 1 == 1 && late) due[n++] = m.index;
        }
        assembly ("memory-safe") {
            mstore(due, n)
        }
    }
}

/// @dev Section 10 of docs/protocol.md, by its numbers.
contract InvariantTest is BaseTest {
    using BitmapLib for uint256;

    Handler private handler;

    function setUp() public {
        handler = new Handler();
        swarm = handler.theSwarm();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_protocol() public {
        ISwarm.View memory v = swarm.state();
        counts(v);
        members(v);
        lineage(v);
        vm.assertEq(v.ballot, handler.ballots());
        vm.assertEq(handler.blame(), "");
        // It costs twice as much as all others: in one state of four.
        if (uint256(keccak256(abi.encode(v.blockTimestamp, v.submitted, v.active, v.ballot))) & 3 == 0) live(v);
    }

    /// @dev (6), and what the roster is.
    function counts(ISwarm.View memory v) private pure {
        vm.assertEq(v.count, v.submitted.count());
        vm.assertTrue(v.submitted.covers(v.banned), "banned");
        vm.assertEq(v.roster, v.k == 0 ? 0 : v.submitted & ~v.banned, "roster");
        vm.assertTrue(v.k <= v.roster.count(), "k");
        vm.assertEq(v.reports, v.reported.count(), "reports");
        vm.assertTrue(v.reached <= v.reports && v.improved <= v.reports, "votes");
        bool merging = v.phase == ISwarm.Phase.MERGING;
        vm.assertTrue(!merging || (v.k != 0 && v.sealedAt != 0), "sealed");
        if (v.phase != ISwarm.Phase.COLLECTING) return;
        uint256 ready = (v.submitted & ~v.banned).count();
        uint256 needed = v.round == 1 ? v.threshold : 2;
        vm.assertTrue(!v.submitted.covers(v.waitFor) || ready < needed, "complete, and not sealed");
        vm.assertTrue((v.sealAt != 0) == (ready >= v.threshold), "grace");
        vm.assertTrue((v.extendAt != 0) == (ready >= 2 && ready < v.threshold), "extension");
    }

    /// @dev Indexes that are held are held by one account each, and say the same as the sets.
    function members(ISwarm.View memory v) private view {
        uint256 held;
        uint256 active;
        for (uint256 i; i < v.members.length; ++i) {
            ISwarm.MemberView memory m = v.members[i];
            vm.assertTrue(i == 0 || v.members[i - 1].index < m.index, "an index twice");
            vm.assertEq(swarm.memberOf(m.account).index, m.index, "an account twice");
            uint256 bit = BitmapLib.single(m.index);
            held |= bit;
            if (m.status == ISwarm.Status.ACTIVE) active |= bit;
            bool gone = m.status == ISwarm.Status.NONE || m.status == ISwarm.Status.BARRED;
            vm.assertTrue(!gone || (v.waitFor | v.active | v.voters) & bit == 0, "waits for who is gone");
            vm.assertTrue((m.lastRound == v.round) == v.submitted.has(m.index), "lastRound");
            vm.assertTrue(m.seq <= v.sealedRounds, "seq");
            (uint32 round,) = swarm.expulsionOf(m.account);
            vm.assertTrue((m.status == ISwarm.Status.BARRED) == (round != 0), "barred");
        }
        vm.assertEq(active, v.active, "active");
        vm.assertEq((v.waitFor | v.submitted | v.reported | v.voters) & ~held, 0, "strangers");
        vm.assertEq(active & ~v.voters, 0, "ACTIVE without a vote");
    }

    /// @dev Barred accounts stay so, and every invitation was used once.
    function others() private view {
        for (uint256 i; i < handler.ACCOUNTS(); ++i) {
            address a = account(i);
            ISwarm.MemberView memory m = swarm.memberOf(a);
            (uint32 round, bool slash) = swarm.expulsionOf(a);
            vm.assertTrue((m.status == ISwarm.Status.BARRED) == (round != 0), "barred");
            vm.assertTrue(round != 0 || !slash, "slashed");
            vm.assertEq(m.term, handler.termOf(a), "term");
        }
    }

    /// @dev (1) and (2): results are the honest ones, each head's line of parents ends at the genesis, the best one is on it.
    function lineage(ISwarm.View memory v) private view {
        vm.assertEq(v.mergedRounds, handler.mergedCount());
        vm.assertEq(v.headRound, handler.headRound());
        bool bestSeen = v.bestRound == 0;
        uint32 at = v.headRound;
        while (at != 0) {
            ISwarm.Result memory r = swarm.result(at);
            vm.assertEq(r.merged, handler.headOf(at));
            vm.assertEq(r.parentRound, handler.parentOf(at));
            vm.assertTrue(r.included != 0, "included nobody");
            vm.assertTrue(r.parentRound < at, "a later parent");
            if (at == v.bestRound) bestSeen = true;
            at = r.parentRound;
        }
        vm.assertTrue(bestSeen, "the best one is not an ancestor");
        vm.assertEq(v.head, v.headRound == 0 ? swarm.config().genesis : handler.headOf(v.headRound));
        vm.assertEq(v.best, v.bestRound == 0 ? swarm.config().genesis : handler.headOf(v.bestRound));
        vm.assertTrue(v.bestRound <= v.judgedRound && v.judgedRound <= v.headRound, "judged");
    }

    /// @dev At the end of each run what would take long after each move: (1) for all results, not only those on the head's
    /// line, and (7) for all accounts.
    function afterInvariant() public {
        others();
        for (uint256 i; i < handler.mergedCount(); ++i) {
            uint32 round = handler.merged(i);
            vm.assertEq(swarm.result(round).merged, handler.headOf(round));
            vm.assertEq(swarm.result(round).parentRound, handler.parentOf(round));
        }
        live(swarm.state());
    }

    /// @dev (4): in every state there is a way on that is open to anyone: to the merge or the abort of this round, with
    /// updates by two newcomers at most, whatever became of all members; and to the end, after abandonAfter.
    function live(ISwarm.View memory v) private {
        bool stopped = v.phase == ISwarm.Phase.STOPPED;
        vm.assertTrue((v.stopReason != ISwarm.StopReason.NONE) == stopped, "reason");
        if (stopped) return;
        uint256 before = vm.snapshotState();
        goesOn(v);
        vm.revertToState(before);
        vm.warp(uint256(v.quietSince) + 30 days > v.blockTimestamp ? v.quietSince + 30 days : v.blockTimestamp);
        swarm.stopAbandoned();
        phaseIs(ISwarm.Phase.STOPPED);
        vm.revertToStateAndDelete(before);
        vm.warp(v.blockTimestamp);
    }

    function goesOn(ISwarm.View memory v) private {
        if (v.phase == ISwarm.Phase.COLLECTING && (v.submitted & ~v.banned).count() < 2) {
            // Newcomers come by two founders here. Where the members have expelled these, only they themselves can invite.
            uint256 standing;
            for (uint256 i; i < 3; ++i) {
                if (swarm.memberOf(account(i)).status != ISwarm.Status.BARRED) ++standing;
            }
            if (standing < 2) return;
            for (uint256 i = 1000; i < 1002; ++i) {
                enrolBy(i, standingOf());
                submit(i);
                if (swarm.state().phase != ISwarm.Phase.COLLECTING) return;
            }
        }
        // An extension, then the grace.
        for (uint256 n; n < 2 && swarm.state().phase == ISwarm.Phase.COLLECTING; ++n) {
            due();
        }
        if (swarm.state().phase == ISwarm.Phase.STOPPED) return;
        vm.assertTrue(swarm.state().phase == ISwarm.Phase.MERGING, "does not seal");
        due();
        vm.assertEq(swarm.state().round, v.round + 1, "does not abort");
    }

    function standingOf() private view returns (uint256[] memory) {
        if (swarm.memberOf(account(0)).status == ISwarm.Status.BARRED) return list(1, 2);
        return swarm.memberOf(account(1)).status == ISwarm.Status.BARRED ? list(0, 2) : list(0, 1);
    }

    /// @dev Anyone sends what the next deadline allows.
    function due() private {
        ISwarm.View memory v = swarm.state();
        uint256 at = v.phase == ISwarm.Phase.MERGING ? v.sealedAt + 300 : v.sealAt != 0 ? v.sealAt : v.extendAt;
        if (at > v.blockTimestamp) vm.warp(at);
        advance();
    }
}
