"""What Python and Solidity must agree on: election, slices, coverage, typed hashes, seal and stop rule.

Run `python -m tests.core.protocol_vectors` to write interop/vectors/{election,slices,coverage,typed,seal}.json and
interop/vectors/invalid/typed.json. The tests of both languages read these files; their format is in
interop/vectors/README.md.
"""

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from swarmp2p.core.config import Config
from swarmp2p.core.coverage import coverage, covers
from swarmp2p.core.election import leaders, permutation, round_seed, worker
from swarmp2p.core.messages import Attestation, Claim, Invite, Objection, Receipt, Vote
from swarmp2p.core.slices import chunk_range, leaders_in_force, slice_digest
from swarmp2p.core.stopping import judge
from swarmp2p.core.threshold import inclusion_floor, sealable, threshold
from swarmp2p.core.typed import (
    Domain,
    Typed,
    domain_separator,
    next_inputs,
    signing_digest,
    slices_hash,
    struct_hash,
    swarm_salt,
)
from swarmp2p.core.types import CHUNK_SIZE, NO_DIGEST, Phase, Reason, StopReason, VoteKind, bitmap_of
from swarmp2p.core.view import View
from swarmp2p.identity import Key, keccak256

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
FOLDER = Path(__file__).parents[2] / "interop" / "vectors"
CONFIG = Config(
    genesis=b"g" * 32, size=1, schema=NO_DIGEST, update_size=1, update_schema=NO_DIGEST, rule=NO_DIGEST,
    purpose=NO_DIGEST, manifest=NO_DIGEST, initial_members=4, f=1, k_max=16, min_updates=2, frac_bps=5000,
    collect_timeout=600, grace=60, merge_timeout=600, max_missed=3, max_rounds=100, patience=0, abandon_after=86_400,
    k_invite=1, treasury=bytes(20), founders=(),
)  # fmt: skip
VIEW = View(
    salt=NO_DIGEST, round=2, phase=Phase.COLLECTING, opened_at=0, seal_at=0, sealed_at=0, count=0, threshold=2, k=0,
    inputs=NO_DIGEST, seed=NO_DIGEST, submitted=0, wait_for=0, roster=0, active=0, banned=0, sealed_rounds=0,
    head=b"h" * 32, head_round=2, merged_rounds=2, best=NO_DIGEST, best_round=0, judged_round=1, stale=0, ballot=0,
    max_rounds=100, stop_reason=StopReason.NONE, reports=0, reached=0, improved=0, metric_sum=0, metric_weight=0,
    reported=0, included=0, members=(), block_number=0, block_timestamp=0,
)  # fmt: skip


def hexed(value: bytes | int) -> str:
    """Bytes as they are, a bitmap as one 256-bit word."""
    return "0x" + (value if isinstance(value, bytes) else value.to_bytes(32, "big")).hex()


def election() -> dict[str, Any]:
    """The content of election.json."""
    random = Random(1)
    cases = []
    for members in (1, 2, 3, 4, 7, 16, 64, 256):
        roster = bitmap_of(random.sample(range(256), members))
        salt, head = random.randbytes(32), random.randbytes(32)
        round_ = random.randrange(1, 2**32)
        seed = round_seed(salt, round_, head, keccak256)
        order = permutation(roster, seed, keccak256)
        k = random.randint(1, min(16, members))
        ranks = [0, 1, members - 1, members, 3 * members + 1]
        cases.append(
            {
                "salt": hexed(salt),
                "round": round_,
                "head": hexed(head),
                "seed": hexed(seed),
                "roster": hexed(roster),
                "order": list(order),
                "k": k,
                "leaders": list(leaders(order, k)),
                "slice": k - 1,
                "ranks": ranks,
                "workers": [worker(order, k - 1, rank, k) for rank in ranks],
            }
        )
    return {"about": "Who works on which slice at which rank (docs/protocol.md, section 5).", "cases": cases}


