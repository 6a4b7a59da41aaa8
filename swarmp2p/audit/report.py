"""What an audit finds: the lineage as far as it fits, and the first thing that does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from swarmp2p.content.unixfs import cid
from swarmp2p.control.ballot import described
from swarmp2p.core.messages import Vote
from swarmp2p.core.types import Address, Digest, VoteKind


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not fit."""

    round: int
    """0: the swarm itself, before any round."""
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        place = f"round {self.round}" if self.round else "the swarm"
        return f"{place}: {self.what}: expected {self.expected}, found {self.found}"


class Misfit(Exception):
    """Ends the checks. Never leaves the audit: it becomes the report's finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def misfit(round_: int, what: str, expected: object, found: object) -> NoReturn:
    """Ends the checks with this finding."""
    raise Misfit(Finding(round_, what, shown(expected), shown(found)))


def expect(round_: int, what: str, expected: object, found: object) -> None:
    """Ends the checks unless both are equal."""
    if expected != found:
        misfit(round_, what, expected, found)


def shown(value: object) -> str:
    """Bytes in hexadecimal, everything else as it is."""
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


@dataclass(frozen=True, slots=True)
class Input:
    """A member's update of a round."""

    address: Address
    index: int
    digest: Digest
    weight: int
    included: bool
    banned: bool = False
    """A vote forced it out."""


@dataclass(slots=True)
class Recomputed:
    """What became of the content of a round."""

    merged_held: bool
    """The merged model is here whole, and hashes to its CID."""
    slices: list[int] = field(default_factory=list)
    """Slices that were merged again, to the attested digest."""
    missing: list[Address] = field(default_factory=list)
    """Members whose update is not here, or not all of it: the protocol lets members drop it."""
    earlier_missing: list[Digest] = field(default_factory=list)
    """Models before it that the rule reads, and that are not here."""


@dataclass(frozen=True, slots=True)
class VoteReport:
    """A vote that was carried out, and fits."""

    round: int
    """In which it was."""
    vote: Vote
    signers: tuple[Address, ...]
    """Whose signatures count: voters whose time was not over, without the target, by index."""
    voters: int
    """The voters at that time, of which more than half had to sign."""
    block_timestamp: int

    def __str__(self) -> str:
        return (
            f"vote {self.vote.ballot} in round {self.round}: {described(self.vote)},"
            f" signed by {len(self.signers)} of {self.voters} voters"
        )


@dataclass(slots=True)
class RoundReport:
    """A merged round that fits."""

    round: int
    parent_round: int
    parent: Digest
    merged: Digest
    inputs: tuple[Input, ...]
    k: int
    slices: tuple[Digest, ...]
    signers: tuple[Address, ...]
    block_number: int
    """Chain block of the merge."""
    left_by: int | None = None
    """Number of the vote after which the head did not descend from this round any more; None: the head does."""
    content: Recomputed | None = None
    """None: the content was not looked at."""

    @property
    def included(self) -> tuple[Input, ...]:
        """The updates that were merged, in the order in which they are."""
        return tuple(sorted((each for each in self.inputs if each.included), key=lambda each: each.address))

    @property
    def recomputed(self) -> bool:
        """Whether the whole merge was made again, to the same CID."""
        return self.content is not None and len(self.content.slices) == self.k

    def summary(self) -> str:
        """What went in, who signed, and what became of the content, for people."""
        text = f"from {len(self.included)} of {len(self.inputs)} updates, signed by {len(self.signers)}"
        if self.left_by is not None:
            text += f"; left behind by vote {self.left_by}"
        if self.content is None:
            return text
        if not self.content.merged_held:
            text += "; the model is not held any more"
        if self.recomputed:
            return text + "; merged again to the same CID"
        missing = [f"updates of {', '.join(map(shown, self.content.missing))}"] if self.content.missing else []
        missing += ["models before it"] if self.content.earlier_missing else []
        return (
            text + f"; {len(self.content.slices)} of {self.k} slices merged again, not held are {' and '.join(missing)}"
        )


