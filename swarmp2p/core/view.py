"""What one `state()` call on the contract returns: all that `decide` knows of the chain."""

from dataclasses import dataclass

from swarmp2p.core.types import Address, Bitmap, Digest, Phase, Status, StopReason


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the contract stores it. `digest` is its latest submitted update, whatever the round."""

    index: int
    address: Address
    status: Status
    weight: int
    """Weight of its latest submission."""
    max_weight: int
    expires: int
    """Unix time after which it is not authorised; submissions and signatures are refused from then on."""
    last_round: int
    """Last round that it submitted to; 0: none."""
    seq: int
    """`view.sealed_rounds` when it last submitted, enrolled or became ACTIVE: what it missed in a row since then."""
    term: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class View:
    """State of the contract at one chain block (docs/protocol.md, section 3). Times in Unix seconds; 0: not set."""

    salt: Digest
    round: int
    phase: Phase
    opened_at: int
    seal_at: int
    sealed_at: int
    count: int
    threshold: int
    k: int
    inputs: Digest
    """Running keccak over (index, digest, weight) of the submissions, seeded with `seed`."""
    seed: Digest
    """keccak(salt, round, head), fixed when the round opened."""
    submitted: Bitmap
    wait_for: Bitmap
    roster: Bitmap
    active: Bitmap
    banned: Bitmap
    sealed_rounds: int
    head: Digest
    head_round: int
    """Round that merged the head; 0: the head is the genesis."""
    merged_rounds: int
    best: Digest
    best_round: int
    judged_round: int
    """Head round that was last judged by the stop rule."""
    stale: int
    ballot: int
    max_rounds: int
    stop_reason: StopReason
    reports: int
    """Reports on the head in this round, how many say "target reached" and "improved", and the sums for display."""
    reached: int
    improved: int
    metric_sum: int
    metric_weight: int
    reported: Bitmap
    """Members that reported on the head: with this round's submitUpdate or, after STOPPED, with report()."""
    included: Bitmap
    """Members whose updates the head was merged from; 0: the head is the genesis."""
    members: tuple[Member, ...]
    """Every member that holds an index, ascending by index."""
    block_number: int
    block_timestamp: int
    extend_at: int = 0
    """From this time on `advance` lowers the threshold to what is there: the first multiple of collect_timeout after
    minUpdates were in; 0: fewer are in, or the threshold is reached."""
    voters: Bitmap = 0
    """Who decides: the ACTIVE members, and those that are IDLE only because a merge left them out."""
    quiet_since: int = 0
    """The last merge, rollback or opening: abandon_after later anyone may stop the swarm."""

    def member_at(self, index: int) -> Member | None:
        """The member with this index, or None."""
        for member in self.members:
            if member.index == index:
                return member
        return None

    def member(self, address: Address) -> Member | None:
        """The member with this address, or None."""
        for member in self.members:
            if member.address == address:
                return member
        return None
