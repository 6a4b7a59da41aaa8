"""swarm.toml: what is written reads back the same, and every mistake is named."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmp2p.control.agreement import agree, with_agreements
from swarmp2p.control.manifest import DAY, Manifest, Rewards, colluders_by_default, validate
from swarmp2p.control.manifest_file import load_draft, load_manifest, parse_manifest, render, template_text
from swarmp2p.core.config import Knobs
from swarmp2p.core.errors import AgreementMissing, ConfigError
from swarmp2p.identity import Key

FOUNDER = "0x" + "ab" * 20

MINIMAL = f"""
name = "digits"
purpose = "learn to read digits"
[chain]
rpc = ["http://127.0.0.1:8545"]
[model]
file = "genesis.safetensors"
[members]
founders = ["{FOUNDER}"]
initial = 4
[rounds]
sync_interval = 20
[timing]
interval = 30
"""


PAYS = Rewards(token=b"\x07" * 20, policy="equal", per_round=1000)


def _founded(draft: Manifest) -> Manifest:
    return draft.with_genesis(b"\x01" * 32, 10_000, b"\x02" * 32).with_contract(31415, b"\x03" * 20)


def test_defaults_are_those_of_the_specification() -> None:
    m = parse_manifest(MINIMAL)
    assert (m.f, m.q, m.min_updates, m.fraction, m.k_max, m.k_invite) == (1, 2, 2, 0.5, 16, 1)
    assert (m.collect_timeout, m.grace, m.merge_timeout, m.max_missed, m.max_rounds, m.patience) == (
        600,
        60,
        600,
        3,
        100,
        0,
    )
    assert (m.max_abs, m.rule, m.metric.target, m.metric.maximize) == (1e30, "weighted_mean/1", None, True)
    assert m.knobs == Knobs()
    assert m.may_die == 2
    assert not m.founded
    assert [colluders_by_default(n) for n in (1, 2, 6, 7, 15, 16, 256)] == [0, 1, 1, 2, 2, 3, 3]


def test_one_member_alone_is_a_swarm() -> None:
    m = parse_manifest(MINIMAL.replace("initial = 4\n", ""))
    assert (m.initial_members, m.f, m.min_updates, m.may_die) == (1, 0, 1, 0)


def test_config_is_what_the_manifest_says() -> None:
    m = _founded(parse_manifest(MINIMAL))
    config = m.config()
    assert (config.genesis, config.size, config.schema) == (m.genesis, m.size, m.schema)
    assert (config.update_size, config.update_schema) == (m.size, m.schema)
    assert (config.frac_bps, config.initial_members, config.f, config.q) == (5000, 4, 1, 2)
    assert config.founders == (bytes.fromhex(FOUNDER[2:]),)
    assert config.manifest == m.digest
    assert str(m.cid).startswith("bafkrei")
    assert m.purpose_digest == replace(m, purpose=str(_raw_cid(m.purpose))).purpose_digest


def _raw_cid(text: str) -> object:
    from multiformats import CID, multihash

    return CID("base32", 1, "raw", multihash.digest(text.encode(), "sha2-256"))


def test_the_digest_covers_what_is_agreed_and_nothing_else() -> None:
    m = _founded(parse_manifest(MINIMAL))
    own = replace(
        m, rpc=("http://elsewhere",), bootstrap=("/ip4/192.0.2.1/tcp/1",), knobs=Knobs(leader_timeout=1.0),
        chain_id=5, contract=b"\x09" * 20, transaction=b"\x09" * 32,
    )  # fmt: skip
    assert own.digest == m.digest
    assert own.config() == m.config()
    for change in (
        {"name": "x"}, {"purpose": "x"}, {"founders": (b"\x01" * 20,)}, {"fraction": 0.6}, {"grace": 61}, {"rule": "x"},
        {"max_abs": 1e29}, {"metric": replace(m.metric, target=0.9)}, {"sync_interval": 21}, {"genesis": b"\x05" * 32},
        {"abandon_after": 10**6}, {"rewards": PAYS}, {"metric": replace(m.metric, maximize=False)},
        {"metric": replace(m.metric, min_delta=0.001)}, {"apply": "elastic/1;alpha=0.5"},
        {"update_size": 9_000, "update_schema": b"\x06" * 32},
    ):  # fmt: skip
        assert replace(m, **change).digest != m.digest, change


def test_what_is_paid_is_agreed_but_for_the_treasury_that_is_deployed_later() -> None:
    m = replace(_founded(parse_manifest(MINIMAL)), rewards=PAYS)
    assert replace(m, rewards=replace(PAYS, treasury=b"\x08" * 20)).digest == m.digest
    assert m.with_treasury(b"\x08" * 20, b"\x01" * 32, b"\x02" * 32).digest == m.digest
    for change in (
        {"token": b"\x08" * 20}, {"policy": "weight"}, {"per_round": 1}, {"attester_share": 0.2}, {"min_stake": 1},
        {"unstake_delay": 1},
    ):  # fmt: skip
        assert replace(m, rewards=replace(PAYS, **change)).digest != m.digest, change


def test_a_draft_may_name_a_document_of_its_terms(tmp_path: Path) -> None:
    named = MINIMAL.replace('purpose = "learn to read digits"', 'purpose_file = "terms.md"')
    m = parse_manifest(named)
    assert (m.purpose, m.purpose_file) == ("", "terms.md")
    assert parse_manifest(render(m)) == m
    (tmp_path / "draft.toml").write_text(named)
    assert load_draft(tmp_path / "draft.toml").purpose_file == str(tmp_path / "terms.md")
    with pytest.raises(ConfigError, match="no digest yet"):
        _ = replace(m, genesis=b"\x01" * 32, size=8).digest
    neither = MINIMAL.replace('purpose = "learn to read digits"\n', "")
    for text in (neither, named.replace("purpose_file", 'purpose = "in words"\npurpose_file')):
        with pytest.raises(ConfigError, match="either the key purpose or the key purpose_file"):
            parse_manifest(text)


def test_updates_that_are_written_otherwise_than_models() -> None:
    draft = parse_manifest(MINIMAL)
    same = draft.with_genesis(b"\x01" * 32, 10_000, b"\x02" * 32, 10_000, b"\x02" * 32)
    assert same == draft.with_genesis(b"\x01" * 32, 10_000, b"\x02" * 32)
    other = draft.with_genesis(b"\x01" * 32, 10_000, b"\x02" * 32, 5_000, b"\x03" * 32)
    config = other.config()
    assert (config.size, config.update_size, config.update_schema) == (10_000, 5_000, b"\x03" * 32)
    founded = render(other.with_contract(31415, b"\x03" * 20))
    with pytest.raises(ConfigError, match="only one of update_size and update_schema"):
        parse_manifest(founded.replace("update_size = 5000\n", ""))
    with pytest.raises(ConfigError, match="update_size"):
        parse_manifest(MINIMAL.replace("[model]\n", "[model]\nupdate_size = 9\n"))


def test_the_digest_is_known() -> None:
    # Founded swarms are bound to it: a change of the canonical form needs a new version in it.
    assert str(_founded(parse_manifest(MINIMAL)).cid) == "bafkreia345crablb3t2in2erhbroq6wxkdtgzdsodyoene72sqpiw6neee"


_urls = st.sampled_from(["http://a", "https://b/x?y", "http://[::1]:8545"])
_multiaddrs = st.sampled_from(["/ip4/192.0.2.7/tcp/1", "/dns4/a.example/tcp/2/p2p/x"])
_seconds = st.integers(1, 2**32 - 1)
_texts = st.text(min_size=1, max_size=64).filter(lambda text: bool(text.strip()) and text.isprintable())


_accounts = st.binary(min_size=20, max_size=20)
_amounts = st.integers(0, 2**128 - 1)
_rewards = st.builds(
    Rewards,
    token=_accounts,
    policy=st.sampled_from(["equal", "weight"]) | _accounts.map(lambda address: "0x" + address.hex()),
    per_round=_amounts,
    attester_share=st.integers(0, 10_000).map(lambda bps: bps / 10_000),
    min_stake=_amounts,
    unstake_delay=st.integers(0, 365 * DAY),
)


@st.composite
def drafts(draw: st.DrawFn) -> Manifest:
    base = parse_manifest(MINIMAL)
    initial = draw(st.integers(1, 256))
    f = draw(st.integers(0, min(127, initial - 1)))
    least = draw(st.integers(f + 1, initial))
    founders = draw(st.lists(st.binary(min_size=20, max_size=20), min_size=1, max_size=8, unique=True))
    interval = draw(st.floats(0, 1000))
    collect, merge = draw(st.integers(3001, 2**30)), draw(st.integers(1, 2**30))
    return replace(
        base,
        name=draw(_texts),
        purpose=draw(st.text(min_size=1, max_size=300).filter(lambda text: bool(text.strip()))),
        founders=tuple(founders),
        k_invite=draw(st.integers(1, len(founders))),
        initial_members=initial,
        f=f,
        min_updates=least,
        fraction=draw(st.integers(0, 10_000)) / 10_000,
        k_max=draw(st.integers(1, 16)),
        collect_timeout=collect,
        interval_seconds=interval,
        grace=draw(_seconds),
        merge_timeout=merge,
        abandon_after=collect + merge + draw(st.integers(1, 2**30)),
        rewards=draw(st.none() | _rewards),
        agreement=tuple(draw(st.lists(st.binary(min_size=65, max_size=65), max_size=3, unique=True))),
        metric=replace(
            base.metric,
            name=draw(_texts),
            maximize=draw(st.booleans()),
            target=draw(st.none() | st.floats(-1e12, 1e12)),
            min_delta=draw(st.floats(0, 1e12)),
        ),
        max_abs=draw(st.floats(1e-30, 1e36)),
        apply=draw(st.sampled_from(["replace/1", "elastic/1;alpha=0.25"])),
        rpc=tuple(draw(st.lists(_urls, min_size=1, unique=True))),
        bootstrap=tuple(draw(st.lists(_multiaddrs, unique=True))),
        knobs=Knobs(*(draw(st.floats(0, 1e6)) for _ in range(6)), keep_rounds=draw(st.integers(0, 2**32 - 1))),
        genesis_file=draw(_texts),
    )  # fmt: skip


@given(drafts())
def test_what_is_written_reads_back(draft: Manifest) -> None:
    assert parse_manifest(render(draft)) == draft


_hashes = st.just(b"") | st.binary(min_size=32, max_size=32)


@given(
    drafts(),
    st.binary(min_size=32, max_size=32),
    st.integers(8, 2**60),
    st.binary(min_size=20, max_size=20),
    st.tuples(_hashes, _hashes, _hashes),
    st.tuples() | st.tuples(st.integers(8, 2**60), st.binary(min_size=32, max_size=32)),
)
def test_what_is_founded_reads_back(
    draft: Manifest,
    digest: bytes,
    size: int,
    contract: bytes,
    by: tuple[bytes, bytes, bytes],
    update: tuple[int, bytes] | tuple[()],
) -> None:
    complete = draft.with_genesis(digest, size, digest, *update)
    founded = complete.with_treasury(contract[::-1], *by[1:]).with_contract(31415, contract, by[0])
    again = parse_manifest(render(founded))
    assert again == founded
    assert again.digest == founded.digest == complete.digest


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("sync_interval", "sync_intervall", "Did you mean sync_interval"),
        ("[timing]", "[timings]", "Did you mean timing"),
        ("name =", "nmae =", "Did you mean name"),
        ('name = "digits"', "", "name is missing"),
        ('name = "digits"', 'name = ""', "text of 1 to 64"),
        ("interval = 30", "interval = -1", "number from 0"),
        ("interval = 30", "interval = nan", "number from 0"),
        ("interval = 30", "interval = 201", "3 x the interval"),
        ("initial = 4", "initial = true", "whole number"),
        ("initial = 4", "initial = 0", "from 1 to 256"),
        ("initial = 4", "initial = 4\ncolluders = 4", "5 recomputations"),
        ("initial = 4", "initial = 4\ninvite_signatures = 2", "2 signatures of 1 founders"),
        ("initial = 4", "initial = 1\ncolluders = 1", "1 initial members"),
        ("sync_interval = 20", "sync_interval = 20\nmin_updates = 1", "below the 2"),
        ("sync_interval = 20", "sync_interval = 20\nmin_updates = 5", "more than the 4"),
        ("sync_interval = 20", "sync_interval = 20\nfraction = 0.123456", "4 decimals"),
        ("sync_interval = 20", "sync_interval = 20\nleaders = 17", "from 1 to 16"),
        (FOUNDER, "0x12", "an address"),
        (f'"{FOUNDER}"', f'"{FOUNDER}", "{FOUNDER}"', "twice"),
        (f'["{FOUNDER}"]', "[]", "1 to 64 entries"),
        ("http://127", "ftp://127", "http:// or https://"),
        ('["http://127.0.0.1:8545"]', "[]", "entries"),
        ("[model]\n", "[model]\nsize = 5\n", "from 8"),
        ("[model]\n", '[model]\ngenesis = "x"\n', "has to be a CID"),
        ("[model]\n", "[model]\nsize = 500\n", "a draft has no"),
        ('file = "genesis.safetensors"', "", "file is missing"),
        ("[timing]", "[network]\nbootstrap = ['nonsense']\n[timing]", "multiaddr"),
        ("[timing]", "[metric]\ndirection = 'up'\n[timing]", "maximize, minimize"),
        ("[timing]", "[local]\nlinger = 'long'\n[timing]", "number from"),
        ("[timing]", "[timing", "not valid TOML"),
        ("interval = 30", "interval = 30\nabandon_after = 1200", "not above collect_timeout and merge_timeout"),
        ("[timing]", "[rewards]\nper_round = 5\n[timing]", "there is no [rewards] token"),
        ("[timing]", f"[rewards]\ntoken = '{FOUNDER}'\npolicy = 'fair'\n[timing]", 'has to be "equal", "weight"'),
        ("[timing]", f"[rewards]\ntoken = '{FOUNDER}'\nper_round = -1\n[timing]", "smallest units"),
        ("[timing]", f"[rewards]\ntoken = '{FOUNDER}'\nattester_share = 0.12345\n[timing]", "4 decimals"),
        ("[timing]", f"[rewards]\ntoken = '{FOUNDER}'\ntreasury = '{FOUNDER}'\n[timing]", "a draft has no"),
        ("[chain]", f"[chain]\ntransaction = '0x{'12' * 32}'", "a draft has no [chain] transaction"),
        ("[chain]", f"[chain]\ntransaction = '{FOUNDER}'", "a transaction's hash"),
        ("[timing]", "[agreement]\nsignatures = ['0x12']\n[timing]", "a signature"),
        ("[timing]\ninterval = 30", "timing = 3", "table"),
    ],
)
def test_mistakes_are_named(old: str, new: str, says: str) -> None:
    assert old in MINIMAL
    text = MINIMAL.replace(old, new)
    if new == "timing = 3":
        text = "timing = 3\n" + MINIMAL.replace(old, "")
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        parse_manifest(text, "my.toml")
    assert "my.toml" in str(caught.value)
    assert caught.value.mend


def test_the_two_files_are_not_confused(tmp_path: Path) -> None:
    path = tmp_path / "swarm.toml"
    path.write_text(MINIMAL)
    draft = load_draft(path)
    with pytest.raises(ConfigError, match="is a draft"):
        load_manifest(path)
    founder = Key.from_seed("founder")
    founded = replace(_founded(draft), founders=(founder.address,))
    path.write_text(render(founded))
    with pytest.raises(AgreementMissing, match=f"not signed by the founder 0x{founder.address.hex()}"):
        load_manifest(path)
    path.write_text(render(with_agreements(founded, [agree(founded, founder)])))
    assert load_manifest(path).founded
    with pytest.raises(ConfigError, match="founded already"):
        load_draft(path)
    text = path.read_text()
    for key in ("id", "genesis", "size", "schema"):
        path.write_text(re.sub(f"(?m)^{key} = .*$", "", text))
        with pytest.raises(ConfigError, match=f"{key} is missing"):
            load_manifest(path)
    path.write_text(re.sub("(?m)^size = .*$", "size = 1_000_000", text))
    with pytest.raises(ConfigError, match="does not fit size"):
        load_manifest(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_draft(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_draft(tmp_path / "none.toml")


@given(st.text(max_size=200))
def test_no_text_does_worse_than_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_manifest(text)


def test_drafts_have_no_digest() -> None:
    draft = parse_manifest(MINIMAL)
    for attempt in (draft.canonical, draft.config, lambda: draft.genesis_cid):
        with pytest.raises(ConfigError, match="draft"):
            attempt()
    validate(draft)


def test_the_template_is_a_draft_that_says_what_it_needs() -> None:
    text = template_text(b"\x01" * 20)
    draft = parse_manifest(text)
    assert draft.founders == (b"\x01" * 20,)
    assert "[local]" in text
    assert all(line.startswith(("#", "[")) or " = " in line or not line for line in text.splitlines())
