// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title One swarm: its members, its rounds, its results.
/// @notice The protocol is docs/protocol.md; section numbers below refer to it. Leaders only schedule work: a merged
/// model counts when f + 1 different members signed, for every slice, that they recomputed it.
interface ISwarm {
    enum Phase {
        COLLECTING,
        MERGING,
        STOPPED
    }

    enum Status {
        NONE,
        IDLE,
        ACTIVE,
        BARRED
    }

    enum StopReason {
        NONE,
        TARGET,
        PATIENCE,
        MAX_ROUNDS,
        VOTE,
        ABANDONED
    }

    enum VoteKind {
        NONE,
        EXPEL,
        EXPEL_AND_SLASH,
        ROLLBACK,
        STOP,
        REOPEN
    }

    /// @dev Immutable configuration (section 2). Times in seconds, sizes in bytes, digests sha2-256.
    struct Config {
        bytes32 genesis;
        uint64 size;
        bytes32 schema;
        uint64 updateSize;
        bytes32 updateSchema;
        bytes32 rule;
        bytes32 purpose;
        bytes32 manifest;
        uint16 initialMembers;
        uint8 f;
        uint8 kMax;
        uint16 minUpdates;
        uint16 fracBps;
        uint32 collectTimeout;
        uint32 grace;
        uint32 mergeTimeout;
        uint8 maxMissed;
        uint32 maxRounds;
        uint32 patience;
        uint32 abandonAfter;
        uint8 kInvite;
        // Escrow of stakes and rewards, an ISwarmTreasury; 0: none.
        address treasury;
        address[] founders;
    }

    /// @dev A member that holds an index, as `state()` returns it. `sealedRounds - seq` is how many sealed rounds in a row
    /// it missed; `term` is what its next invitation must carry; it is authorised up to and including `expires`. One that
    /// left (NONE) or was expelled (BARRED) holds its index until the next round opens.
    struct MemberView {
        uint8 index;
        address account;
        Status status;
        uint32 weight;
        uint32 maxWeight;
        uint40 expires;
        uint32 lastRound;
        uint32 seq;
        uint24 term;
        bytes32 digest;
    }

    /// @dev All that a peer's `decide` needs (sections 1 and 3). Times are 0 when not set. `roster` and `k` are 0 until the
    /// seal, and when the swarm stopped at one. `submitted`, `count` and `inputs` of the last round stay after STOPPED; the
    /// reports are those on the head. `banned` are this round's updates that a vote forces out; `roster` is without them.
    struct View {
        bytes32 salt;
        uint32 round;
        Phase phase;
        uint40 openedAt;
        uint40 sealAt;
        uint40 sealedAt;
        uint16 count;
        uint16 threshold;
        uint8 k;
        bytes32 inputs;
        bytes32 seed;
        uint256 submitted;
        uint256 waitFor;
        uint256 roster;
        uint256 active;
        uint256 banned;
        uint32 sealedRounds;
        bytes32 head;
        uint32 headRound;
        uint32 mergedRounds;
        bytes32 best;
        uint32 bestRound;
        uint32 judgedRound;
        uint32 stale;
        uint32 ballot;
        uint32 maxRounds;
        StopReason stopReason;
        uint16 reports;
        uint16 reached;
        uint16 improved;
        int128 metricSum;
        uint64 metricWeight;
        // Members that reported on the head: with this round's submitUpdate or, after STOPPED, with report().
        uint256 reported;
        // Members whose updates the head was merged from (results[headRound].included); 0 for the genesis.
        uint256 included;
        MemberView[] members;
        uint64 blockNumber;
        uint40 blockTimestamp;
        // From this time on `advance` lowers the threshold to what is there: the first multiple of collectTimeout after
        // minUpdates were in. 0: fewer are in, or the threshold is reached.
        uint40 extendAt;
        // Since when nothing was merged: the last merge, rollback or opening. After abandonAfter anyone may stop the swarm.
        uint40 quietSince;
        // Who decides with the others: the ACTIVE members, and those that are IDLE only because a merge left them out.
        uint256 voters;
    }

