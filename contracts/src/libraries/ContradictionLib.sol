// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ISwarmTreasury} from "../interfaces/ISwarmTreasury.sol";
import {TypedLib} from "./TypedLib.sol";

/// @title Two signatures of which one must be over something false (section 7).
/// @dev What is stated follows from (round, inputs, excluded) alone, so an honest member states one thing only. An abort
/// states nothing of the model, and a wider mask over the same digests is no other statement.
library ContradictionLib {
    /// @param domain of the swarm that the statements are about.
    /// @param slice the one on which they differ; any, when they differ in what the same slices make up.
    /// @return signer who signed both; 0: they do not contradict each other, or are not of one signer.
    function liar(bytes32 domain, ISwarmTreasury.Statement calldata a, ISwarmTreasury.Statement calldata b, uint8 slice)
        internal
        pure
        returns (address signer)
    {
        if (a.round != b.round || a.inputs != b.inputs || a.excluded != b.excluded) return address(0);
        if (!_differOn(a, b, slice) && !_differInRoot(a, b)) return address(0);
        signer = _signer(domain, a);
        if (signer != _signer(domain, b)) return address(0);
    }

    function _differOn(ISwarmTreasury.Statement calldata a, ISwarmTreasury.Statement calldata b, uint8 slice)
        private
        pure
        returns (bool)
    {
        return _states(a, slice) && _states(b, slice) && _digest(a, slice) != _digest(b, slice);
    }

    function _differInRoot(ISwarmTreasury.Statement calldata a, ISwarmTreasury.Statement calldata b)
        private
        pure
        returns (bool)
    {
        if (!a.attestation || !b.attestation || a.merged == 0 || b.merged == 0 || a.merged == b.merged) {
            return false;
        }
        return _packed(a) == _packed(b);
    }

    /// @return whether the signer says that it computed this slice.
    function _states(ISwarmTreasury.Statement calldata s, uint8 slice) private pure returns (bool) {
        if (!s.attestation) return s.slice == slice;
        return s.merged != 0 && slice < s.slices.length && (s.mask >> slice) & 1 == 1;
    }

    function _digest(ISwarmTreasury.Statement calldata s, uint8 slice) private pure returns (bytes32) {
        return s.attestation ? s.slices[slice] : s.digest;
    }

    function _packed(ISwarmTreasury.Statement calldata s) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(s.slices));
    }

    function _signer(bytes32 domain, ISwarmTreasury.Statement calldata s) private pure returns (address signer) {
        if (s.signature.length != 65) return address(0);
        bytes32 body = s.attestation
            ? TypedLib.attestation(s.round, s.inputs, s.excluded, s.merged, _packed(s), s.mask)
            : TypedLib.claim(s.round, s.inputs, s.excluded, s.slice, s.digest);
        (signer,,) = ECDSA.tryRecover(
            MessageHashUtils.toTypedDataHash(domain, body),
            uint8(s.signature[64]),
            bytes32(s.signature[:32]),
            bytes32(s.signature[32:64])
        );
    }
}
