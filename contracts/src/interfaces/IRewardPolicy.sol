// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title How a round's money is shared among those whose updates were merged. A treasury has one, for good.
/// @notice Contribution cannot be proven: whatever a policy goes by is as good as what members declare.
interface IRewardPolicy {
    /// @dev An update of a round, as the chain recorded it: what the hash over a round's inputs is made of. `digest` is the
    /// sha2-256 of the root of the update's CID; `weight` is as declared, capped by the member's invitation.
    struct Entry {
        address account;
        uint8 index;
        bytes32 digest;
        uint32 weight;
    }

    /// @notice The shares of one round, from nothing but the arguments: the same for whoever settles, whenever.
    /// @dev Must not revert: a round that cannot be settled holds up all later ones, and the refund after them.
    /// @param round the round that was merged.
    /// @param pot what there is to share, in the token's smallest unit.
    /// @param included the updates to pay, in the order of submission; not empty.
    /// @return amounts one an entry; together at most `pot`. What is left of it stays in the treasury.
    function shares(uint32 round, uint256 pot, Entry[] calldata included)
        external
        view
        returns (uint256[] memory amounts);
}