    /// @dev What a round merged; all 0 for a round that did not. `parentRound` merged the model that it was trained from (0:
    /// the genesis). `inputs` and `attesters`, whose signatures finalized it, are kept only for a treasury to pay by.
    struct Result {
        bytes32 merged;
        uint256 included;
        uint32 parentRound;
        uint64 blockNumber;
        uint40 timestamp;
        bytes32 inputs;
        uint256 attesters;
    }

    /// @dev A decision of more than half of the voters; EIP-712 type in section 7. `kind` is a VoteKind. `arg` is
    /// the round to go back to for ROLLBACK (0: the genesis), the new maxRounds for REOPEN, else 0; `target` is 0 but for
    /// the expulsions.
    struct Vote {
        uint8 kind;
        address target;
        uint32 arg;
        uint32 ballot;
        uint40 deadline;
    }

    /// @dev Leave to enrol; EIP-712 type in section 7.
    struct Invite {
        address invitee;
        uint24 term;
        uint32 maxWeight;
        uint40 expires;
        uint128 stake;
        bytes32 purpose;
        uint40 deadline;
    }

    /// @dev A member's attestation: which slices it recomputed, and its 65-byte signature (r, s, v).
    struct Signed {
        uint256 mask;
        bytes signature;
    }

    /// @notice A member enrolled, or renewed its membership; `term` is the invitation's.
    event Enrolled(address indexed account, uint8 index, uint24 term, uint32 maxWeight, uint40 expires);
    /// @notice A member's multiaddrs.
    event Addressed(address indexed account, bytes addresses);
    /// @notice IDLE to ACTIVE, in this round.
    event Activated(address indexed account, uint32 round);
    /// @notice A member left, in this round.
    event Left(address indexed account, uint32 round);
    /// @notice A member was barred for good by a vote, in this round; whether its stake is forfeit; whether its update of
    /// this round is forced out.
    event Expelled(address indexed account, uint32 round, bool slash, bool banned);
    /// @notice The head is an older one again: that of `toRound` (0: the genesis). `round` ended without a merge.
    event RolledBack(uint32 indexed round, uint32 toRound, bytes32 head);
    /// @notice A stopped swarm trains on from its best model.
    event Reopened(uint32 indexed round, bytes32 head, uint32 maxRounds);
    /// @notice To IDLE by `advance`, without a vote. (Members that a merge excludes become IDLE too, and keep theirs: Merged
    /// names them.)
    event Idled(address indexed account, uint32 round);
    /// @notice A round collects updates trained from `head`.
    event Opened(uint32 indexed round, bytes32 head, uint256 waitFor, uint16 threshold);
    /// @notice An update, and the report on the head that rode along.
    event Updated(
        uint32 indexed round,
        address indexed account,
        uint8 index,
        bytes32 digest,
        uint32 weight,
        int64 metric,
        uint8 flags
    );
    /// @notice The inputs of a round are fixed; it merges.
    event Sealed(uint32 indexed round, bytes32 inputs, uint256 roster, uint8 k);
    /// @notice A round has its merged model, the new head.
    event Merged(uint32 indexed round, bytes32 merged, uint256 included, uint256 excluded, uint32 parentRound);
    /// @notice A round ended without a merge; the head stays.
    event Aborted(uint32 indexed round);
    /// @notice A multiple of collectTimeout passed below the threshold; the threshold from now on.
    event Extended(uint32 indexed round, uint16 threshold);
    /// @notice The swarm stopped.
    event Stopped(uint32 indexed round, StopReason reason, bytes32 head, bytes32 best);
    /// @notice A report on the last head, after STOPPED.
    event Reported(bytes32 indexed head, address indexed account, int64 metric, uint8 flags);

