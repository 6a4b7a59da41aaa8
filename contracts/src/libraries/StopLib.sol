// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../interfaces/ISwarm.sol";

/// @title Thresholds, the seal, and the vote on a head (section 4).
/// @dev Twin of swarmp2p/core/threshold.py and stopping.py. Stopping counts votes; the mean metric is for display, so one liar moves nothing.
library StopLib {
    uint256 internal constant BPS = 10_000;

    /// @return updates that start a merge: max(minUpdates, ceil(fracBps of the members waited for)).
    function threshold(uint16 waitedFor, uint16 minUpdates, uint16 fracBps) internal pure returns (uint16) {
        uint256 part = (uint256(waitedFor) * fracBps + BPS - 1) / BPS;
        return part > minUpdates ? uint16(part) : minUpdates;
    }

    /// @param sealAt 0: the threshold has not been reached.
    /// @param complete whether all that are waited for have submitted.
    /// @return whether a collecting round seals now.
    function sealable(
        uint32 round,
        uint16 count,
        uint16 needed,
        uint16 minUpdates,
        uint40 sealAt,
        uint256 time,
        bool complete
    ) internal pure returns (bool) {
        if (count >= needed && sealAt != 0 && time >= sealAt) return true;
        return complete && count >= (round == 1 ? needed : minUpdates);
    }

    /// @return whether the votes are a strict majority of the reports.
    function majority(uint16 votes, uint16 reports) internal pure returns (bool) {
        return uint256(votes) * 2 > reports;
    }

    /// @notice The vote on a head that has enough reports and was not judged before.
    /// @param stale heads in a row that were judged no better, so far.
    /// @param patience that many of them stop the swarm; 0: off.
    /// @return best whether the head is the best one now.
    /// @return staleNow the new `stale`.
    /// @return reason why to stop; NONE: go on.
    function judge(uint16 reports, uint16 reached, uint16 improved, uint32 stale, uint32 patience)
        internal
        pure
        returns (bool best, uint32 staleNow, ISwarm.StopReason reason)
    {
        if (majority(reached, reports)) return (true, 0, ISwarm.StopReason.TARGET);
        if (majority(improved, reports)) return (true, 0, ISwarm.StopReason.NONE);
        staleNow = stale + 1;
        if (patience != 0 && staleNow >= patience) reason = ISwarm.StopReason.PATIENCE;
    }

    /// @return smallest number of updates that a merge of `count` submitted ones must include.
    function floorOfIncluded(uint16 count) internal pure returns (uint16) {
        return count < 2 ? 1 : (count + 1) / 2;
    }
}