def slices() -> dict[str, Any]:
    """The content of slices.json."""
    sizes = [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 5 * CHUNK_SIZE, 76 * CHUNK_SIZE - 9, 10_000 * CHUNK_SIZE]
    cases = []
    for size in sizes:
        for k_max, members in ((1, 4), (4, 4), (16, 5), (16, 64), (255, 256)):
            chunks = max(1, -(-size // CHUNK_SIZE))
            k = leaders_in_force(k_max, members, chunks)
            ranges = [chunk_range(slice_, k, chunks) for slice_ in range(k)]
            cases.append(
                {
                    "size": size,
                    "k_max": k_max,
                    "members": members,
                    "chunks": chunks,
                    "k": k,
                    "starts": [part.start for part in ranges],
                    "ends": [part.stop for part in ranges],
                }
            )
    random = Random(2)
    digests = []
    for count in (1, 2, 5):
        leaves = [random.randbytes(32) for _ in range(count)]
        digests.append({"leaves": [hexed(leaf) for leaf in leaves], "digest": hexed(slice_digest(leaves))})
    return {
        "about": "How a model is cut, and a slice's digest over its leaf hashes (docs/protocol.md, section 5).",
        "cases": cases,
        "digests": digests,
    }


def coverage_of_slices() -> dict[str, Any]:
    """The content of coverage.json."""
    random = Random(3)
    cases = []
    for case in range(40):
        k, q = random.randint(1, 16), random.randint(1, 4)
        full = (1 << k) - 1
        masks = [random.choice((full, random.getrandbits(k), random.getrandbits(256))) for _ in range(case % 7)]
        counts = coverage(masks, k)
        cases.append(
            {
                "masks": [hexed(mask) for mask in masks],
                "k": k,
                "q": q,
                "counts": list(counts),
                "covered": hexed(bitmap_of(slice_ for slice_, count in enumerate(counts) if count >= q)),
                "accepted": covers(masks, k, q),
            }
        )
    return {"about": "Whether q masks name every slice (docs/protocol.md, section 4, finalize).", "cases": cases}


def typed() -> dict[str, Any]:
    """The content of typed.json."""
    random = Random(4)
    key = Key.from_seed("typed vectors")
    genesis, parent = random.randbytes(32), random.randbytes(32)
    domain = Domain(31_337, random.randbytes(20), swarm_salt(genesis, 1_800_000_000, parent, keccak256))
    separator = domain_separator(domain, keccak256)
    parts = tuple(random.randbytes(32) for _ in range(3))
    inputs, excluded = random.randbytes(32), random.getrandbits(256)
    attestation = Attestation(7, inputs, excluded, random.randbytes(32), parts, 5)
    claim = Claim(2**32 - 1, inputs, excluded, 255, parts[0])
    objection = Objection(7, inputs, 255, Reason.INVALID, 2**32 - 1)
    invite = Invite(random.randbytes(20), 3, 2**32 - 1, 2**40 - 1, 2**128 - 1, random.randbytes(32), 1_900_000_000)
    vote = Vote(VoteKind.EXPEL_AND_SLASH, random.randbytes(20), 9, 11, 1_900_000_000)

    receipt = Receipt(7, vote.target, 2**64 - 1)

    def signed(body: Typed, **fields: Any) -> dict[str, Any]:
        digest = signing_digest(body, separator, keccak256)
        return fields | {
            "struct_hash": hexed(struct_hash(body, keccak256)),
            "digest": hexed(digest),
            "signature": hexed(key.sign(digest)),
        }

    chain, state = [], random.randbytes(32)
    first = state
    for index, weight in ((0, 1), (255, 2**32 - 1), (3, 100)):
        digest = random.randbytes(32)
        account = random.randbytes(20)
        state = next_inputs(state, account, index, digest, weight, keccak256)
        chain.append(
            {
                "account": hexed(account),
                "index": index,
                "digest": hexed(digest),
                "weight": weight,
                "inputs": hexed(state),
            }
        )
    return {
        "about": "EIP-712 hashes and signatures of the messages, and the running hash of inputs (section 7).",
        "domain": {
            "chain_id": domain.chain_id,
            "contract": hexed(domain.contract),
            "genesis": hexed(genesis),
            "timestamp": 1_800_000_000,
            "parent": hexed(parent),
            "salt": hexed(domain.salt),
            "separator": hexed(separator),
        },
        "signer": hexed(key.address),
        "attestation": signed(
            attestation,
            round=attestation.round,
            inputs=hexed(inputs),
            excluded=hexed(excluded),
            merged=hexed(attestation.merged),
            slices=[hexed(part) for part in parts],
            slices_hash=hexed(slices_hash(parts, keccak256)),
            mask=hexed(attestation.mask),
        ),
        "abort": signed(
            Attestation(7, inputs, excluded, NO_DIGEST, (), 0), round=7, inputs=hexed(inputs), excluded=hexed(excluded),
            merged=hexed(NO_DIGEST), slices=[], mask=hexed(0), slices_hash=hexed(slices_hash((), keccak256)),
        ),
        "claim": signed(
            claim, round=claim.round, inputs=hexed(inputs), excluded=hexed(excluded), slice=claim.slice,
            digest_of_slice=hexed(claim.digest),
        ),
        "objection": signed(
            objection, round=objection.round, inputs=hexed(inputs), member=objection.member, reason=objection.reason,
            chunk=objection.chunk,
        ),
        "invite": signed(
            invite, invitee=hexed(invite.invitee), term=invite.term, max_weight=invite.max_weight,
            expires=invite.expires, stake=hexed(invite.stake), purpose=hexed(invite.purpose), deadline=invite.deadline,
        ),
        "vote": signed(
            vote, kind=vote.kind, target=hexed(vote.target), arg=vote.arg, ballot=vote.ballot, deadline=vote.deadline
        ),
        "receipt": signed(receipt, round=receipt.round, server=hexed(receipt.server), bytes=hexed(receipt.size)),
        "inputs": {"seed": hexed(first), "submissions": chain},
    }  # fmt: skip


def refused_signatures() -> dict[str, Any]:
    """The content of invalid/typed.json."""
    random = Random(6)
    key = Key.from_seed("typed vectors")
    domain = Domain(31_337, random.randbytes(20), random.randbytes(32))
    body = Claim(7, random.randbytes(32), 0, 1, random.randbytes(32))

    def digest_in(other: Domain) -> bytes:
        return signing_digest(body, domain_separator(other, keccak256), keccak256)

    signature = key.sign(digest_in(domain))
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    high_s = (SECP256K1_ORDER - s).to_bytes(32, "big") + bytes([55 - v])
    changed = {
        "high s": r + high_s,
        "v counted from 0": signature[:64] + bytes([v - 27]),
        "other v": signature[:64] + bytes([55 - v]),
        "v that does not exist": signature[:64] + bytes([29]),
        "r is zero": bytes(32) + signature[32:],
        "s is zero": r + bytes(32) + signature[64:],
        "r beyond the order": b"\xff" * 32 + signature[32:],
        "too short": signature[:64],
        "too long": signature + b"\0",
        "empty": b"",
    }
    elsewhere = {
        "signed for another chain": replace(domain, chain_id=1),
        "signed for another contract": replace(domain, contract=random.randbytes(20)),
        "signed for another deployment": replace(domain, salt=random.randbytes(32)),
    }
    digest = hexed(digest_in(domain))
    cases = [{"why": why, "digest": digest, "signature": hexed(value)} for why, value in changed.items()]
    for why, other in elsewhere.items():
        cases.append({"why": why, "digest": digest, "signature": hexed(key.sign(digest_in(other)))})
    return {
        "about": "Signatures that must not count as the signer's (docs/protocol.md, section 7).",
        "signer": hexed(key.address),
        "valid": {"digest": digest, "signature": hexed(signature)},
        "cases": cases,
    }


def seals(random: Random) -> list[dict[str, Any]]:
    """When a round seals."""
    cases = []
    for _ in range(60):
        round_, count, needed = random.randint(1, 2), random.randint(1, 6), random.randint(1, 6)
        minimum = random.randint(1, 4)
        seal_at, now = random.choice((0, 100)), random.choice((99, 100, 101))
        complete = random.random() < 0.5
        members = (1 << count) - 1
        waiting = members if complete else members | 1 << 7
        view = replace(
            VIEW, round=round_, count=count, threshold=needed, seal_at=seal_at, submitted=members, wait_for=waiting
        )
        config = replace(CONFIG, min_updates=minimum)
        cases.append(
            {
                "round": round_,
                "count": count,
                "threshold": needed,
                "min_updates": minimum,
                "seal_at": seal_at,
                "now": now,
                "complete": complete,
                "sealable": sealable(view, config, now),
            }
        )
    return cases


def seal() -> dict[str, Any]:
    """The content of seal.json."""
    random = Random(5)
    thresholds = []
    for waited in (0, 1, 2, 3, 4, 5, 64, 255, 256):
        for bps in (0, 1, 3333, 5000, 6667, 10_000):
            config = replace(CONFIG, frac_bps=bps)
            thresholds.append(
                {"waited_for": waited, "min_updates": 2, "frac_bps": bps, "threshold": threshold(config, 2, waited)}
            )
    votes = []
    for _ in range(40):
        reports = random.randint(2, 8)
        reached, improved = random.randint(0, reports), random.randint(0, reports)
        stale, patience = random.randint(0, 4), random.randint(0, 4)
        view = replace(VIEW, reports=reports, reached=reached, improved=improved, stale=stale)
        verdict = judge(view, patience)
        votes.append(
            {
                "reports": reports,
                "reached": reached,
                "improved": improved,
                "stale": stale,
                "patience": patience,
                "best": verdict.best == view.head,
                "stale_after": verdict.stale,
                "reason": int(verdict.reason),
            }
        )
    return {
        "about": "Thresholds, the moment of the seal, the vote on a head, the floor of included updates (section 4).",
        "thresholds": thresholds,
        "seals": seals(random),
        "votes": votes,
        "floors": [{"count": count, "floor": inclusion_floor(count)} for count in (0, 1, 2, 3, 4, 5, 255, 256)],
    }


FILES = {
    "election": election,
    "slices": slices,
    "coverage": coverage_of_slices,
    "typed": typed,
    "seal": seal,
    "invalid/typed": refused_signatures,
}


def main() -> None:
    """Write the files."""
    for name, content in FILES.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(content(), indent=1) + "\n")


if __name__ == "__main__":
    main()