@dataclass(slots=True)
class Report:
    """The outcome of an audit."""

    chain_id: int
    contract: Address
    manifest: Digest
    genesis: Digest
    head: Digest
    size: int
    """Bytes of a model."""
    update_size: int
    """Bytes of an update."""
    rounds: list[RoundReport] = field(default_factory=list)
    """Merged rounds that fit, ascending, with those that a rollback or a reopening left behind."""
    votes: list[VoteReport] = field(default_factory=list)
    """Those that fit, by their number."""
    finding: Finding | None = None

    @property
    def fits(self) -> bool:
        """Nothing was found."""
        return self.finding is None

    @property
    def lineage(self) -> list[RoundReport]:
        """The rounds that the head descends from, ascending."""
        return [each for each in self.rounds if each.left_by is None]

    def lines(self) -> Iterator[str]:
        """The report for people: a line a round and a line a vote, then what does not fit, or that everything does."""
        votes = list(self.votes)
        for each in self.rounds:
            while votes and votes[0].round <= each.round:
                yield str(votes.pop(0))
            yield f"round {each.round}: {cid(each.merged, self.size)} {each.summary()}"
        yield from map(str, votes)
        if self.finding is not None:
            yield f"Does not fit: {self.finding}."
        else:
            genesis, head = cid(self.genesis, self.size), cid(self.head, self.size)
            behind = len(self.rounds) - len(self.lineage)
            more = f"; {behind} more were left behind" if behind else ""
            yield f"Everything fits: the head {head} is {len(self.lineage)} merges from the genesis {genesis}{more}."

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Take down a misfit, and go on behind the block."""
        try:
            yield
        except Misfit as error:
            self.finding = error.finding


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs."""
    finding = report.finding
    return {
        "fits": report.fits,
        "chain_id": report.chain_id,
        "contract": shown(report.contract),
        "manifest": str(cid(report.manifest, 0)),
        "genesis": str(cid(report.genesis, report.size)),
        "head": str(cid(report.head, report.size)),
        "rounds": [_round_as_json(each, report) for each in report.rounds],
        "votes": [_vote_as_json(each) for each in report.votes],
        "finding": None
        if finding is None
        else {"round": finding.round, "what": finding.what, "expected": finding.expected, "found": finding.found},
    }


def _vote_as_json(report: VoteReport) -> dict[str, Any]:
    vote = report.vote
    return {
        "ballot": vote.ballot,
        "round": report.round,
        "time": report.block_timestamp,
        "kind": vote.kind.name,
        "target": shown(vote.target) if vote.kind in (VoteKind.EXPEL, VoteKind.EXPEL_AND_SLASH) else None,
        "arg": vote.arg,
        "signers": [shown(each) for each in report.signers],
        "voters": report.voters,
    }


def _round_as_json(report: RoundReport, whole: Report) -> dict[str, Any]:
    content, size = report.content, whole.size
    return {
        "round": report.round,
        "parent_round": report.parent_round,
        "parent": str(cid(report.parent, size)),
        "merged": str(cid(report.merged, size)),
        "block": report.block_number,
        "left_by": report.left_by,
        "inputs": [
            {
                "address": shown(each.address),
                "index": each.index,
                "cid": str(cid(each.digest, whole.update_size)),
                "weight": each.weight,
                "included": each.included,
                "banned": each.banned,
            }
            for each in report.inputs
        ],
        "slices": [each.hex() for each in report.slices],
        "signers": [shown(each) for each in report.signers],
        "content": None
        if content is None
        else {
            "merged_held": content.merged_held,
            "recomputed_slices": content.slices,
            "recomputed": report.recomputed,
            "updates_missing": [shown(each) for each in content.missing],
            "earlier_models_missing": [str(cid(each, size)) for each in content.earlier_missing],
        },
    }
