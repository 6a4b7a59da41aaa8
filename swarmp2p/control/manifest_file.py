"""`swarm.toml` read and written: a draft or a founded manifest from its text, and its commented text from either."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from swarmp2p.control.agreement import require_agreement
from swarmp2p.control.manifest import Manifest, Metric, Rewards, colluders_by_default, validate
from swarmp2p.control.manifest_form import DRAFT_MEND, FORM, FOUNDED_MEND
from swarmp2p.control.toml_form import parse_toml, quoted, read_toml
from swarmp2p.core.config import Knobs
from swarmp2p.core.errors import ConfigError
from swarmp2p.core.types import Address


def load_draft(path: Path) -> Manifest:
    """Read a founder's draft; `purpose_file` becomes a path from here.

    Raises:
        ConfigError: naming the key and the mend; also when the file is of a founded swarm already.
    """
    values = read_toml(path, FORM, DRAFT_MEND)
    manifest = _draft(values, str(path))
    if manifest.purpose_file is None:
        return manifest
    return replace(manifest, purpose_file=str(path.parent / manifest.purpose_file))


def load_manifest(path: Path) -> Manifest:
    """Read a founded swarm's manifest.

    Raises:
        ConfigError: naming the key and the mend; also when the file is still a draft.
        AgreementMissing: not all founders signed it.
    """
    values = read_toml(path, FORM, FOUNDED_MEND)
    manifest = _founded(values, str(path))
    require_agreement(manifest, str(path))
    return manifest


def parse_manifest(text: str, name: str = "swarm.toml") -> Manifest:
    """A draft or a founded manifest from its text, as `load_draft` and `load_manifest` read them."""
    values = parse_toml(text, FORM, name)
    return _draft(values, name) if values["chain"]["contract"] is None else _founded(values, name)


def _draft(values: dict[str, dict[str, Any]], name: str) -> Manifest:
    if values["chain"]["contract"] is not None:
        raise ConfigError(f"{name} is of a swarm that is founded already.", "Write a new draft for a new swarm.")
    for key in ("genesis", "size", "schema", "update_size", "update_schema"):
        if values["model"][key] is not None:
            raise ConfigError(f"{name}: a draft has no [model] {key}.", "`found` computes it from [model] file.")
    if values["model"]["file"] is None:
        raise ConfigError(f"{name}: the key [model] file is missing.", "Name the safetensors file of the first model.")
    if (values[""]["purpose"] is None) == (values[""]["purpose_file"] is None):
        raise ConfigError(
            f"{name}: give either the key purpose or the key purpose_file.",
            "Say the purpose and terms in words, or name the document that has them.",
        )
    deployed = [("chain", "transaction")]
    deployed += [("rewards", key) for key in ("treasury", "treasury_transaction", "policy_transaction")]
    for section, key in deployed:
        if values[section][key] is not None:
            raise ConfigError(f"{name}: a draft has no [{section}] {key}.", "`found` deploys the contracts.")
    manifest = _manifest(values, name)
    validate(manifest, name)
    return manifest


def _founded(values: dict[str, dict[str, Any]], name: str) -> Manifest:
    if values["chain"]["contract"] is None:
        raise ConfigError(f"{name} is a draft: it names no contract.", FOUNDED_MEND)
    for section, key in (("chain", "id"), ("model", "genesis"), ("model", "size"), ("model", "schema")):
        if values[section][key] is None:
            raise ConfigError(f"{name}: the key [{section}] {key} is missing.", FOUNDED_MEND)
    if values[""]["purpose"] is None:
        raise ConfigError(f"{name}: the key purpose is missing.", FOUNDED_MEND)
    if values[""]["purpose_file"] is not None:
        raise ConfigError(f"{name}: purpose_file belongs into a draft only.", "Remove it.")
    if values["model"]["file"] is not None:
        raise ConfigError(f"{name}: [model] file belongs into a draft only.", "Remove it.")
    manifest = _manifest(values, name)
    if manifest.rewards is not None and not manifest.rewards.treasury:
        raise ConfigError(f"{name}: the key [rewards] treasury is missing.", FOUNDED_MEND)
    if bool(manifest.update_size) != bool(manifest.update_schema):
        raise ConfigError(f"{name}: [model] has only one of update_size and update_schema.", FOUNDED_MEND)
    if str(manifest.genesis_cid) != str(values["model"]["genesis"]):
        raise ConfigError(
            f"{name}: [model] genesis does not fit size {manifest.size}: it would be {manifest.genesis_cid}.",
            FOUNDED_MEND,
        )
    validate(manifest, name)
    return manifest


def _manifest(values: dict[str, dict[str, Any]], name: str) -> Manifest:
    top, chain, model, founding = values[""], values["chain"], values["model"], values["members"]
    rounds, timing, metric, merge = values["rounds"], values["timing"], values["metric"], values["merge"]
    founders: tuple[Address, ...] = founding["founders"]
    initial = len(founders) if founding["initial"] is None else founding["initial"]
    f = colluders_by_default(initial) if founding["colluders"] is None else founding["colluders"]
    least = min(max(2, f + 1), initial) if rounds["min_updates"] is None else rounds["min_updates"]
    signatures = founding["invite_signatures"]
    knobs = {key: value for key, value in values["local"].items() if value is not None}
    return Manifest(
        name=top["name"],
        purpose=top["purpose"] or "",
        purpose_file=top["purpose_file"],
        founders=founders,
        k_invite=-(-len(founders) // 2) if signatures is None else signatures,
        initial_members=initial,
        f=f,
        min_updates=least,
        fraction=rounds["fraction"],
        k_max=rounds["leaders"],
        max_missed=rounds["max_missed"],
        max_rounds=rounds["max_rounds"],
        patience=rounds["patience"],
        sync_interval=rounds["sync_interval"],
        interval_seconds=timing["interval"],
        collect_timeout=timing["collect_timeout"],
        grace=timing["grace"],
        merge_timeout=timing["merge_timeout"],
        metric=Metric(metric["name"], metric["direction"] == "maximize", metric["target"], metric["min_delta"]),
        max_abs=merge["max_abs"],
        rule=merge["rule"],
        rpc=chain["rpc"],
        abandon_after=timing["abandon_after"],
        rewards=_rewards(values["rewards"], name),
        agreement=tuple(values["agreement"]["signatures"]),
        bootstrap=values["network"]["bootstrap"],
        knobs=Knobs(**knobs),
        genesis_file=model["file"],
        chain_id=chain["id"] or 0,
        contract=chain["contract"] or b"",
        transaction=chain["transaction"] or b"",
        genesis=b"" if model["genesis"] is None else bytes(model["genesis"].raw_digest),
        size=model["size"] or 0,
        schema=model["schema"] or b"",
        update_size=model["update_size"] or 0,
        update_schema=model["update_schema"] or b"",
        apply=merge["apply"],
    )


def _rewards(values: dict[str, Any], name: str) -> Rewards | None:
    if values["token"] is None:
        given = [key for key in ("per_round", "min_stake", "treasury") if values[key]]
        if given:
            raise ConfigError(
                f"{name}: [rewards] {given[0]} is set, but there is no [rewards] token.",
                "Name the token's contract, or remove the section.",
            )
        return None
    return Rewards(
        token=values["token"],
        policy=values["policy"],
        per_round=values["per_round"],
        attester_share=values["attester_share"],
        min_stake=values["min_stake"],
        unstake_delay=values["unstake_delay"],
        treasury=values["treasury"] or b"",
        treasury_transaction=values["treasury_transaction"] or b"",
        policy_transaction=values["policy_transaction"] or b"",
    )


def render(manifest: Manifest) -> str:
    """The manifest as a commented `swarm.toml`, which reads back as the same manifest."""
    m = manifest
    sections = [_head(m), _chain(m), _model(m), _members(m), _rounds(m), _timing(m), _metric(m), _merge(m)]
    sections += [_money(m), _agreement(m), _own(m)]
    return "\n".join(sections)


def template_text(founder: bytes) -> str:
    """A draft to fill in, with this founder: every key with its default, and examples where there is none."""
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


def _head(m: Manifest) -> str:
    if m.founded:
        first = "# A founded swarm. Give this file to every member, unchanged but for rpc, bootstrap and [local]:\n"
        first += f"# the contract knows the rest by its digest, {m.cid}."
    else:
        first = (
            "# Draft of a swarm. Fill it in, then `swarmp2p found` deploys the contract and writes the members' file."
        )
    lines = [first, f"name = {quoted(m.name)}"]
    lines.append(
        "# What the members agree to: the purpose and terms in words, or the CID of a document. Invitations sign it."
    )
    if not m.founded:
        lines.append(
            "# In a draft, purpose_file names that document instead (relative to this file): its CID is the purpose."
        )
    if m.purpose_file is None:
        lines.append(f"purpose = {quoted(m.purpose)}")
    else:
        lines.append(f"purpose_file = {quoted(m.purpose_file)}")
    return "\n".join(lines) + "\n"


def _chain(m: Manifest) -> str:
    lines = ["[chain]", "# Nodes of the chain, in order of preference.", f"rpc = {_texts(m.rpc)}"]
    if m.chain_id:
        lines.append(f"id = {m.chain_id}")
    if m.contract:
        lines.append(f'contract = "0x{m.contract.hex()}"')
    if m.transaction:
        lines += [
            "# What deployed it: who joins checks that nothing else did.",
            f'transaction = "0x{m.transaction.hex()}"',
        ]
    return "\n".join(lines) + "\n"


def _model(m: Manifest) -> str:
    lines = ["[model]"]
    if m.genesis_file is not None:
        lines += ["# The first model, a safetensors file; relative to this one.", f"file = {quoted(m.genesis_file)}"]
    if m.genesis:
        lines += [f'genesis = "{m.genesis_cid}"', f"size = {m.size}", f'schema = "0x{m.schema.hex()}"']
    if m.update_schema:
        lines += [
            "# Updates are written otherwise than models: the merge rule says how.",
            f"update_size = {m.update_size}",
            f'update_schema = "0x{m.update_schema.hex()}"',
        ]
    return "\n".join(lines) + "\n"


def _members(m: Manifest) -> str:
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


def _rounds(m: Manifest) -> str:
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


def _timing(m: Manifest) -> str:
    return f"""[timing]
