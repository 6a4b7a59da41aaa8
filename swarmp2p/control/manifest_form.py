"""Forms of the keys of `swarm.toml`, and the commented text that it is written as."""

from typing import TYPE_CHECKING, Any

from multiformats import CID

from swarmp2p.control.toml_form import (
    Form,
    Key,
    hex_bytes,
    integer,
    list_of,
    multiaddr,
    number,
    one_of,
    quoted,
    text,
    url,
)

if TYPE_CHECKING:
    from swarmp2p.control.manifest import Manifest

DRAFT_MEND = "Write one with `swarmp2p found DRAFT --template`, and fill it in."
FOUNDED_MEND = "Use the swarm.toml that `swarmp2p found` wrote."

_UINT32 = 2**32 - 1
_MAX_SIZE = 2**63 - 1


def _cid(value: Any) -> CID:
    try:
        cid = CID.decode(value) if isinstance(value, str) else None
    except (ValueError, KeyError):
        cid = None
    if cid is None or cid.version != 1 or cid.hashfun.name != "sha2-256" or cid.codec.name not in ("raw", "dag-pb"):
        raise ValueError("has to be a CID, version 1, sha2-256, raw or dag-pb")
    return cid


def _seconds(default: int | None) -> Key:
    return Key(integer(1, _UINT32), default=default)


_address = hex_bytes(20, "an address")

FORM: Form = {
    "": {"name": Key(text(64)), "purpose": Key(text(4096))},
    "chain": {
        "rpc": Key(list_of(url, 16, least=1)),
        "id": Key(integer(1, 2**53), optional=True),
        "contract": Key(_address, optional=True),
    },
    "model": {
        "file": Key(text(4096), optional=True),
        "genesis": Key(_cid, optional=True),
        "size": Key(integer(8, _MAX_SIZE), optional=True),
        "schema": Key(hex_bytes(32, "a sha2-256"), optional=True),
    },
    "members": {
        "founders": Key(list_of(_address, 64, least=1)),
        "initial": Key(integer(1, 256), optional=True),
        "colluders": Key(integer(0, 127), optional=True),
        "invite_signatures": Key(integer(1, 64), optional=True),
    },
    "rounds": {
        "sync_interval": Key(integer(1, _UINT32)),
        "leaders": Key(integer(1, 16), default=16),
        "min_updates": Key(integer(1, 256), optional=True),
        "fraction": Key(number(0, 1), default=0.5),
        "max_missed": Key(integer(1, 255), default=3),
        "max_rounds": Key(integer(1, _UINT32), default=100),
        "patience": Key(integer(0, _UINT32), default=0),
    },
    "timing": {
        "interval": Key(number(0, 1e9)),
        "collect_timeout": _seconds(600),
        "grace": _seconds(60),
        "merge_timeout": _seconds(600),
    },
    "metric": {
        "name": Key(text(64), default="accuracy"),
        "direction": Key(one_of("maximize", "minimize"), default="maximize"),
        "target": Key(number(-1e12, 1e12), optional=True),
        "min_delta": Key(number(0, 1e12), default=0.0),
    },
    "merge": {"rule": Key(text(256), default="weighted_mean/1"), "max_abs": Key(number(1e-30, 3e38), default=1e30)},
    "network": {"bootstrap": Key(list_of(multiaddr, 64), default=())},
    "local": {
        **{
            name: Key(number(0, 1e6), optional=True)
            for name in ("leader_timeout", "fetch_timeout", "slack", "stagger", "announce_interval", "linger")
        },
        "keep_rounds": Key(integer(0, _UINT32), optional=True),
    },
}


def render(manifest: "Manifest") -> str:
    """The manifest as a commented `swarm.toml`, which reads back as the same manifest."""
    m = manifest
    sections = [_head(m), _chain(m), _model(m), _members(m), _rounds(m), _timing(m), _metric(m), _merge(m), _own(m)]
    return "\n".join(sections)


def template_text(founder: bytes) -> str:
    """A draft to fill in, with this founder: every key with its default, and examples where there is none."""
    from swarmp2p.control.manifest import parse_manifest  # which needs the forms above

    example = f"""
        name = "my-swarm"
        purpose = "Say here what the members train together, on what data, and what for."
        chain.rpc = ["http://127.0.0.1:8545"]
        model.file = "genesis.safetensors"
        members = {{ founders = ["0x{founder.hex()}"], initial = 4 }}
        rounds.sync_interval = 20
        timing.interval = 60
    """
    return render(parse_manifest(example))


