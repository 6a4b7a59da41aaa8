"""When a round may seal, extend or abort, and how many updates it needs (docs/protocol.md, sections 2 and 4).

Twin of the contract's rules; `now` is the chain block's timestamp there, and the peer's own clock in `decide`.
"""

from swarmp2p.core.config import Config
from swarmp2p.core.types import Bitmap, Phase
from swarmp2p.core.view import Member, View


def threshold(config: Config, round_: int, waited_for: int) -> int:
    """T of a round that opens: all initial members in round 1, then a share of the members waited for."""
    if round_ == 1:
        return config.initial_members
    return max(config.min_updates, -(-config.frac_bps * waited_for // 10_000))


def sealable(view: View, config: Config, now: float) -> bool:
    """Whether a COLLECTING round may seal: everybody waited for is in, or T is reached and the grace is over.

    `view.wait_for` must have lost those who left or are barred. It is the set that counts, never the number of heads: a
    newcomer's update does not stand in for one that is waited for.
    """
    count = roster_of(view).bit_count()
    if view.phase != Phase.COLLECTING or count == 0:
        return False
    needed = view.threshold if view.round == 1 else config.min_updates
    if view.wait_for & ~view.submitted == 0 and count >= needed:
        return True
    return count >= view.threshold and view.seal_at != 0 and now >= view.seal_at


def due_at(view: View, config: Config) -> float | None:
    """When advance() will change the phase or the threshold of this round, as far as it stands now; None: never."""
    if view.phase == Phase.MERGING:
        return view.sealed_at + config.merge_timeout
    if view.phase == Phase.COLLECTING and view.count >= view.threshold and view.seal_at:
        return view.seal_at
    if view.phase == Phase.COLLECTING and view.extend_at:
        return view.extend_at
    return None


def inclusion_floor(count: int) -> int:
    """Updates that a merge must include: half of `count`, the roster, so that f colluders cannot exclude the rest."""
    return max(1, -(-count // 2))


def missed(view: View, member: Member) -> int:
    """Sealed rounds in a row that a member missed; 0 when it submitted to this one."""
    if view.submitted >> member.index & 1:
        return 0
    return max(0, view.sealed_rounds - member.seq)


def roster_of(view: View) -> Bitmap:
    """The roster that a seal would fix."""
    return view.submitted & ~view.banned