# Seconds. interval: what a slow member takes for sync_interval batches; collect_timeout is at least three times that.
interval = {m.interval_seconds!r}
collect_timeout = {m.collect_timeout}
grace = {m.grace}
merge_timeout = {m.merge_timeout}
# After so long without a merge anybody may stop the swarm, so that money comes back.
abandon_after = {m.abandon_after}
"""


def _metric(m: Manifest) -> str:
    target = "# target = 0.95" if m.metric.target is None else f"target = {m.metric.target!r}"
    return f"""[metric]
# What evaluate() returns. Members vote to stop at the target; min_delta is what counts as an improvement.
name = {quoted(m.metric.name)}
direction = "{"maximize" if m.metric.maximize else "minimize"}"
{target}
min_delta = {m.metric.min_delta!r}
"""


def _merge(m: Manifest) -> str:
    return f"""[merge]
# How updates become a model; docs/merge-rules.md lists the rules. ";wire=bf16" (or f16, int8) behind it compresses updates.
rule = {quoted(m.rule)}
# How members take the merged model over: "replace/1", or "elastic/1;alpha=0.5" to keep half of their own.
apply = {quoted(m.apply)}
# Updates with larger values, infinity or NaN are refused.
max_abs = {m.max_abs!r}
"""


def _money(m: Manifest) -> str:
    if m.rewards is None:
        return """[rewards]
