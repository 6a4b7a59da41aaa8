"""The contract's ABI: calls out, errors and the state in. Built from the artefact that the wheel carries."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from swarmp2p.core.config import Config
from swarmp2p.core.errors import WrongChain
from swarmp2p.core.types import Phase, Status, StopReason
from swarmp2p.core.view import Member, View
from swarmp2p.identity import keccak256

_STANDARD_ERRORS = {"Error(string)": ["string"], "Panic(uint256)": ["uint256"]}

VIEW_FIELDS = (
    "salt", "round", "phase", "openedAt", "sealAt", "sealedAt", "count", "threshold", "k", "inputs", "seed",
    "submitted", "waitFor", "roster", "active", "banned", "sealedRounds", "head", "headRound", "mergedRounds", "best",
    "bestRound", "judgedRound", "stale", "ballot", "maxRounds", "stopReason", "reports", "reached", "improved",
    "metricSum", "metricWeight", "reported", "included", "members", "blockNumber", "blockTimestamp",
    "extendAt",
)  # fmt: skip
"""Fields of `ISwarm.View`, in order: `decode_state` reads them by position."""

MEMBER_FIELDS = (
    "index", "account", "status", "weight", "maxWeight", "expires", "lastRound", "seq", "term", "digest",
)  # fmt: skip
"""Fields of `ISwarm.MemberView`, in order."""

_WORD = 32
_MEMBERS_AT = VIEW_FIELDS.index("members")
_HEAD_WORDS = len(VIEW_FIELDS)
_MEMBER_WORDS = len(MEMBER_FIELDS)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the contract."""

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def encode(self, *arguments: Any) -> bytes:
        """Calldata."""
        return self.selector + encode(self.inputs, arguments)

    def decode(self, output: bytes) -> tuple[Any, ...]:
        """Return values. Raises WrongChain when the bytes are not this function's output."""
        try:
            return tuple(decode(self.outputs, output))
        except DecodingError as error:
            raise WrongChain(
                f"What answers {self.name}() is not a swarm's contract ({error}).", "Check the contract's address."
            ) from None


@dataclass(frozen=True, slots=True)
class Artefact:
    """Contract as compiled.

    Attributes:
        bytecode: creation code, without constructor arguments.
        errors: custom errors by selector: (name, argument types).
        constructor: argument types.
    """

    functions: dict[str, Function]
    errors: dict[bytes, tuple[str, tuple[str, ...]]]
    constructor: tuple[str, ...]
    bytecode: bytes
    entries: tuple[dict[str, Any], ...]

    def describe_revert(self, data: bytes) -> str:
        """The custom error with its arguments, e.g. `WrongRound(3)`, or the reason string; "" if there is no data."""
        if not data:
            return ""
        known = self.errors.get(data[:4])
        if known is None:
            return f"0x{data[:4].hex()}"
        name, types = known
        try:
            values = decode(types, data[4:])
        except DecodingError:
            return name
        if name == "Error":
            return str(values[0])
        shown = ", ".join("0x" + value.hex() if isinstance(value, bytes) else str(value) for value in values)
        return f"{name}({shown})"

    def error_name(self, data: bytes) -> str:
        """The custom error's bare name, or the reason string."""
        described = self.describe_revert(data)
        known = self.errors.get(data[:4])
        return described if known is None or known[0] == "Error" else known[0]


def _type(entry: dict[str, Any]) -> str:
    kind: str = entry["type"]
    if kind.startswith("tuple"):
        return f"({','.join(_type(part) for part in entry['components'])}){kind[5:]}"
    return kind


