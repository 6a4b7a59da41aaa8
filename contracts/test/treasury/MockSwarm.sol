// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRewardPolicy} from "../../src/interfaces/IRewardPolicy.sol";
import {ISwarm} from "../../src/interfaces/ISwarm.sol";
import {ISwarmTreasury} from "../../src/interfaces/ISwarmTreasury.sol";

/// @dev What a treasury asks of a swarm, and no more. The moves are without any of the swarm's conditions, so that a test
/// brings about every state by one call.
contract MockSwarm {
    address private _treasury;
    bytes32 public genesis = keccak256("genesis");
    bytes32 public salt;

    uint32 public round = 1;
    ISwarm.Phase public phase;
    bytes32 public inputs;
    bytes32 public head;
    uint32 public headRound;
    uint256 public submitted;

    mapping(uint32 => ISwarm.Result) private _results;
    mapping(uint32 => IRewardPolicy.Entry[]) private _entries;
    mapping(address => ISwarm.MemberView) private _members;
    mapping(address => uint32) private _expelled;
    mapping(address => bool) private _slashed;

    constructor(address treasury, bytes32 salt_) {
        _treasury = treasury;
        salt = salt_;
        head = genesis;
        _open();
    }

    /* WHAT THE TREASURY CALLS */

    function config() external view returns (ISwarm.Config memory c) {
        c.genesis = genesis;
        c.treasury = _treasury;
        c.founders = new address[](2);
    }

    function domainSeparator() external view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
                ),
                keccak256("swarmp2p"),
                keccak256("1"),
                block.chainid,
                address(this),
                salt
            )
        );
    }

    function result(uint32 number) external view returns (ISwarm.Result memory) {
        return _results[number];
    }

    function progress() external view returns (uint32, ISwarm.Phase) {
        return (round, phase);
    }

    function memberOf(address account) external view returns (ISwarm.MemberView memory) {
        return _members[account];
    }

    function expulsionOf(address account) external view returns (uint32, bool) {
        return (_expelled[account], _slashed[account]);
    }

    /* MOVES */

    function enrol(address account, uint8 index, uint40 expires) external {
        ISwarm.MemberView storage m = _members[account];
        (m.account, m.index, m.status, m.expires) = (account, index, ISwarm.Status.ACTIVE, expires);
    }

    function setStatus(address account, ISwarm.Status status) external {
        _members[account].status = status;
    }

    function expel(address account, bool slash) external {
        if (_expelled[account] == 0) _expelled[account] = round;
        _slashed[account] = _slashed[account] || slash;
        _members[account].status = ISwarm.Status.BARRED;
    }

    function submit(address account, uint8 index, bytes32 digest, uint32 weight) external {
        _entries[round].push(IRewardPolicy.Entry(account, index, digest, weight));
        uint256 who = uint256(uint160(account)) * 256 + index;
        inputs = keccak256(abi.encode(inputs, who, digest, uint256(weight)));
        submitted |= 1 << index;
    }

    function merge(uint256 excluded, uint256 attesters) external {
        bytes32 merged = keccak256(abi.encode("merged", round));
        _results[round] = ISwarm.Result(
            merged, submitted & ~excluded, headRound, uint64(block.number), uint40(block.timestamp), inputs, attesters
        );
        head = merged;
        headRound = round;
        _next();
    }

    /// @dev As at the last of maxRounds: the swarm stops in the round that it merges.
    function mergeAndStop(uint256 excluded, uint256 attesters) external {
        this.merge(excluded, attesters);
        --round;
        phase = ISwarm.Phase.STOPPED;
    }

    function abort() external {
        _next();
    }

    function abortMany(uint32 n) external {
        round += n - 1;
        _next();
    }

    function rollback(uint32 to) external {
        headRound = to;
        head = to == 0 ? genesis : _results[to].merged;
        _next();
    }

    function stop() external {
        phase = ISwarm.Phase.STOPPED;
    }

    function reopen() external {
        phase = ISwarm.Phase.COLLECTING;
        _next();
    }

    /* FOR TESTS */

    /// @dev All updates of a round, as they have to be given to settle it.
    function settlement(uint32 number) external view returns (ISwarmTreasury.Settlement memory) {
        return ISwarmTreasury.Settlement(number, _entries[number]);
    }

    function _next() private {
        ++round;
        _open();
    }

    function _open() private {
        inputs = keccak256(abi.encode(salt, round, head));
        submitted = 0;
    }
}
