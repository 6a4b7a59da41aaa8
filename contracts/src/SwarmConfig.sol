// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "./interfaces/ISwarm.sol";
import {SliceLib} from "./libraries/SliceLib.sol";
import {TypedLib} from "./libraries/TypedLib.sol";

/// @title The immutable part of a swarm: its configuration and its salt (section 2).
abstract contract SwarmConfig is ISwarm {
    bytes32 internal immutable GENESIS;
    bytes32 internal immutable PURPOSE;
    uint8 internal immutable F;
    uint8 internal immutable K_MAX;
    uint16 internal immutable MIN_UPDATES;
    uint16 internal immutable FRAC_BPS;
    uint32 internal immutable COLLECT_TIMEOUT;
    uint32 internal immutable GRACE;
    uint32 internal immutable MERGE_TIMEOUT;
    uint8 internal immutable MAX_MISSED;
    uint32 internal immutable MAX_ROUNDS;
    uint32 internal immutable PATIENCE;
    uint32 internal immutable ABANDON_AFTER;
    uint8 internal immutable K_INVITE;
    address internal immutable TREASURY;

    /// @dev Makes signatures and seeds of this deployment its own, even on a chain started anew with the same addresses.
    bytes32 internal immutable SALT;
    uint64 internal immutable CHUNKS;

    /// @dev The whole configuration, ABI-encoded. What the contract goes by itself is in the immutables besides.
    bytes private _config;
    /// @dev Position in the list of founders plus one; 0: not a founder.
    mapping(address account => uint256 position) private _founderPosition;

    constructor(Config memory c) {
        _check(c);
        GENESIS = c.genesis;
        PURPOSE = c.purpose;
        F = c.f;
        K_MAX = c.kMax;
        MIN_UPDATES = c.minUpdates;
        FRAC_BPS = c.fracBps;
        COLLECT_TIMEOUT = c.collectTimeout;
        GRACE = c.grace;
        MERGE_TIMEOUT = c.mergeTimeout;
        MAX_MISSED = c.maxMissed;
        MAX_ROUNDS = c.maxRounds;
        PATIENCE = c.patience;
        ABANDON_AFTER = c.abandonAfter;
        K_INVITE = c.kInvite;
        TREASURY = c.treasury;
        CHUNKS = SliceLib.chunkCount(c.size);
        SALT = keccak256(abi.encode(c.genesis, block.timestamp, blockhash(block.number - 1)));
        _config = abi.encode(c);
        for (uint256 i; i < c.founders.length; ++i) {
            address founder = c.founders[i];
            if (founder == address(0) || _founderPosition[founder] != 0) revert BadConfig("founders");
            _founderPosition[founder] = i + 1;
        }
    }

    /// @inheritdoc ISwarm
    function config() external view returns (Config memory) {
        bytes memory encoded = _config;
        // It was encoded as it is returned; decoding it first would be a thousandth part of a swarm's code limit a field.
        assembly ("memory-safe") {
            return(add(encoded, 32), mload(encoded))
        }
    }

    /// @inheritdoc ISwarm
    function salt() external view returns (bytes32) {
        return SALT;
    }

    /// @inheritdoc ISwarm
    function domainSeparator() public view returns (bytes32) {
        return TypedLib.domain(block.chainid, address(this), SALT);
    }

    /// @return the founder's position as a set of one; 0: not a founder.
    function _founderBit(address account) internal view returns (uint256) {
        uint256 position = _founderPosition[account];
        return position == 0 ? 0 : 1 << (position - 1);
    }

    /// @dev What no swarm can work with. `found` refuses more.
    function _check(Config memory c) private pure {
        if (c.genesis == 0) revert BadConfig("genesis");
        if (c.initialMembers == 0 || c.initialMembers > 256 || c.initialMembers <= c.f) {
            revert BadConfig("initialMembers");
        }
        if (c.minUpdates <= c.f || c.minUpdates > 256) revert BadConfig("minUpdates");
        if (c.kMax == 0) revert BadConfig("kMax");
        if (c.fracBps > 10_000) revert BadConfig("fracBps");
        if (c.collectTimeout == 0) revert BadConfig("collectTimeout");
        if (c.mergeTimeout == 0) revert BadConfig("mergeTimeout");
        if (c.maxMissed == 0) revert BadConfig("maxMissed");
        if (c.maxRounds == 0) revert BadConfig("maxRounds");
        if (c.abandonAfter == 0) revert BadConfig("abandonAfter");
        if (c.kInvite == 0 || c.kInvite > c.founders.length) revert BadConfig("kInvite");
        if (c.founders.length > 256) revert BadConfig("founders");
    }
}