# Without a token nothing is paid and no stake is asked for. Amounts are in the token's smallest unit.
# token = "0x..."             an ERC-20 contract; `swarmp2p token` makes one
# policy = "equal"            or "weight", or the address of a contract that is an IRewardPolicy
# per_round = "1000"
# attester_share = 0.1        of it in equal parts to those that attested the merge
# min_stake = "0"
# unstake_delay = 604800
"""
    r = m.rewards
    lines = [
        "[rewards]",
        "# The token's contract; amounts are in its smallest unit. What a merged round pays, and how it is shared:",
        '# "equal", by "weight", or by the contract of this address.',
        f'token = "0x{r.token.hex()}"',
        f"policy = {quoted(r.policy)}",
        f'per_round = "{r.per_round}"',
        "# Part of it that goes in equal parts to those that attested the merge.",
        f"attester_share = {r.attester_share!r}",
        "# The stake that invitations ask for, and the seconds until it is paid back to who has left.",
        f'min_stake = "{r.min_stake}"',
        f"unstake_delay = {r.unstake_delay}",
    ]
    if r.treasury:
        lines += ["# The contract that holds the money, and what deployed it.", f'treasury = "0x{r.treasury.hex()}"']
    for key in ("treasury_transaction", "policy_transaction"):
        if value := getattr(r, key):
            lines.append(f'{key} = "0x{value.hex()}"')
    return "\n".join(lines) + "\n"


def _agreement(m: Manifest) -> str:
    return f"""[agreement]
# Each founder's signature of all that is above but the deployed contracts and their transactions: `swarmp2p agree`.
signatures = {_texts("0x" + signature.hex() for signature in m.agreement)}
"""


def _own(m: Manifest) -> str:
    lines = [
        "[network]",
        "# Multiaddrs of members that are usually there; the contract's records are tried too.",
        f"bootstrap = {_texts(m.bootstrap)}",
        "",
        "[local]",
        "# This member's own patience, in seconds; need not be equal among members. keep_rounds: for so many rounds models",
        "# and updates are kept longer than the round needs them, for `swarmp2p audit --deep`. confirmations: for so many",
        "# chain blocks they are kept in any case, should the chain be reorganised (Clique: half the validators and one).",
    ]
    lines += [f"{name} = {getattr(m.knobs, name)!r}" for name in FORM["local"]]
    return "\n".join(lines) + "\n"


def _texts(values: Any) -> str:
    return "[" + ", ".join(quoted(value) for value in values) + "]"