    /// @notice The configuration cannot work; names the field.
    error BadConfig(string field);
    /// @notice Not in this phase.
    error WrongPhase(Phase phase);
    /// @notice The round is another one by now.
    error WrongRound(uint32 round);
    /// @notice This address is not enrolled.
    error NotAMember(address account);
    /// @notice The member's authorised time has passed; a new invitation renews it.
    error MemberExpired(address account, uint40 expires);
    /// @notice The member is ACTIVE already.
    error AlreadyActive(address account);
    /// @notice One update a member and round.
    error AlreadySubmitted(address account, uint32 round);
    /// @notice One report a member and head.
    error AlreadyReported(address account);
    /// @notice An update needs a digest.
    error NoDigest();
    /// @notice Weights are 1 to maxWeight, by the member's invitation.
    error BadWeight(uint32 weight, uint32 maxWeight);
    /// @notice Flags are 0, or 4 together with any of 1 and 2; `report` needs 4.
    error BadFlags(uint8 flags);
    /// @notice Multiaddrs are at most 256 bytes.
    error AddressesTooLong(uint256 length);
    /// @notice Nobody to make IDLE, no deadline passed.
    error NothingDue();
    /// @notice The invitation is for somebody else.
    error NotInvitee(address invitee);
    /// @notice The invitation was used, or comes too early: this is the term it must carry.
    error WrongTerm(uint24 term);
    /// @notice The invitation's deadline, or the membership that it gives, has passed.
    error InvitationExpired(uint40 until);
    /// @notice The signers agreed to another purpose than this swarm's.
    error WrongPurpose(bytes32 purpose);
    /// @notice The invitation asks for a stake, and this swarm has no treasury to hold one.
    error StakeNotAccepted(uint128 stake);
    /// @notice The invitation asks for a larger stake than the invitee has in the treasury.
    error StakeMissing(uint256 stake, uint128 needed);
    /// @notice The members expelled this address, for good.
    error MemberBarred(address account);
    /// @notice No such kind of vote, or an argument that it cannot have.
    error BadVote(uint8 kind, uint32 arg);
    /// @notice The vote is for another ballot: each number is used once.
    error WrongBallot(uint32 ballot);
    /// @notice The vote's deadline has passed.
    error VoteExpired(uint40 deadline);
    /// @notice A vote needs more than half of the voters; the target does not count among the signers.
    error TooFewVotes(uint16 signed, uint16 voters);
    /// @notice The round to go back to is not one that the head descends from.
    error NotAnAncestor(uint32 round);
    /// @notice Not yet: the last merge, rollback or opening is less than abandonAfter ago.
    error NotAbandoned(uint40 until);
    /// @notice Sent through a contract: signatures have to be in the transaction itself, for those who audit.
    error NotDirect(address sender);
    /// @notice Updates that a vote forced out have to be excluded.
    error BannedIncluded(uint256 banned);
    /// @notice Neither kInvite founders nor more than half of the voters signed.
    error TooFewInviters(uint16 founders, uint16 members);
    /// @notice All 256 indexes are held.
    error SwarmFull();
    /// @notice `excluded` names a member that is not on the roster.
    error NotOnRoster(uint256 strangers);
    /// @notice At least half of the round's updates must be included; those that a vote forced out are none of them.
    error TooFewIncluded(uint16 included, uint16 floor);
    /// @notice One digest a slice; none for an abort.
    error WrongSliceCount(uint256 slices, uint8 k);
    /// @notice A signature that does not recover to an enrolled, unexpired member for exactly this content.
    error NotAuthorised(address signer);
    /// @notice Two signatures by one member.
    error DuplicateSigner(address signer);
    /// @notice Fewer signers than an abort needs.
    error TooFewSigners(uint256 signers, uint8 needed);
    /// @notice Slices that fewer than f + 1 signers attested.
    error NotCovered(uint256 slices);

    /// @notice Join, with an invitation signed by kInvite founders or by more than half of the voters. ACTIVE at
    /// once, and waited for from the next round on (in round 1 from now). A member renews its terms in the same way.
    /// @dev Signatures that count for neither are ignored: a signer may have become IDLE since.
    /// @param invite for the sender, with its term; signed in the domain of this deployment.
    /// @param signatures 65 bytes each (r, s, v).
    /// @param addresses the member's multiaddrs, each with /p2p/<peer id>, joined by newlines; at most 256 bytes.
    function enrol(Invite calldata invite, bytes[] calldata signatures, bytes calldata addresses) external;

    /// @notice Change the sender's multiaddrs; at most 256 bytes.
    function setAddresses(bytes calldata addresses) external;