def _head(m: "Manifest") -> str:
    if m.founded:
        first = "# A founded swarm. Give this file to every member, unchanged but for rpc, bootstrap and [local]:\n"
        first += f"# the contract knows the rest by its digest, {m.cid}."
    else:
        first = (
            "# Draft of a swarm. Fill it in, then `swarmp2p found` deploys the contract and writes the members' file."
        )
    return f"""{first}
name = {quoted(m.name)}
# What the members agree to: the purpose and terms in words, or the CID of a document. Invitations sign it.
purpose = {quoted(m.purpose)}
"""


def _chain(m: "Manifest") -> str:
    lines = ["[chain]", "# Nodes of the chain, in order of preference.", f"rpc = {_texts(m.rpc)}"]
    if m.chain_id:
        lines.append(f"id = {m.chain_id}")
    if m.contract:
        lines.append(f'contract = "0x{m.contract.hex()}"')
    return "\n".join(lines) + "\n"


def _model(m: "Manifest") -> str:
    lines = ["[model]"]
    if m.genesis_file is not None:
        lines += ["# The first model, a safetensors file; relative to this one.", f"file = {quoted(m.genesis_file)}"]
    if m.genesis:
        lines += [f'genesis = "{m.genesis_cid}"', f"size = {m.size}", f'schema = "0x{m.schema.hex()}"']
    return "\n".join(lines) + "\n"


def _members(m: "Manifest") -> str:
    return f"""[members]
# Addresses (`swarmp2p key`) of those who sign the first invitations, and how many of them an invitation needs.
founders = {_texts("0x" + founder.hex() for founder in m.founders)}
invite_signatures = {m.k_invite}
# Members that round 1 waits for.
initial = {m.initial_members}
# Colluders withstood, an absolute number: every slice is recomputed by one more member than this.
# With these numbers {m.may_die} of the {m.initial_members} may die before the swarm waits.
colluders = {m.f}
"""


def _rounds(m: "Manifest") -> str:
    return f"""[rounds]
# Local batches between two merges.
sync_interval = {m.sync_interval}
# At most so many leaders share the merge: 1 is the star, more is k-way.
leaders = {m.k_max}
# A merge starts with max(min_updates, fraction of the members waited for) updates.
min_updates = {m.min_updates}
fraction = {m.fraction!r}
# Merges missed in a row after which a member is no longer waited for.
max_missed = {m.max_missed}
# The swarm stops after so many merges, or (patience > 0) so many without an improvement.
max_rounds = {m.max_rounds}
patience = {m.patience}
"""


def _timing(m: "Manifest") -> str:
    return f"""[timing]
# Seconds. interval: what a slow member takes for sync_interval batches; collect_timeout is at least three times that.
interval = {m.interval_seconds!r}
collect_timeout = {m.collect_timeout}
grace = {m.grace}
merge_timeout = {m.merge_timeout}
"""


def _metric(m: "Manifest") -> str:
    target = "# target = 0.95" if m.metric.target is None else f"target = {m.metric.target!r}"
    return f"""[metric]
# What evaluate() returns. Members vote to stop at the target; min_delta is what counts as an improvement.
name = {quoted(m.metric.name)}
direction = "{"maximize" if m.metric.maximize else "minimize"}"
{target}
min_delta = {m.metric.min_delta!r}
"""


def _merge(m: "Manifest") -> str:
    return f"""[merge]
rule = {quoted(m.rule)}
# Updates with larger values, infinity or NaN are refused.
max_abs = {m.max_abs!r}
"""


def _own(m: "Manifest") -> str:
    lines = [
        "[network]",
        "# Multiaddrs of members that are usually there; the contract's records are tried too.",
        f"bootstrap = {_texts(m.bootstrap)}",
        "",
        "[local]",
        "# This member's own patience, in seconds; need not be equal among members. keep_rounds: for so many rounds models",
        "# and updates are kept longer than the round needs them, for `swarmp2p audit --deep`.",
    ]
    lines += [f"{name} = {getattr(m.knobs, name)!r}" for name in FORM["local"]]
    return "\n".join(lines) + "\n"


def _texts(values: Any) -> str:
    return "[" + ", ".join(quoted(value) for value in values) + "]"
