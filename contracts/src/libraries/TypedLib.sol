// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../interfaces/ISwarm.sol";

/// @title EIP-712 hashes of the messages that the contract reads (section 7).
/// @dev Twin of swarmp2p/core/typed.py. The domain's salt keeps a message of one deployment from being valid in another,
/// even at the same address of a chain that was started anew.
library TypedLib {
    bytes32 internal constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)");
    bytes32 internal constant ATTESTATION_TYPE = keccak256(
        "Attestation(uint32 round,bytes32 inputs,uint256 excluded,bytes32 merged,bytes32 slices,uint256 mask)"
    );
    bytes32 internal constant CLAIM_TYPE =
        keccak256("Claim(uint32 round,bytes32 inputs,uint256 excluded,uint8 slice,bytes32 digest)");
    bytes32 internal constant INVITE_TYPE = keccak256(
        "Invite(address invitee,uint24 term,uint32 maxWeight,uint40 expires,uint128 stake,bytes32 purpose,uint40 deadline)"
    );
    bytes32 internal constant VOTE_TYPE =
        keccak256("Vote(uint8 kind,address target,uint32 arg,uint32 ballot,uint40 deadline)");

    /// @return the domain separator (swarmp2p, 1, chain id, contract, salt).
    function domain(uint256 chainId, address swarm, bytes32 salt) internal pure returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPE, keccak256("swarmp2p"), keccak256("1"), chainId, swarm, salt));
    }

    /// @notice The running hash of a round's inputs (section 3), after one more update.
    /// @dev It names the account beside the index: who held an index in a past round stays provable when it is another's.
    function nextInputs(bytes32 inputs, address account, uint8 index, bytes32 digest, uint32 weight)
        internal
        pure
        returns (bytes32)
    {
        uint256 member = uint256(uint160(account)) << 8 | index;
        return keccak256(abi.encode(inputs, member, digest, uint256(weight)));
    }

    /// @param slices keccak256 of the packed slice digests.
    /// @return the struct hash of an attestation.
    function attestation(uint32 round, bytes32 inputs, uint256 excluded, bytes32 merged, bytes32 slices, uint256 mask)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(ATTESTATION_TYPE, round, inputs, excluded, merged, slices, mask));
    }

    /// @return the struct hash of a claim.
    function claim(uint32 round, bytes32 inputs, uint256 excluded, uint8 slice, bytes32 digest)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(CLAIM_TYPE, round, inputs, excluded, slice, digest));
    }

    /// @return the struct hash of an invitation.
    function invite(ISwarm.Invite memory i) internal pure returns (bytes32) {
        return
            keccak256(
                abi.encode(INVITE_TYPE, i.invitee, i.term, i.maxWeight, i.expires, i.stake, i.purpose, i.deadline)
            );
    }

    /// @return the struct hash of a vote.
    function vote(ISwarm.Vote memory v) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOTE_TYPE, v.kind, v.target, v.arg, v.ballot, v.deadline));
    }
}
