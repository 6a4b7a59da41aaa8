// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRewardPolicy} from "./IRewardPolicy.sol";

/// @title Stakes and rewards of one swarm, in one ERC-20 token.
/// @notice Nothing is paid out that was not paid in: pool + owed + staked is at most what the treasury holds. Rounds are
/// settled in their order, by anyone, from what the swarm's contract recorded; members pull what they are owed.
/// A token may take a fee on transfers; one whose balances change by themselves will not do.
interface ISwarmTreasury {
    /// @dev Fixed at deployment, and part of the swarm's manifest. Amounts in the token's smallest unit.
    struct Terms {
        address token;
        // An IRewardPolicy; may be 0 when perRound is.
        address policy;
        // The pot of a merged round, as far as the pool reaches.
        uint128 perRound;
        // Share of the pot, in hundredths of a percent, that goes in equal parts to the round's members that attested the merge.
        uint16 attesterBps;
        // Seconds between asking for a stake back and getting it.
        uint40 unstakeDelay;
    }

    /// @dev One merged round with all its updates, in the order of submission: they hash to the round's `inputs`. Without
    /// entries also a round that ended without a merge: rounds before it need no settlement of their own, and a long row
    /// of them can so be passed over in several transactions.
    struct Settlement {
        uint32 round;
        IRewardPolicy.Entry[] entries;
    }

    /// @dev What a member signed of one slice in one round: a claim, or an attestation whose mask has the slice.
    struct Statement {
        bool attestation;
        uint32 round;
        bytes32 inputs;
        uint256 excluded;
        // Claim: the slice and its digest.
        uint8 slice;
        bytes32 digest;
        // Attestation: the rest of it, with the digests of all slices.
        bytes32 merged;
        bytes32[] slices;
        uint256 mask;
        // 65 bytes (r, s, v).
        bytes signature;
    }

    /// @dev One account. `refundable` is what is left of what it paid into the pool: each payment out of the pool takes the
    /// same fraction of all that is in it. `unstakeAt` is when its stake may be withdrawn (0: not asked for). `forfeit`:
    /// it signed a contradiction, and can have no stake any more.
    struct Account {
        uint128 owed;
        uint128 stake;
        uint128 refundable;
        uint40 unstakeAt;
        bool forfeit;
    }

    /// @dev `settledRound`: rounds up to this one are settled or merged nothing. What was slashed is in the pool, but in
    /// nobody's `refundable`: it can only be earned, so that nobody gains by slashing and stopping.
    struct Totals {
        uint128 pool;
        uint128 owed;
        uint128 staked;
        uint32 settledRound;
    }

    /// @notice The treasury belongs to this swarm from now on.
    event Bound(address indexed swarm);
    /// @notice Money for the pool; `amount` is what arrived.
    event Funded(address indexed from, uint256 amount);
    /// @notice A stake grew by `amount`, which arrived.
    event Staked(address indexed account, uint256 amount);
    /// @notice A stake may be withdrawn from this time on.
    event UnstakeRequested(address indexed account, uint40 unstakeAt);
    /// @notice A stake was paid back.
    event Unstaked(address indexed account, uint256 amount);
    /// @notice A stake was taken into the pool; `proven`: for two signatures that contradict each other, else by vote.
    event Slashed(address indexed account, uint256 amount, bool proven);
    /// @notice A round's money was shared: `paid` of `pot` is owed to its members now.
    event Settled(uint32 indexed round, uint256 pot, uint256 paid);
    /// @notice What one member earned in a round: its share by the policy, and its part of the attesters' share.
    event Earned(uint32 indexed round, address indexed account, uint256 share, uint256 bonus);
    /// @notice What was owed to an account was paid.
    event Claimed(address indexed account, uint256 amount);
    /// @notice What was left of what an account had paid in went back to it.
    event Refunded(address indexed account, uint256 amount);

