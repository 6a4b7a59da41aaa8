"""The contract's ABI: calls out, errors and the state in. Built from the artefact that the wheel carries."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from swarmp2p.control.hexadecimal import from_hex
from swarmp2p.core.config import Config
from swarmp2p.core.errors import ConfigError, WrongChain
from swarmp2p.core.types import Phase, Status, StopReason
from swarmp2p.core.view import Member, View
from swarmp2p.identity import keccak256

_STANDARD_ERRORS = {"Error(string)": ["string"], "Panic(uint256)": ["uint256"]}

_WORD = 32
_ENUMS = {"Phase": Phase, "Status": Status, "StopReason": StopReason}
_NOT_OURS = "What answers state() is not a swarm's contract."
_CHECK_ADDRESS = "Check the contract's address and the RPC URL."


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
class Event:
    """An event of the contract.

    Attributes:
        topic: the first topic of its logs.
        inputs: its arguments, as the ABI has them.
    """

    topic: bytes
    inputs: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Artefact:
    """Contract as compiled.

    Attributes:
        bytecode: creation code, without constructor arguments.
        errors: custom errors by selector: (name, argument types).
        constructor: argument types.
    """

    functions: dict[str, Function]
    events: dict[str, Event]
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


def _signature_hash(name: str, types: Sequence[str]) -> bytes:
    return keccak256(f"{name}({','.join(types)})".encode())


def _selector(name: str, types: Sequence[str]) -> bytes:
    return _signature_hash(name, types)[:4]


@cache
def artefact(name: str = "Swarm") -> Artefact:
    """The compiled contract that this package carries (`abi/<name>.json`: abi, bytecode)."""
    return parse_artefact(resources.files("swarmp2p.control").joinpath(f"abi/{name}.json").read_text())


def parse_artefact(text: str) -> Artefact:
    """A compiled contract from the JSON that contracts/tools/build writes.

    Raises:
        ConfigError: it is something else.
    """
    try:
        parsed = json.loads(text)
        bytecode = bytes.fromhex(parsed["bytecode"].removeprefix("0x"))
        return _artefact_of(parsed["abi"], bytecode)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"This is no compiled contract ({type(error).__name__}: {error}).",
            "It is a JSON object with `abi` and `bytecode`, as contracts/tools/build writes it.",
        ) from None


def _artefact_of(abi: Sequence[dict[str, Any]], bytecode: bytes) -> Artefact:
    functions: dict[str, Function] = {}
    events: dict[str, Event] = {}
    errors: dict[bytes, tuple[str, tuple[str, ...]]] = {}
    constructor: tuple[str, ...] = ()
    for entry in abi:
        inputs = _types(entry.get("inputs", ()))
        if entry["type"] == "function":
            selector = _selector(entry["name"], inputs)
            functions[entry["name"]] = Function(entry["name"], selector, inputs, _types(entry["outputs"]))
        elif entry["type"] == "event":
            events[entry["name"]] = Event(_signature_hash(entry["name"], inputs), tuple(entry["inputs"]))
        elif entry["type"] == "error":
            errors[_selector(entry["name"], inputs)] = (entry["name"], inputs)
        elif entry["type"] == "constructor":
            constructor = inputs
    for signature, types in _STANDARD_ERRORS.items():
        errors[keccak256(signature.encode())[:4]] = (signature.partition("(")[0], tuple(types))
    return Artefact(functions, events, errors, constructor, bytecode, tuple(abi))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the fields of an ABI struct are, for those that a dataclass of ours has: (name, word, how to read it)."""

    fields: tuple[tuple[str, int, Callable[[bytes], Any]], ...]
    words: int

    def read(self, data: bytes, at: int) -> dict[str, Any]:
        """The fields of the struct whose head is at this byte."""
        return {
            name: read(data[start : start + _WORD])
            for name, word, read in self.fields
            for start in (at + word * _WORD,)
        }


def _layout(components: Sequence[dict[str, Any]], known: set[str]) -> _Layout:
    places = []
    for word, entry in enumerate(components):
        name = re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), entry["name"])
        name = "address" if name == "account" else name
        if name in known:
            places.append((name, word, _reader(entry)))
    if known != {name for name, _, _ in places}:
        raise ValueError(f"the contract's artefact lacks {known - {name for name, _, _ in places}}")
    return _Layout(tuple(places), len(components))


def _reader(entry: dict[str, Any]) -> Callable[[bytes], Any]:
    kind, enum = entry["type"], entry.get("internalType", "").rpartition(".")[2].removeprefix("enum ")
    if enum in _ENUMS:
        members = _ENUMS[enum]
        return lambda word: members(int.from_bytes(word, "big"))
    if kind == "bytes32":
        return bytes
    if kind == "address":
        return lambda word: word[12:]
    if kind.startswith("int"):
        return lambda word: int.from_bytes(word, "big", signed=True)
    return lambda word: int.from_bytes(word, "big")


@cache
def _state_layout() -> tuple[_Layout, _Layout, int]:
    """Layouts of View and Member, and the word of View that points to the members."""
    state = next(entry for entry in artefact().entries if entry.get("name") == "state")
    components = state["outputs"][0]["components"]
    names = [entry["name"] for entry in components]
    members_at = names.index("members")
    view = _layout(components, {field.name for field in fields(View)} - {"members"})
    member = _layout(components[members_at]["components"], {field.name for field in fields(Member)})
    return view, member, members_at


def decode_state(output: bytes) -> View:
    """The output of `state()`.

    By position: peers do it after every block, and a general decoder takes ten times as long.

    Raises:
        WrongChain: the bytes are not such an output.
    """
    view, member, members_at = _state_layout()
    try:
        if len(output) % _WORD or _number(output, 0) != _WORD or len(output) < _WORD * (2 + view.words):
            raise ValueError
        table = _WORD + _number(output, 1 + members_at)
        count = _number(output, table // _WORD) if table < len(output) else 257
        first = table + _WORD
        if count > 256 or table % _WORD or len(output) < first + count * member.words * _WORD:
            raise ValueError
        stride = member.words * _WORD
        members = tuple(Member(**member.read(output, first + place * stride)) for place in range(count))
        return View(members=members, **view.read(output, _WORD))
    except ValueError:
        raise WrongChain(_NOT_OURS, _CHECK_ADDRESS) from None


def _number(output: bytes, word: int) -> int:
    return int.from_bytes(output[word * _WORD : (word + 1) * _WORD], "big")


def member_from(values: Sequence[Any]) -> Member:
    """The Member of a decoded `memberOf()`."""
    index, account, status, *numbers = values
    return Member(index, from_hex(account), Status(status), *numbers)


def config_tuple(config: Config) -> tuple[Any, ...]:
    """`ISwarm.Config` as the encoder takes it: the fields in order."""
    return (
        config.genesis, config.size, config.schema, config.update_size, config.update_schema, config.rule,
        config.purpose, config.manifest, config.initial_members, config.f, config.k_max, config.min_updates,
        config.frac_bps, config.collect_timeout, config.grace, config.merge_timeout, config.max_missed,
        config.max_rounds, config.patience, config.abandon_after, config.k_invite, config.treasury,
        tuple(config.founders),
    )  # fmt: skip


def config_from(values: Sequence[Any]) -> Config:
    """The Config of a decoded `config()`."""
    *fixed, treasury, founders = values
    members = tuple(from_hex(founder) for founder in founders)
    names = [field.name for field in fields(Config)]
    return Config(**dict(zip(names, [*fixed, from_hex(treasury), members], strict=True)))
