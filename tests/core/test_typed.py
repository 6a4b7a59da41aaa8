"""Typed hashes are those of an independent implementation, eth-account's (docs/protocol.md, section 7)."""

from typing import Any

import pytest
from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.core import typed
from swarmp2p.core.messages import Attestation, Claim, Invite, Objection, Receipt, Vote
from swarmp2p.core.typed import Domain, Typed, domain_separator, first_inputs, next_inputs, signing_digest
from swarmp2p.core.types import NO_DIGEST, Reason, VoteKind, word
from swarmp2p.identity import keccak256


def uint(size: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**size - 1)


words = st.binary(min_size=32, max_size=32)
accounts = st.binary(min_size=20, max_size=20)
attestations = st.builds(
    Attestation, uint(32), words, uint(256), words, st.lists(words, max_size=16).map(tuple), uint(256)
)
claims = st.builds(Claim, uint(32), words, uint(256), uint(8), words)
objections = st.builds(Objection, uint(32), words, uint(8), st.sampled_from(Reason), uint(32))
invites = st.builds(Invite, accounts, uint(24), uint(32), uint(40), uint(128), words, uint(40))
votes = st.builds(Vote, st.sampled_from(VoteKind), accounts, uint(32), uint(32), uint(40))
receipts = st.builds(Receipt, uint(32), accounts, uint(64))
bodies: st.SearchStrategy[Typed] = st.one_of(attestations, claims, objections, invites, votes, receipts)
domains = st.builds(Domain, uint(64), accounts, words)

TYPES = {
    Attestation: typed.ATTESTATION_TYPE,
    Claim: typed.CLAIM_TYPE,
    Objection: typed.OBJECTION_TYPE,
    Invite: typed.INVITE_TYPE,
    Vote: typed.VOTE_TYPE,
    Receipt: typed.RECEIPT_TYPE,
}
NAMES = {"maxWeight": "max_weight", "bytes": "size"}


def fields_of(declaration: bytes) -> list[dict[str, str]]:
    inside = declaration.decode().partition("(")[2].rstrip(")")
    return [dict(zip(("type", "name"), field.split(" "), strict=True)) for field in inside.split(",")]


def value(body: Typed, name: str) -> Any:
    if name == "slices" and isinstance(body, Attestation):
        return keccak256(b"".join(body.slices))
    found = getattr(body, NAMES.get(name, name))
    return "0x" + found.hex() if isinstance(found, bytes) and len(found) == 20 else found


def digest_of_eth_account(body: Typed, domain: Domain) -> bytes:
    kind, declaration = type(body).__name__, TYPES[type(body)]
    message = {
        "types": {"EIP712Domain": fields_of(typed.DOMAIN_TYPE), kind: fields_of(declaration)},
        "primaryType": kind,
        "domain": {
            "name": "swarmp2p",
            "version": "1",
            "chainId": domain.chain_id,
            "verifyingContract": "0x" + domain.contract.hex(),
            "salt": domain.salt,
        },
        "message": {field["name"]: value(body, field["name"]) for field in fields_of(declaration)},
    }
    return bytes(_hash_eip191_message(encode_typed_data(full_message=message)))


@given(bodies, domains)
def test_digests_are_those_of_eth_account(body: Typed, domain: Domain) -> None:
    separator = domain_separator(domain, keccak256)
    assert signing_digest(body, separator, keccak256) == digest_of_eth_account(body, domain)


@given(bodies, domains, domains)
def test_nothing_signed_is_valid_in_another_domain(body: Typed, one: Domain, other: Domain) -> None:
    digests = {signing_digest(body, domain_separator(domain, keccak256), keccak256) for domain in (one, other)}
    assert len(digests) == len({one, other})


@given(bodies, bodies)
def test_different_messages_have_different_digests(one: Typed, other: Typed) -> None:
    separator = domain_separator(Domain(1, bytes(20), NO_DIGEST), keccak256)
    assert (one == other) == (
        signing_digest(one, separator, keccak256) == signing_digest(other, separator, keccak256)
    )  # fmt: skip


def test_an_address_has_twenty_bytes() -> None:
    with pytest.raises(ValueError, match="20 bytes, not 19"):
        domain_separator(Domain(1, bytes(19), NO_DIGEST), keccak256)


@given(words, st.lists(st.tuples(accounts, uint(8), words, uint(32)), max_size=5))
def test_inputs_depend_on_every_submission_and_its_order(
    seed: bytes, submissions: list[tuple[bytes, int, bytes, int]]
) -> None:
    def run(items: list[tuple[bytes, int, bytes, int]]) -> bytes:
        state = first_inputs(seed)
        for account, index, digest, weight in items:
            assert next_inputs(state, account, index, digest, weight, keccak256) == keccak256(
                state + bytes(11) + account + bytes([index]) + digest + word(weight)
            )
            state = next_inputs(state, account, index, digest, weight, keccak256)
        return state

    assert (run(submissions) == run(submissions[::-1])) == (submissions == submissions[::-1])
    assert run(submissions) == seed or submissions