    /// @notice The terms cannot work; names the field.
    error BadTerms(string field);
    /// @notice Only the deployer, once, and only to a swarm that names this treasury.
    error CannotBind();
    /// @notice There is no swarm yet.
    error NotBound();
    /// @notice Nothing arrived, or nothing was asked for.
    error NoAmount();
    /// @notice A member's stake stays in while it is one, and until the swarm stops.
    error StillAMember(address account);
    /// @notice No stake, or not asked for back yet: `requestUnstake` comes first.
    error NothingToWithdraw();
    /// @notice The stake may be withdrawn from this time on.
    error TooEarly(uint40 unstakeAt);
    /// @notice There is no stake to take.
    error NothingToSlash(address account);
    /// @notice By vote or by contradiction this account lost its stake, and any other that it would bring.
    error StakeForfeit(address account);
    /// @notice The members have not voted to slash this account.
    error NotSlashed(address account);
    /// @notice The two statements do not contradict each other, or are not of one signer.
    error NoContradiction();
    /// @notice A merged round was left out: this one. Or the round is not over: the swarm is in this one.
    error WrongSettlement(uint32 next);
    /// @notice The entries are not the updates of this round, all of them in their order.
    error WrongEntries(uint32 round);
    /// @notice The policy gave another number of shares, or more than the pot.
    error BadShares(uint32 round);
    /// @notice Nothing is owed to this account.
    error NothingOwed(address account);
    /// @notice Money comes back only when the swarm has stopped and all its rounds are settled.
    error NotRefundable();

    /// @notice By the deployer, once: the swarm whose configuration names this treasury.
    function bind(address swarm) external;

    /// @notice Pay into the pool. What arrives counts, should the token take a fee. Needs the token's approval.
    function fund(uint128 amount) external;

    /// @notice `fund`, with an ERC-2612 permit instead of an approval.
    function fundWithPermit(uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Add to the sender's stake; takes back a request to unstake. Needs the token's approval. Not for an account
    /// whose stake was forfeit.
    function stake(uint128 amount) external;

    /// @notice `stake`, with an ERC-2612 permit instead of an approval.
    function stakeWithPermit(uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Ask for the stake back: by who is no member (any more).
    /// @dev Members of a stopped swarm withdraw at once. They cannot ask: were the swarm reopened, then the delay would be
    /// over by the time that they leave.
    function requestUnstake() external;

    /// @notice Take the stake back, unstakeDelay after asking for it; at once, unasked, when the swarm has stopped.
    function withdrawStake() external;

    /// @notice Anyone: share the money of merged rounds, in their order, none left out.
    /// @dev The pot of a round is perRound, or what the pool still has. Members that were expelled in the round or before
    /// are not paid. Rounds that are settled already are skipped: somebody else may have been faster.
    function settle(Settlement[] calldata settlements) external;

    /// @notice Settle these rounds, and pay the sender what it is owed.
    function claim(Settlement[] calldata settlements) external;

    /// @notice Anyone: take the stake of a member that was expelled and slashed by vote.
    function slash(address account) external;

    /// @notice Anyone: take the stake of a member that signed two things of which one must be false, for good.
    /// @dev The same round, inputs and excluded members, and either different digests of `slice`, or different models of the
    /// same slices. Aborts contradict nothing. Evidence has no end: after a signature key was used from two places, only a
    /// new account can have a stake.
    function proveContradiction(Statement calldata a, Statement calldata b, uint8 slice) external;

    /// @notice After STOPPED, with all rounds settled: what is left of what the sender had paid into the pool.
    function refund() external;

    /// @notice What the treasury was deployed with.
    function terms() external view returns (Terms memory);

    /// @notice Its swarm; 0 before `bind`.
    function swarm() external view returns (address);

    /// @notice The stake that counts for enrolling: 0 once it was asked for back.
    function stakeOf(address account) external view returns (uint256);

    /// @notice One account.
    function accountOf(address account) external view returns (Account memory);

    /// @notice The sums over all accounts, and the pool.
    function totals() external view returns (Totals memory);
}
