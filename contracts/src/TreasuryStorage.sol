// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {ISwarm} from "./interfaces/ISwarm.sol";
import {ISwarmTreasury} from "./interfaces/ISwarmTreasury.sol";
import {PoolLib} from "./libraries/PoolLib.sol";

/// @title What a treasury stores, and how money comes in and goes out.
abstract contract TreasuryStorage is ISwarmTreasury, ReentrancyGuard {
    using SafeERC20 for IERC20;

    /* TYPES */

    /// @dev `owed` and `stake` share a slot; settling touches no other.
    struct Holding {
        uint128 owed;
        uint128 stake;
        uint128 funded;
        uint40 unstakeAt;
        bool forfeit;
        // The pool's level when `funded` was last brought up to date.
        PoolLib.Level since;
    }

    /* STORAGE */

    IERC20 internal immutable TOKEN;
    address internal immutable POLICY;
    uint128 internal immutable PER_ROUND;
    uint16 internal immutable ATTESTER_BPS;
    uint40 internal immutable UNSTAKE_DELAY;

    ISwarm internal _swarm;
    Totals internal _totals;
    PoolLib.Level internal _level;
    mapping(address account => Holding) internal _holdings;

    /// @dev What no treasury can work with. A stake that comes back after more than a year would never be given.
    constructor(Terms memory t) {
        if (t.token.code.length == 0) revert BadTerms("token");
        if (t.perRound != 0 && t.policy.code.length == 0) revert BadTerms("policy");
        if (t.attesterBps > 10_000) revert BadTerms("attesterBps");
        if (t.unstakeDelay > 365 days) revert BadTerms("unstakeDelay");
        TOKEN = IERC20(t.token);
        POLICY = t.policy;
        PER_ROUND = t.perRound;
        ATTESTER_BPS = t.attesterBps;
        UNSTAKE_DELAY = t.unstakeDelay;
        _level.factor = PoolLib.ONE;
    }

    /* SHARED */

    /// @dev Before it, money could come in that no way leads out of.
    modifier bound() {
        if (address(_swarm) == address(0)) revert NotBound();
        _;
    }

    /// @return arrived less than `amount` if the token takes a fee.
    function _pull(uint128 amount) internal returns (uint128 arrived) {
        uint256 before = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom(msg.sender, address(this), amount);
        arrived = SafeCast.toUint128(TOKEN.balanceOf(address(this)) - before);
        if (arrived == 0) revert NoAmount();
    }

    /// @dev The last thing that a function does.
    function _push(address to, uint128 amount) internal {
        TOKEN.safeTransfer(to, amount);
    }

    /// @dev A permit that somebody else has brought to the token already is no failure: the approval is there.
    function _permit(uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) internal {
        try IERC20Permit(address(TOKEN)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
    }

    function _stopped() internal view returns (bool) {
        (, ISwarm.Phase phase) = _swarm.progress();
        return phase == ISwarm.Phase.STOPPED;
    }
}
