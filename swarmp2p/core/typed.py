"""EIP-712 hashes of the off-chain messages, and the running hash of a round's inputs (docs/protocol.md, section 7).

Twin of the contract's library; both agree on `interop/vectors/typed.json`. Nothing signed here is valid on another
chain, deployment or round: the domain has chain, contract and salt, the bodies have round and inputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from swarmp2p.core.messages import Attestation, Claim, Invite, Objection, Receipt, Vote
from swarmp2p.core.types import Address, Digest, Keccak, word

NAME = "swarmp2p"
VERSION = "1"

DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
ATTESTATION_TYPE = (
    b"Attestation(uint32 round,bytes32 inputs,uint256 excluded,bytes32 merged,bytes32 slices,uint256 mask)"
)
CLAIM_TYPE = b"Claim(uint32 round,bytes32 inputs,uint256 excluded,uint8 slice,bytes32 digest)"
OBJECTION_TYPE = b"Objection(uint32 round,bytes32 inputs,uint8 member,uint8 reason,uint32 chunk)"
INVITE_TYPE = (
    b"Invite(address invitee,uint24 term,uint32 maxWeight,uint40 expires,uint128 stake,bytes32 purpose,uint40 deadline)"
)
VOTE_TYPE = b"Vote(uint8 kind,address target,uint32 arg,uint32 ballot,uint40 deadline)"
RECEIPT_TYPE = b"Receipt(uint32 round,address server,uint64 bytes)"


Typed: TypeAlias = Attestation | Claim | Objection | Invite | Vote | Receipt


@dataclass(frozen=True, slots=True)
class Domain:
    """What a signature is bound to."""

    chain_id: int
    contract: Address
    salt: Digest


def padded(address: Address) -> bytes:
    """An address as one ABI word."""
    if len(address) != 20:
        raise ValueError(f"an address has 20 bytes, not {len(address)}")
    return address.rjust(32, b"\0")


def swarm_salt(genesis: Digest, timestamp: int, parent_hash: Digest, keccak: Keccak) -> Digest:
    """keccak256(abi.encode(bytes32 genesis, uint256 timestamp, bytes32 parentHash)) of the block that deploys."""
    return keccak(genesis + word(timestamp) + parent_hash)


def first_inputs(seed: Digest) -> Digest:
    """`inputs` of a round that opens: its seed."""
    return seed


def next_inputs(inputs: Digest, account: Address, index: int, digest: Digest, weight: int, keccak: Keccak) -> Digest:
    """`inputs` after one more submission: keccak256(abi.encode(inputs, account << 8 | index, digest, weight)), all uint256.

    It names the account beside the index: who held an index in a past round stays provable when it is another's.
    """
    return keccak(inputs + word(int.from_bytes(account, "big") << 8 | index) + digest + word(weight))


def slices_hash(slices: Iterable[Digest], keccak: Keccak) -> Digest:
    """keccak256 of the concatenated slice digests, as an attestation's `slices` field."""
    return keccak(b"".join(slices))


def domain_separator(domain: Domain, keccak: Keccak) -> Digest:
    """The EIP-712 domain separator, as `ISwarm.domainSeparator()` returns it."""
    return keccak(
        keccak(DOMAIN_TYPE)
        + keccak(NAME.encode())
        + keccak(VERSION.encode())
        + word(domain.chain_id)
        + padded(domain.contract)
        + domain.salt
    )


def struct_hash(body: Typed, keccak: Keccak) -> Digest:
    """The EIP-712 hash of a message, without its domain."""
    if isinstance(body, Attestation):
        return keccak(
            keccak(ATTESTATION_TYPE)
            + word(body.round)
            + body.inputs
            + word(body.excluded)
            + body.merged
            + slices_hash(body.slices, keccak)
            + word(body.mask)
        )
    if isinstance(body, Claim):
        return keccak(
            keccak(CLAIM_TYPE)
            + word(body.round)
            + body.inputs
            + word(body.excluded)
            + word(body.slice)
            + body.digest
        )  # fmt: skip
    if isinstance(body, Objection):
        return keccak(
            keccak(OBJECTION_TYPE)
            + word(body.round)
            + body.inputs
            + word(body.member)
            + word(body.reason)
            + word(body.chunk)
        )
    if isinstance(body, Invite):
        return keccak(
            keccak(INVITE_TYPE)
            + padded(body.invitee)
            + word(body.term)
            + word(body.max_weight)
            + word(body.expires)
            + word(body.stake)
            + body.purpose
            + word(body.deadline)
        )
    if isinstance(body, Receipt):
        return keccak(keccak(RECEIPT_TYPE) + word(body.round) + padded(body.server) + word(body.size))
    return keccak(
        keccak(VOTE_TYPE)
        + word(body.kind)
        + padded(body.target)
        + word(body.arg)
        + word(body.ballot)
        + word(body.deadline)
    )  # fmt: skip


def signing_digest(body: Typed, separator: Digest, keccak: Keccak) -> Digest:
    """The 32 bytes that are signed: keccak256(0x1901 || domain separator || struct hash)."""
    return keccak(b"\x19\x01" + separator + struct_hash(body, keccak))