    /// @notice IDLE to ACTIVE; waited for from the next round on.
    function ready() external;

    /// @notice The sender's update of this round, once. Makes an IDLE sender ACTIVE; seals the round if it completes it.
    /// @dev An update that comes after sealAt but before the seal is in.
    /// @param round the one that collects.
    /// @param digest sha2-256 of the root of the update's CID.
    /// @param weight 1 to the invitation's maxWeight.
    /// @param metric validation metric on the head, fixed-point with 6 decimals; only for display.
    /// @param flags 1 target reached, 2 improved, 4 has report.
    function submitUpdate(uint32 round, bytes32 digest, uint32 weight, int64 metric, uint8 flags) external;

    /// @notice Anyone: make members IDLE that missed maxMissed sealed rounds in a row or expired, then the due transition:
    /// seal at sealAt, extension at extendAt, abort at sealedAt + mergeTimeout.
    /// @param idle indexes; those that are not due are ignored.
    function advance(uint8[] calldata idle) external;

    /// @notice Anyone: the merged model of the round, with signatures that cover every slice f + 1 times; with merged = 0
    /// and f + 1 signatures the round is aborted. First valid one wins, whoever leads and whenever.
    /// @param round the one that merges.
    /// @param excluded roster members whose updates are left out; they become IDLE.
    /// @param merged sha2-256 of the root of the merged model's CID; 0 aborts.
    /// @param slices digests of slices 0 to k - 1; empty for an abort.
    /// @param signatures attestations of different members over exactly this content, each with its own mask.
    function finalize(
        uint32 round,
        uint256 excluded,
        bytes32 merged,
        bytes32[] calldata slices,
        Signed[] calldata signatures
    ) external;

    /// @notice After STOPPED: a report on the last head, once. When as many reports as the threshold have come, they decide
    /// whether that head is the best, unless it was judged before.
    function report(int64 metric, uint8 flags) external;

    /// @notice Leave. An update that was submitted already stays in its round; the index is free from the next one on.
    function leave() external;

    /// @notice Anyone: what more than half of the voters signed, in one transaction.
    /// EXPEL bars `target` for good: before the seal its update is forced out, after it the update stays, unpaid.
    /// EXPEL_AND_SLASH also forfeits its stake; it may follow an EXPEL. ROLLBACK makes the model of round `arg`, from which
    /// the head descends, the head again. STOP stops. REOPEN starts a stopped swarm again on its best model.
    /// @param vote in the domain of this deployment, with the current ballot number, which it uses up.
    /// @param signatures 65 bytes each (r, s, v); those that do not count are ignored: a signer may have become IDLE since.
    function execute(Vote calldata vote, bytes[] calldata signatures) external;

    /// @notice Anyone: stop a swarm that has merged nothing for abandonAfter seconds, so that money in escrow comes back.
    function stopAbandoned() external;

    /// @notice What the swarm was deployed with.
    function config() external view returns (Config memory);

    /// @notice keccak256 of the genesis and of the block that deployed: makes signatures and seeds of this deployment its own.
    function salt() external view returns (bytes32);

    /// @notice EIP-712 domain separator (swarmp2p, 1, chain id, this, salt).
    function domainSeparator() external view returns (bytes32);

    /// @notice The protocol's view(): everything `decide` needs, in one call (`view` is a reserved word).
    function state() external view returns (View memory);

    /// @notice The workers of rank 0 for slices 0..k-1 of a round that is MERGING.
    function leaders(uint32 round) external view returns (address[] memory);

    /// @notice What a round merged.
    function result(uint32 round) external view returns (Result memory);

    /// @notice One member, also one that was never enrolled (status NONE, term 0).
    function memberOf(address account) external view returns (MemberView memory);

    /// @notice Round and phase alone, cheaper than `state()`.
    function progress() external view returns (uint32 round, Phase phase);

    /// @notice From which round on an expelled member is unpaid (0: not expelled), and whether its stake is forfeit.
    function expulsionOf(address account) external view returns (uint32 round, bool slash);

    /// @notice A member's multiaddrs, joined by newlines: bootstrap records.
    function addressesOf(address account) external view returns (bytes memory);
}
