"""Forms of the keys of `swarm.toml`, and what to do about a file that lacks some."""

from typing import Any

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
    text,
    url,
)

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
_transaction = hex_bytes(32, "a transaction's hash")


def _amount(value: Any) -> int:
    """Whole units; TOML's numbers end at 2^63, so larger ones are written as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**128:
        raise ValueError('has to be a whole number of the token\'s smallest units, as 1000 or "1000"')
    return value


def _policy(value: Any) -> str:
    if value in ("equal", "weight"):
        return str(value)
    try:
        return "0x" + bytes(_address(value)).hex()
    except ValueError:
        raise ValueError('has to be "equal", "weight", or the address of a policy contract') from None


FORM: Form = {
    "": {
        "name": Key(text(64)),
        "purpose": Key(text(4096), optional=True),
        "purpose_file": Key(text(4096), optional=True),
    },
    "chain": {
        "rpc": Key(list_of(url, 16, least=1)),
        "id": Key(integer(1, 2**53), optional=True),
        "contract": Key(_address, optional=True),
        "transaction": Key(_transaction, optional=True),
    },
    "model": {
        "file": Key(text(4096), optional=True),
        "genesis": Key(_cid, optional=True),
        "size": Key(integer(8, _MAX_SIZE), optional=True),
        "schema": Key(hex_bytes(32, "a sha2-256"), optional=True),
        "update_size": Key(integer(8, _MAX_SIZE), optional=True),
        "update_schema": Key(hex_bytes(32, "a sha2-256"), optional=True),
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
        "abandon_after": _seconds(30 * 86_400),
    },
    "metric": {
        "name": Key(text(64), default="accuracy"),
        "direction": Key(one_of("maximize", "minimize"), default="maximize"),
        "target": Key(number(-1e12, 1e12), optional=True),
        "min_delta": Key(number(0, 1e12), default=0.0),
    },
    "merge": {
        "rule": Key(text(256), default="weighted_mean/1"),
        "apply": Key(text(256), default="replace/1"),
        "max_abs": Key(number(1e-30, 1e36), default=1e30),
    },
    "rewards": {
        "token": Key(_address, optional=True),
        "policy": Key(_policy, default="equal"),
        "per_round": Key(_amount, default=0),
        "attester_share": Key(number(0, 1), default=0.0),
        "min_stake": Key(_amount, default=0),
        "unstake_delay": Key(integer(0, 365 * 86_400), default=7 * 86_400),
        "treasury": Key(_address, optional=True),
        "treasury_transaction": Key(_transaction, optional=True),
        "policy_transaction": Key(_transaction, optional=True),
    },
    "agreement": {"signatures": Key(list_of(hex_bytes(65, "a signature"), 64), default=())},
    "network": {"bootstrap": Key(list_of(multiaddr, 64), default=())},
    "local": {
        **{
            name: Key(number(0, 1e6), optional=True)
            for name in ("leader_timeout", "fetch_timeout", "slack", "stagger", "announce_interval", "linger")
        },
        "keep_rounds": Key(integer(0, _UINT32), optional=True),
        "confirmations": Key(integer(0, 1000), optional=True),
    },
}
