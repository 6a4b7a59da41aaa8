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
        VOTE
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
        uint8 kInvite;
        address[] founders;
    }

    /// @dev A member that holds an index, as `state()` returns it.
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

    /// @dev All that a peer's `decide` needs (sections 1 and 3).
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
    }

    struct Result {
        bytes32 merged;
        uint256 included;
        uint32 parentRound;
        uint64 blockNumber;
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

    event Enrolled(address indexed account, uint8 index, uint24 term, uint32 maxWeight, uint40 expires);
    event Addressed(address indexed account, bytes addresses);
    event Activated(address indexed account, uint32 round);
    event Idled(address indexed account, uint32 round);
    event Opened(uint32 indexed round, bytes32 head, uint256 waitFor, uint16 threshold);
    event Updated(
        uint32 indexed round, address indexed account, uint8 index, bytes32 digest, uint32 weight, int64 metric, uint8 flags
    );
    event Sealed(uint32 indexed round, bytes32 inputs, uint256 roster, uint8 k);
    event Merged(uint32 indexed round, bytes32 merged, uint256 included, uint256 excluded, uint32 parentRound);
    event Aborted(uint32 indexed round);
    event Extended(uint32 indexed round, uint16 threshold);
    event Stopped(uint32 indexed round, StopReason reason, bytes32 head, bytes32 best);
    event Reported(bytes32 indexed head, address indexed account, int64 metric, uint8 flags);

    /// @notice Join, with an invitation signed by kInvite founders or by more than half of the ACTIVE members.
    /// @param addresses the member's multiaddrs, each with /p2p/<peer id>, joined by newlines; at most 256 bytes.
    function enrol(Invite calldata invite, bytes[] calldata signatures, bytes calldata addresses) external;

    function setAddresses(bytes calldata addresses) external;

    /// @notice IDLE to ACTIVE; waited for from the next round on.
    function ready() external;

    /// @param metric validation metric on the head, fixed-point with 6 decimals; only for display.
    /// @param flags 1 target reached, 2 improved, 4 has report.
    function submitUpdate(uint32 round, bytes32 digest, uint32 weight, int64 metric, uint8 flags) external;

    /// @notice Anyone: make members IDLE that missed maxMissed sealed rounds in a row or expired, then the due transition.
    function advance(uint8[] calldata idle) external;

    /// @notice Anyone: the merged model of the round, with signatures that cover every slice f + 1 times; with merged = 0
    /// and f + 1 signatures the round is aborted.
    function finalize(
        uint32 round,
        uint256 excluded,
        bytes32 merged,
        bytes32[] calldata slices,
        Signed[] calldata signatures
    ) external;

    /// @notice After STOPPED: a report on the last head.
    function report(int64 metric, uint8 flags) external;

    function config() external view returns (Config memory);

    /// @notice EIP-712 domain separator (swarmp2p, 1, chain id, this, salt).
    function domainSeparator() external view returns (bytes32);

    /// @notice The protocol's view(): everything `decide` needs, in one call (`view` is a reserved word).
    function state() external view returns (View memory);

    /// @notice The workers of rank 0 for slices 0..k-1 of a round that is MERGING.
    function leaders(uint32 round) external view returns (address[] memory);

    function result(uint32 round) external view returns (Result memory);

    /// @notice All members ever enrolled, with their addresses: bootstrap records.
    function addressesOf(address account) external view returns (bytes memory);
}