def _types(entries: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(_type(entry) for entry in entries)


def _selector(name: str, types: Sequence[str]) -> bytes:
    return keccak256(f"{name}({','.join(types)})".encode())[:4]


@cache
def artefact(name: str = "Swarm") -> Artefact:
    """The compiled contract that this package carries (`abi/<name>.json`: abi, bytecode)."""
    text = resources.files("swarmp2p.control").joinpath(f"abi/{name}.json").read_text()
    parsed = json.loads(text)
    functions: dict[str, Function] = {}
    errors: dict[bytes, tuple[str, tuple[str, ...]]] = {}
    constructor: tuple[str, ...] = ()
    for entry in parsed["abi"]:
        inputs = _types(entry.get("inputs", ()))
        if entry["type"] == "function":
            selector = _selector(entry["name"], inputs)
            functions[entry["name"]] = Function(entry["name"], selector, inputs, _types(entry["outputs"]))
        elif entry["type"] == "error":
            errors[_selector(entry["name"], inputs)] = (entry["name"], inputs)
        elif entry["type"] == "constructor":
            constructor = inputs
    for signature, types in _STANDARD_ERRORS.items():
        errors[keccak256(signature.encode())[:4]] = (signature.partition("(")[0], tuple(types))
    bytecode = bytes.fromhex(parsed["bytecode"].removeprefix("0x"))
    return Artefact(functions, errors, constructor, bytecode, tuple(parsed["abi"]))


def decode_state(output: bytes) -> View:
    """The output of `state()`.

    By position and by hand: peers do it after every block, and a general decoder takes ten times as long.

    Raises:
        WrongChain: the bytes are not such an output.
    """
    words = len(output) // _WORD
    base = _number(output, 0) // _WORD if words else 0
    members_at = base + _number(output, base + _MEMBERS_AT) // _WORD if words > base + _MEMBERS_AT else words
    count = _number(output, members_at) if members_at < words else 257
    if base != 1 or count > 256 or words < members_at + 1 + count * _MEMBER_WORDS:
        raise WrongChain("What answers state() is not a swarm's contract.", "Check the contract's address.")
    members = tuple(_member(output, members_at + 1 + position * _MEMBER_WORDS) for position in range(count))
    n = [int.from_bytes(output[at : at + _WORD], "big") for at in range(_WORD, _WORD * (1 + _HEAD_WORDS), _WORD)]

    def digest(position: int) -> bytes:
        at = _WORD * (1 + position)
        return output[at : at + _WORD]

    try:
        return View(
            salt=digest(0), round=n[1], phase=Phase(n[2]), opened_at=n[3], seal_at=n[4], sealed_at=n[5], count=n[6],
            threshold=n[7], k=n[8], inputs=digest(9), seed=digest(10), submitted=n[11], wait_for=n[12], roster=n[13],
            active=n[14], banned=n[15], sealed_rounds=n[16], head=digest(17), head_round=n[18], merged_rounds=n[19],
            best=digest(20), best_round=n[21], judged_round=n[22], stale=n[23], ballot=n[24], max_rounds=n[25],
            stop_reason=StopReason(n[26]), reports=n[27], reached=n[28], improved=n[29], metric_sum=_signed(n[30]),
            metric_weight=n[31], reported=n[32], included=n[33], members=members, block_number=n[35],
            block_timestamp=n[36], extend_at=n[37],
        )  # fmt: skip
    except ValueError:
        raise WrongChain("What answers state() is not a swarm's contract.", "Check the contract's address.") from None


def _member(output: bytes, word: int) -> Member:
    at = word * _WORD
    n = [int.from_bytes(output[i : i + _WORD], "big") for i in range(at, at + _MEMBER_WORDS * _WORD, _WORD)]
    account = output[at + _WORD + 12 : at + 2 * _WORD]
    try:
        status = Status(n[2])
    except ValueError:
        raise WrongChain("What answers state() is not a swarm's contract.", "Check the contract's address.") from None
    digest = output[at + 9 * _WORD : at + 10 * _WORD]
    return Member(n[0], account, status, n[3], n[4], n[5], n[6], n[7], n[8], digest)


def _number(output: bytes, word: int) -> int:
    return int.from_bytes(output[word * _WORD : (word + 1) * _WORD], "big")


def _signed(value: int) -> int:
    return value - (1 << 256) if value >> 255 else value


def config_tuple(config: Config) -> tuple[Any, ...]:
    """`ISwarm.Config` as the encoder takes it: the fields in order."""
    return (
        config.genesis, config.size, config.schema, config.update_size, config.update_schema, config.rule,
        config.purpose, config.manifest, config.initial_members, config.f, config.k_max, config.min_updates,
        config.frac_bps, config.collect_timeout, config.grace, config.merge_timeout, config.max_missed,
        config.max_rounds, config.patience, config.k_invite, tuple(config.founders),
    )  # fmt: skip


def config_from(values: Sequence[Any]) -> Config:
    """The Config of a decoded `config()`."""
    *fixed, founders = values
    members = tuple(bytes.fromhex(founder.removeprefix("0x")) for founder in founders)
    return Config(**dict(zip((field.name for field in fields(Config)), [*fixed, members], strict=True)))
