"""What each member contributed to a swarm, as far as its chain and the receipts tell.

Updates, inclusions, attestations and reports are facts of the chain. Samples are what members declared, and bytes served
are what others signed that they got (rewards/receipts.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from swarmp2p.core.history import Enrolled, Merged, Record, Reported, Sealed, Stopped, Updated
from swarmp2p.core.messages import Attestation
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import Address, Digest, ReportFlag
from swarmp2p.identity import keccak256, recover
from swarmp2p.rewards.receipts import SignedReceipt


@dataclass(slots=True)
class RoundMeter:
    """What one member did in one round. Flags are 0 or 1, so that rows add up.

    Attributes:
        excluded: its update was left out of the merge.
        samples: its weight, if its update was merged.
        slices: that it signed to have recomputed, in the transaction that finalized the round.
        attestations: whether it signed there at all.
        bytes_served: by receipts of others, in this round.
    """

    round: int
    account: Address
    submitted: int = 0
    included: int = 0
    excluded: int = 0
    samples: int = 0
    slices: int = 0
    attestations: int = 0
    reports: int = 0
    bytes_served: int = 0


@dataclass(frozen=True, slots=True)
class Meter:
    """Rows by round, then by address; only those where a member did something."""

    rows: tuple[RoundMeter, ...]

    def totals(self) -> tuple[RoundMeter, ...]:
        """One row a member, by address; `round` is 0."""
        sums: dict[Address, RoundMeter] = {}
        for row in self.rows:
            total = sums.setdefault(row.account, RoundMeter(0, row.account))
            for name in _COUNTS:
                setattr(total, name, getattr(total, name) + getattr(row, name))
        return tuple(sums[account] for account in sorted(sums))


_COUNTS = tuple(field.name for field in fields(RoundMeter) if field.name not in ("round", "account"))


class _Rows:
    """Rows that are made when first asked for."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, Address], RoundMeter] = {}

    def __call__(self, round_: int, account: Address) -> RoundMeter:
        return self._rows.setdefault((round_, account), RoundMeter(round_, account))

    def sorted(self) -> tuple[RoundMeter, ...]:
        return tuple(self._rows[key] for key in sorted(self._rows))


def meter(records: Sequence[Record], domain: Digest, receipts: Iterable[SignedReceipt] = ()) -> Meter:
    """What everybody contributed.

    Args:
        records: of the swarm, from its beginning.
        domain: EIP-712 domain separator, by which signers are recovered.
        receipts: checked ones; of one round, server and client the largest counts.
    """
    rows = _Rows()
    inputs: dict[int, Digest] = {}
    updates: dict[int, list[Updated]] = {}
    members: set[Address] = set()
    stopped = 0
    for record in records:
        if isinstance(record, Enrolled):
            members.add(record.address)
        elif isinstance(record, Updated):
            updates.setdefault(record.round, []).append(record)
            row = rows(record.round, record.address)
            row.submitted = 1
            row.reports += bool(record.flags & ReportFlag.HAS_REPORT)
        elif isinstance(record, Sealed):
            inputs[record.round] = record.inputs
        elif isinstance(record, Merged):
            for update in updates.get(record.round, ()):
                row = rows(update.round, update.address)
                row.included = record.included >> update.index & 1
                row.excluded = 1 - row.included
                row.samples = update.weight * row.included
            for signer, slices in attesters(record, inputs.get(record.round, b""), domain):
                if signer in members:
                    row = rows(record.round, signer)
                    row.attestations, row.slices = 1, slices
        elif isinstance(record, Stopped):
            stopped = record.round
        elif isinstance(record, Reported):
            rows(stopped, record.address).reports += 1
    largest: dict[tuple[int, Address, Address], int] = {}
    for receipt in receipts:
        key = (receipt.body.round, receipt.body.server, receipt.client)
        largest[key] = max(largest.get(key, 0), receipt.body.size)
    for (round_, server, _), size in largest.items():
        rows(round_, server).bytes_served += size
    return Meter(rows.sorted())


def attesters(merged: Merged, inputs: Digest, domain: Digest) -> Iterable[tuple[Address, int]]:
    """Who signed a merge, each with the number of slices that it recomputed. Nobody, if another contract finalized it."""
    call = merged.call
    if call is None:
        return
    for mask, signature in call.signatures:
        body = Attestation(merged.round, inputs, call.excluded, call.merged, call.slices, mask)
        signer = recover(signing_digest(body, domain, keccak256), signature)
        if signer is not None:
            yield signer, (mask & (1 << len(call.slices)) - 1).bit_count()


def as_json(measured: Meter) -> dict[str, Any]:
    """For programs."""
    totals = [{"address": "0x" + row.account.hex(), **_counts(row)} for row in measured.totals()]
    rounds = [{"round": row.round, "address": "0x" + row.account.hex(), **_counts(row)} for row in measured.rows]
    return {"totals": totals, "rounds": rounds}


def as_csv(measured: Meter) -> str:
    """One row a member and round, with a head."""
    rows = [
        ",".join([str(row.round), "0x" + row.account.hex(), *map(str, _counts(row).values())]) for row in measured.rows
    ]
    return "\n".join([",".join(["round", "address", *_COUNTS]), *rows]) + "\n"


def lines(measured: Meter) -> Iterable[str]:
    """The totals for people."""
    for row in measured.totals():
        yield f"0x{row.account.hex()}"
        yield (
            f"  updates {row.submitted}: {row.included} merged with {row.samples} samples as declared,"
            f" {row.excluded} left out"
        )
        yield (
            f"  {row.attestations} attestations of {row.slices} slices; {row.reports} reports;"
            f" {row.bytes_served} bytes served, by others' receipts"
        )


def _counts(row: RoundMeter) -> dict[str, int]:
    return {name: value for name, value in asdict(row).items() if name in _COUNTS}
