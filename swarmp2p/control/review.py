"""A manifest in sentences, for those who are to agree to it or to join."""

from collections.abc import Iterator

from swarmp2p.control.manifest import Manifest, Rewards


def review(manifest: Manifest) -> Iterator[str]:
    """What a swarm is, in lines of text; `manifest` has its genesis."""
    m = manifest
    yield f"The swarm {m.name!r}, manifest {m.cid}"
    yield f"  purpose     {m.purpose}"
    yield f"  model       {m.genesis_cid}, {m.size:,} bytes, merged by {m.rule}"
    if m.update_schema:
        yield f"  updates     {m.update_size:,} bytes each"
    if m.apply != "replace/1":
        yield f"  applied     by {m.apply}"
    yield f"  founders    {', '.join('0x' + founder.hex() for founder in m.founders)}"
    yield f"  membership  by invitation of {m.k_invite} of {len(m.founders)} founders, or more than half of the members"
    yield f"  start       when {m.initial_members} members have enrolled and trained"
    yield (
        f"  trust       withstands {_number(m.f, 'colluder')}:"
        f" {_number(m.q, 'member')} recompute{'s' * (m.q == 1)} every merge;"
        f" {m.may_die} of the first {m.initial_members} members may die before it waits"
    )
    yield (
        f"  rounds      every {m.sync_interval} local batches, from {m.min_updates} updates and"
        f" {m.fraction:.0%} of the members on, {m.k_max} leader{'s' * (m.k_max > 1)} at most"
    )
    yield (
        f"  timing      {m.collect_timeout} s to collect, {m.grace} s of grace, {m.merge_timeout} s to merge;"
        f" abandoned after {m.abandon_after:,} s"
    )
    yield f"  end         {_end(m)}"
    yield from _money(m.rewards)


def _number(count: int, of: str) -> str:
    return f"{count} {of}{'s' * (count != 1)}"


def _end(m: Manifest) -> str:
    ends = [f"after {m.max_rounds} merged rounds"]
    if m.patience:
        ends.append(f"after {m.patience} without an improvement of {m.metric.name}")
    if m.metric.target is not None:
        ends.append(f"when most members report {m.metric.name} {m.metric.target:g}")
    return ", or ".join(ends)


def _money(rewards: Rewards | None) -> Iterator[str]:
    if rewards is None:
        yield "  money       none: nothing is paid, no stake is asked for"
        return
    yield (
        f"  money       {rewards.per_round:,} units of the token 0x{rewards.token.hex()} a merged round,"
        f" shared by the policy {rewards.policy!r}; {rewards.attester_share:.2%} of it to those that attested the merge"
    )
    yield f"  stake       {rewards.min_stake:,} units, paid back {rewards.unstake_delay:,} s after asking for it"
